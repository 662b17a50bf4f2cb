"""config.yaml -> Config: everything is checked, and all problems are reported at once.

`read` touches the file and the environment; `parse` works on what it is given.
"""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path as FilePath
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, Field, SecretStr

from proxy import yamldoc
from proxy.config import (
    Cache,
    Config,
    Defaults,
    Globs,
    Group,
    Key,
    LeftOut,
    Merge,
    Name,
    OwnerRule,
    Provider,
    Server,
    Settings,
    check_sendable,
)
from proxy.dialects import DIALECTS, Dialect, Dropped, entry_of
from proxy.errors import ConfigError, Problem
from proxy.yamldoc import Document, Path

M = TypeVar("M", bound=Settings)

SECTIONS = ("server", "cache", "defaults", "merge", "owners", "providers", "groups", "keys")


class KeyText(Settings):
    """A key as it stands in the file."""

    name: Name
    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-fA-F]{64}$")] | None = None
    key: SecretStr | None = None
    group: str | None = None
    models: Globs | None = None
    expires: date | None = None
    admin: bool = False


def read(path: FilePath, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. Raises ConfigError with every problem found."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise ConfigError(str(path), [Problem(0, "", f"{why}; name another one with --config")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [Problem(0, "", f"is not UTF-8 (byte {error.start})")]) from error
    return parse(text, str(path), os.environ if environ is None else environ)


def parse(
    text: str,
    path: str = "config.yaml",
    environ: Mapping[str, str] | None = None,
    read_secret: Callable[[str], str] | None = None,
) -> Config:
    """The configuration in a text. `read_secret` reads an `api_key_file`. Raises ConfigError."""
    document = yamldoc.read(text, path, environ or {})
    builder = _Builder(document, read_secret or _secret_in_file)
    config = builder.build()
    if document.problems:
        raise ConfigError(path, document.problems)
    assert config is not None, "without a problem there is a configuration"
    return config


class _Builder:
    """Turns one document into a Config, noting every problem on the way."""

    def __init__(self, document: Document, read_secret: Callable[[str], str]) -> None:
        self._document = document
        self._read_secret = read_secret
        self._inherited: dict[Path, Path] = {}
        self._warnings: list[str] = []

    def build(self) -> Config | None:
        raw = self._document.value
        if not isinstance(raw, dict):
            self._document.problem((), "has no settings; start from the shipped config.yaml")
            return None
        for unknown in raw.keys() - set(SECTIONS):
            self._unknown((unknown,), SECTIONS)
        left_out, entries = self._providers_to_ask(raw)
        for path in self._document.unset:
            if path[:2] not in left_out:
                self._unset(path)
        server = self._valid(Server, raw.get("server"), ("server",))
        merge = self._valid(Merge, raw.get("merge"), ("merge",))
        self._valid(Cache, raw.get("cache"), ("cache",))
        self._valid(Defaults, raw.get("defaults"), ("defaults",))
        owners = [self._valid(OwnerRule, value, path) for path, value in self._list(raw, "owners")]
        groups = self._groups(raw)
        keys = [self._key(value, path, groups) for path, value in self._list(raw, "keys")]
        providers = [self._provider(raw, value, path) for path, value in entries]
        self._names_once(raw, "providers")
        self._names_once(raw, "keys")
        self._digests_once(keys)
        if not providers and not left_out:
            self._document.problem(("providers",), "names no provider; without one there is nothing to list")
        default = groups.get("default")
        if groups and not default and not raw.get("keys"):
            self._document.problem(("groups",), "without `keys:` only the group `default` can see anything; add it")
        if self._document.problems or server is None or merge is None:
            return None
        everything = Group(models=("*",)) if not keys and not groups else None
        anonymous = default or everything
        return Config(
            server=server,
            merge=merge,
            owners=tuple(rule for rule in owners if rule),
            providers=tuple(provider for provider in providers if provider),
            keys=tuple(key for key in keys if key),
            anonymous=anonymous.models if anonymous else None,
            left_out=tuple(left_out.values()),
            warnings=tuple(self._warnings),
        )

    # -- parts -------------------------------------------------------------------------------------------------

    def _providers_to_ask(self, raw: Mapping[str, Any]) -> tuple[dict[Path, LeftOut], list[tuple[Path, Any]]]:
        """Optional providers whose variables or files are missing are left out; the others are to be checked."""
        left_out: dict[Path, LeftOut] = {}
        entries: list[tuple[Path, Any]] = []
        for path, value in self._list(raw, "providers"):
            missing = [name for where, name in self._document.unset.items() if where[:2] == path]
            file = value.get("api_key_file") if isinstance(value, dict) else None
            if isinstance(value, dict) and value.get("optional") in (True, "true"):
                if missing:
                    reason = f"{' and '.join(dict.fromkeys(missing))} not set"
                    left_out[path] = LeftOut(str(value.get("name", "?")), reason)
                    continue
                if isinstance(file, str) and not FilePath(file).exists():
                    left_out[path] = LeftOut(str(value.get("name", "?")), f"{file} does not exist")
                    continue
            entries.append((path, value))
        return left_out, entries

    def _provider(self, raw: Mapping[str, Any], value: Any, path: Path) -> Provider | None:
        if not isinstance(value, dict):
            self._document.problem(path, "must be a mapping that begins with `name:`")
            return None
        kind = value.get("kind", "openai")
        if not isinstance(kind, str) or kind not in DIALECTS:
            known = ", ".join(sorted(DIALECTS))
            self._document.problem(
                (*path, "kind"), f"unknown kind{_did_you_mean(str(kind), DIALECTS)} (known: {known})"
            )
            return None
        dialect = DIALECTS[kind]
        own = {name: value[name] for name in value if name in dialect.settings}
        rest = {name: value[name] for name in value if name not in dialect.settings}
        if "settings" in rest:
            self._unknown((*path, "settings"), self._provider_settings(dialect))
            del rest["settings"]
        settings = self._own_settings(dialect, own, path)
        provider = self._valid(Provider, {**self._inherit(raw, path, rest), "settings": settings}, path, dialect)
        return provider and self._finished(provider, path)

    def _own_settings(self, dialect: Dialect, own: Mapping[str, Any], path: Path) -> dict[str, str | tuple[str, ...]]:
        """The settings that only this kind has, checked against its row."""
        settings: dict[str, str | tuple[str, ...]] = {}
        for name, declared in dialect.settings.items():
            value = own.get(name, declared.default)
            if value is None:
                self._document.problem((*path, name), f"is missing; kind {dialect.kind} needs it")
            elif declared.many:
                if isinstance(value, list) and value and all(isinstance(item, str | int) for item in value):
                    settings[name] = tuple(str(item) for item in value)
                else:
                    self._document.problem((*path, name), "must be a list of at least one string")
            elif isinstance(value, str | int):
                settings[name] = str(value)
            else:
                self._document.problem((*path, name), "must be a string")
        return settings

    def _finished(self, provider: Provider, path: Path) -> Provider | None:
        """What one field alone cannot tell: the base URL in full, one credential, readable declared models."""
        dialect = provider.dialect
        if dialect.asked and not provider.base_url:
            self._document.problem((*path, "base_url"), "is missing: the address under which the provider's API is")
        if not dialect.asked and not provider.models:
            self._document.problem((*path, "models"), f"is missing; kind {dialect.kind} lists what stands here")
        if provider.iam and not dialect.iam:
            self._document.problem((*path, "iam"), f"is not for kind {dialect.kind}")
        credentials = [name for name in ("api_key", "api_key_file", "iam") if getattr(provider, name) is not None]
        if len(credentials) > 1:
            self._document.problem((*path, credentials[1]), f"stands beside {credentials[0]}; keep one of them")
        for index, declared in enumerate(provider.models):
            try:
                entry_of(DIALECTS["static"], declared, b"", {})
            except Dropped as error:
                self._document.problem((*path, "models", index), f"{error}")
            except TypeError:
                self._document.problem((*path, "models", index), "holds a value that JSON does not know")
        for secret in (provider.api_key, provider.proxy, *provider.headers.values()):
            if secret is not None and not secret.get_secret_value():
                self._document.problem(path, "has an empty credential; leave the setting away instead")
        if provider.ca_file and not FilePath(provider.ca_file).is_file():
            self._document.problem((*path, "ca_file"), "no such file")
        update: dict[str, Any] = {"base_url": _full_base_url(provider.base_url, dialect)}
        if provider.api_key_file is not None:
            update["api_key"] = self._key_from_file(provider.api_key_file, (*path, "api_key_file"))
        return provider.model_copy(update=update)

    def _key_from_file(self, file: str, path: Path) -> SecretStr | None:
        try:
            secret = SecretStr(self._read_secret(file).strip())
            check_sendable(secret)
        except OSError as error:
            self._document.problem(path, f"cannot be read: {error.strerror}")
            return None
        except ValueError as error:
            self._document.problem(path, f"{error}")
            return None
        if not secret.get_secret_value():
            self._document.problem(path, "is an empty file")
        return secret

    def _groups(self, raw: Mapping[str, Any]) -> dict[str, Group]:
        value = raw.get("groups") or {}
        if not isinstance(value, dict):
            self._document.problem(("groups",), "must be a mapping of group names")
            return {}
        groups = {}
        for name, body in value.items():
            group = self._valid(Group, body, ("groups", name))
            if group:
                groups[name] = group
                self._warn_if_blind(f"group {name}", group.models, ("groups", name, "models"))
        return groups

    def _key(self, value: Any, path: Path, groups: Mapping[str, Group]) -> Key | None:
        text = self._valid(KeyText, value, path)
        if text is None:
            return None
        digest = self._digest(text, path)
        if text.models is None and text.group is None:
            self._document.problem(path, "says neither `group:` nor `models:`, so nobody knows what it may see")
            return None
        if text.group is not None and text.group not in (self._document.value.get("groups") or {}):
            self._document.problem((*path, "group"), f"no such group{_did_you_mean(text.group, groups)}")
            return None
        rules = text.models if text.models is not None else None
        if rules is None:
            group = groups.get(text.group or "")
            rules = group.models if group else ()
        else:
            self._warn_if_blind(f"key {text.name}", rules, (*path, "models"))
        if digest is None:
            return None
        return Key(name=text.name, digest=digest, rules=rules, expires=text.expires, admin=text.admin)

    def _digest(self, text: KeyText, path: Path) -> bytes | None:
        if (text.hash is None) == (text.key is None):
            self._document.problem(path, 'needs exactly one of `hash: "sha256:..."` and `key: ${NAME}`')
            return None
        if text.hash is not None:
            return bytes.fromhex(text.hash.removeprefix("sha256:"))
        assert text.key is not None, "one of the two is there"
        secret = text.key.get_secret_value()
        if not yamldoc.is_reference(self._document.texts.get((*path, "key"), "")):
            digest = hashlib.sha256(secret.encode()).hexdigest()
            self._document.problem((*path, "key"), f'is a secret in plain text; write hash: "sha256:{digest}" instead')
            return None
        return hashlib.sha256(secret.encode()).digest() if secret else None

    # -- checks ------------------------------------------------------------------------------------------------

    def _valid(self, model: type[M], value: Any, path: Path, dialect: Dialect | None = None) -> M | None:
        try:
            return model.model_validate({} if value is None else value)
        except pydantic.ValidationError as errors:
            for error in errors.errors(include_url=False, include_context=False, include_input=False):
                self._invalid(error["type"], error["msg"], path, error["loc"], model, dialect)
            return None

    def _invalid(
        self, kind: str, message: str, path: Path, loc: Path, model: type[BaseModel], dialect: Dialect | None
    ) -> None:
        where = (*path, *loc)
        if where in self._document.unset or any(where[:n] in self._inherited for n in range(len(where) + 1)):
            return  # said already: as an unset variable, or under `defaults` or `cache`
        if kind == "extra_forbidden":
            known = self._provider_settings(dialect) if dialect and len(loc) == 1 else _fields_at(model, loc[:-1])
            self._unknown(where, known)
        elif kind == "missing":
            self._document.problem(where, "is missing")
        elif kind in ("model_type", "dict_type", "mapping_type"):
            self._document.problem(where, "must be a mapping")
        else:
            text = message.removeprefix("Value error, ").removeprefix("Input ").replace("tuple", "list")
            self._document.problem(where, f"{text}{self._found(where)}")

    def _found(self, where: Path) -> str:
        """What stands there, as the file says it (a variable by its name), unless it may be a secret itself."""
        secret = {"api_key", "key", "hash", "headers", "proxy", "password", "base_url", "url"}
        text = self._document.texts.get(where)
        return f", found {text[:60]!r}" if text and not secret & set(map(str, where)) else ""

    def _provider_settings(self, dialect: Dialect) -> list[str]:
        return [name for name in (*Provider.model_fields, *dialect.settings) if name != "settings"]

    def _unknown(self, path: Path, known: Sequence[str] | Mapping[str, Any]) -> None:
        self._document.problem(path, f"unknown setting{_did_you_mean(str(path[-1]), known)}")

    def _unset(self, path: Path) -> None:
        name = self._document.unset[path]
        cure = f"set it, or give a default: ${{{name}:-...}}"
        if path[:1] == ("providers",):
            cure += ", or mark the provider `optional: true`"
        self._document.problem(path, f"the environment variable {name} is not set; {cure}")

    def _inherit(self, raw: Mapping[str, Any], path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
        """The provider's own settings, then those of `defaults`, then those of `cache`."""
        merged = dict(value)
        for section, model in (("defaults", Defaults), ("cache", Cache)):
            inherited = raw.get(section)
            for name in model.model_fields:
                if isinstance(inherited, dict) and name in inherited and name not in merged:
                    merged[name] = inherited[name]
                    self._inherited[(*path, name)] = (section, name)
        return merged

    def _list(self, raw: Mapping[str, Any], name: str) -> Iterator[tuple[Path, Any]]:
        value = raw.get(name)
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield (name, index), item
        elif value is not None:
            self._document.problem((name,), "must be a list")

    def _names_once(self, raw: Mapping[str, Any], section: str) -> None:
        seen: set[str] = set()
        values = raw.get(section)
        for index, value in enumerate(values if isinstance(values, list) else ()):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str) and name in seen:
                self._document.problem(
                    (section, index, "name"), f"{name!r} stands here a second time; names are unique"
                )
            seen.add(str(name))

    def _digests_once(self, keys: Sequence[Key | None]) -> None:
        seen: dict[bytes, str] = {}
        for index, key in enumerate(keys):
            if key and key.digest in seen:
                self._document.problem(("keys", index), f"is the same key as {seen[key.digest]}; give each its own")
            elif key:
                seen[key.digest] = key.name

    def _warn_if_blind(self, who: str, rules: Globs, path: Path) -> None:
        if rules and all(rule.startswith("!") for rule in rules):
            line = self._document.line(path)
            self._warnings.append(
                f"{self._document.path}, line {line}: {who} has only `!` rules and sees nothing; "
                'add "*" to see the rest'
            )


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The settings that exist at a place below a model."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _did_you_mean(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _full_base_url(url: str, dialect: Dialect) -> str:
    """As the operator wrote it, less a trailing slash or `/models`; without a path, with the kind's own."""
    base = url.rstrip("/").removesuffix("/models").rstrip("/")
    return base if urlsplit(base).path else base + dialect.base_path if base else ""


def _secret_in_file(path: str) -> str:
    return FilePath(path).read_text(encoding="utf-8")
