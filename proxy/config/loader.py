"""config.yaml -> Config: everything is checked, and all problems are reported at once.

`read` touches the file and the environment; `parse` works on what it is given.
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, TypeGuard, TypeVar, get_args
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, Field, SecretStr
from pydantic_core import ErrorDetails

from proxy.config import document as yamldoc
from proxy.config import hints
from proxy.config.document import Document, Path
from proxy.config.fields import Day, Globs, Name, Settings, check_sendable
from proxy.config.hints import LIST, NO_VALUE, PAIRS, closest, did_you_mean
from proxy.config.problems import ConfigError, Problem
from proxy.config.settings import Cache, Config, Defaults, Group, Key, Merge, OwnerRule, Provider, Server, Skipped
from proxy.dialects import DIALECTS, Dialect, InvalidEntry, entry_of
from proxy.patterns import WILDCARDS

M = TypeVar("M", bound=Settings)

SECTIONS = ("server", "cache", "defaults", "merge", "owners", "providers", "groups", "keys")
_PROVIDER_FIELDS = [name for name in Provider.model_fields if name != "settings"]
_HOMES: Mapping[str, Iterable[str]] = {
    "`server`": Server.model_fields,
    "`cache`": Cache.model_fields,
    "`merge`": Merge.model_fields,
    "`defaults`": Defaults.model_fields,
    "each provider": _PROVIDER_FIELDS,
}
_PREFIXES = ("owner", "provider")
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}")
_SECRET = {"api_key", "api_key_file", "key", "hash", "headers", "proxy", "password", "secret", "base_url", "url"}


class KeyEntry(Settings):
    """A key as it stands in the file. What it is known by is checked apart: it may be a secret in the wrong place."""

    name: Name
    hash: object = Field(default=None, repr=False)
    key: object = Field(default=None, repr=False)
    group: str | None = None
    models: Globs | None = None
    expires: Day | None = None
    admin: bool = False


def read(path: FilePath, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. Raises ConfigError with every problem found."""
    try:
        with path.open("rb") as file:
            raw = file.read(yamldoc.MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), [Problem(0, "", f"{error.strerror}; name another one with --config")]) from error
    if len(raw) > yamldoc.MAX_BYTES:
        raise yamldoc.too_large(str(path))
    return parse(_decoded(raw, str(path)), str(path), os.environ if environ is None else environ)


def parse(
    text: str,
    path: str = "config.yaml",
    environ: Mapping[str, str] | None = None,
    read_secret: Callable[[str], str] | None = None,
) -> Config:
    """The configuration in a text. `read_secret` reads an `api_key_file`. Raises ConfigError."""
    document = yamldoc.read(text, path, environ or {})
    config = _Builder(document, read_secret or _secret_in_file).build()
    if document.problems:
        raise ConfigError(path, sorted(set(document.problems)))
    assert config is not None, "without a problem there is a configuration"
    return config


class _Builder:
    """Turns one document into a Config, noting every problem on the way."""

    def __init__(self, document: Document, read_secret: Callable[[str], str]) -> None:
        self._document = document
        self._read_secret = read_secret
        self._inherited: dict[Path, Path] = {}
        self._skipped: dict[Path, Skipped] = {}
        self._digests: dict[bytes | None, Path] = {}
        self._warnings: dict[str, None] = {}
        self._waiting = {where[:length] for where in document.unset for length in range(len(where) + 1)}
        """Whatever holds a variable that is not set."""

    def build(self) -> Config | None:
        raw = self._document.value
        if not isinstance(raw, dict):
            self._document.problem((), "must hold settings (`providers:` ...); start from the shipped config.yaml")
            return None
        for unknown in raw.keys() - set(SECTIONS):
            self._unknown((unknown,), SECTIONS)
        server = self._section(Server, raw, "server")
        merge = self._section(Merge, raw, "merge")
        self._section(Cache, raw, "cache")
        defaults = self._section(Defaults, raw, "defaults")
        self._check_authority(defaults and defaults.ca_file, ("defaults", "ca_file"))
        owners = [self._owner_rule(value, path) for path, value in self._list(raw, "owners")]
        groups = self._groups(raw)
        keys = [self._key(raw, value, path, groups) for path, value in self._list(raw, "keys")]
        providers = [self._provider(raw, value, path) for path, value in self._list(raw, "providers")]
        self._names_once(raw, "providers")
        self._names_once(raw, "keys")
        for path in self._document.unset:
            if path[:2] not in self._skipped:
                self._unset(path)
        if not raw.get("providers"):
            self._document.problem(("providers",), "names no provider; without one there is nothing to list")
        named = raw.get("groups")
        if isinstance(named, dict) and named and "default" not in named and not raw.get("keys"):
            self._document.problem(("groups",), "without `keys:` only the group `default` can see anything; add it")
        if self._document.problems or server is None or merge is None:
            return None
        everything = None if keys else Group(models=("*",))
        anonymous = groups.get("default") or everything
        return Config(
            server=server,
            merge=merge,
            owners=tuple(rule for rule in owners if rule),
            providers=tuple(provider for provider in providers if provider),
            keys=tuple(key for key in keys if key),
            anonymous=anonymous.models if anonymous else None,
            anonymous_may_call=bool(anonymous and anonymous.call),
            skipped=tuple(self._skipped.values()),
            warnings=tuple(self._warnings),
        )

    def _owner_rule(self, value: Any, path: Path) -> OwnerRule | None:
        rule = self._valid(OwnerRule, value, path)
        if rule:
            self._warn_of_brackets(rule.match, (*path, "match"))
        return rule

    # -- providers ---------------------------------------------------------------------------------------------

    def _provider(self, raw: Mapping[str, Any], value: Any, path: Path) -> Provider | None:
        """None for a provider that is left out, or that has a problem. Its settings are checked in any case."""
        if not isinstance(value, dict):
            self._document.problem(path, "must be settings that begin with `name: ...`")
            return None
        dialect = self._dialect(value, path)
        known = self._provider_settings(dialect)
        for unknown in value.keys() - known:
            self._unknown((*path, unknown), known)
        given = self._inherit(raw, path, {name: value[name] for name in value if name in _PROVIDER_FIELDS})
        provider = self._valid(Provider, given, path)
        for name in ("include", "exclude"):
            self._warn_of_brackets(getattr(provider, name, ()), (*path, name))
        own = self._own_settings(dialect, value, path) if dialect else {}
        if dialect:
            self._check_fit(dialect, value, path)
        self._check_declared(value.get("models"), (*path, "models"))
        self._leave_out_if_unset(value, path)
        api_key = None if path in self._skipped else self._key_from_file(value, path)
        if path in self._skipped:
            return None
        self._check_authority(value.get("ca_file"), (*path, "ca_file"))
        if provider is None or dialect is None:
            return None
        self._warn_if_gone_early(provider, path)
        key = api_key or provider.api_key
        if provider.dialect.auth.style == "basic" and key and ":" not in key.get_secret_value():
            where = (*path, "api_key" if provider.api_key else "api_key_file")
            self._document.problem(where, "must be `user:password`, because `list.auth` is basic")
        update: dict[str, Any] = {"settings": own, "base_url": _full_base_url(provider.base_url, dialect)}
        if api_key is not None:
            update["api_key"] = api_key
        return provider.model_copy(update=update)

    def _dialect(self, value: Mapping[str, Any], path: Path) -> Dialect | None:
        kind = value.get("kind", "openai")
        if isinstance(kind, str) and kind not in DIALECTS and not self._is_unset((*path, "kind")):
            hint = did_you_mean(kind, DIALECTS) or f"; known are {', '.join(DIALECTS)}"
            self._document.problem((*path, "kind"), f"unknown kind{hint}")
        return DIALECTS.get(kind) if isinstance(kind, str) else None

    def _provider_settings(self, dialect: Dialect | None) -> list[str]:
        """What may stand in a provider of this kind; of an unknown kind, what may stand in any."""
        rows = [dialect] if dialect else DIALECTS.values()
        return [*_PROVIDER_FIELDS, *(name for row in rows for name in row.settings)]

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

    def _own_settings(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> dict[str, str | tuple[str, ...]]:
        """The settings that only this kind has, checked against its row."""
        settings: dict[str, str | tuple[str, ...]] = {}
        for name, declared in dialect.settings.items():
            where = (*path, name)
            given = value.get(name, declared.default)
            if given is None and declared.optional:
                continue
            if given is None:
                self._document.problem(where, f"is missing; kind {dialect.kind} needs it")
            elif not declared.many:
                settings[name] = self._literal(given, where)
            elif isinstance(given, list) and given:
                settings[name] = tuple(self._literal(item, (*where, index)) for index, item in enumerate(given))
            elif not self._is_unset(where):
                self._document.problem(where, f"{LIST}; at least one")
        return settings

    def _literal(self, value: Any, path: Path) -> str:
        """A name as it stands in the file: 007 and 2027-01-31 are names too."""
        text = value if isinstance(value, str) else self._document.texts.get(path, "")
        if not text and not self._is_unset(path):
            self._document.problem(path, "must be a string that is not empty")
        return text

    def _check_fit(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> None:
        """What one field alone cannot tell: whether the settings fit the kind, and each other."""
        if dialect.is_remote and "base_url" not in value:
            self._document.problem((*path, "base_url"), "is missing: the address under which the provider's API is")
        if not dialect.is_remote and not value.get("models"):
            self._document.problem((*path, "models"), f"is missing; kind {dialect.kind} lists what stands there")
        if "iam" in value and not dialect.iam:
            kinds = " and ".join(row.kind for row in DIALECTS.values() if row.iam)
            self._document.problem((*path, "iam"), f"is not for kind {dialect.kind}; only {kinds} logs in like this")
        if dialect.kind == "custom" and "list" not in value:
            self._document.problem((*path, "list"), "is missing; it says how this provider writes its list")
        if dialect.kind != "custom" and "list" in value:
            self._document.problem((*path, "list"), f"is not for kind {dialect.kind}; only kind custom has it")
        credentials = [name for name in ("api_key", "api_key_file", "iam", "oauth") if name in value]
        for second in credentials[1:]:
            self._document.problem((*path, second), f"stands beside {credentials[0]}; keep one of them")

    def _check_declared(self, models: Any, path: Path) -> None:
        for index, declared in enumerate(models if isinstance(models, list) else ()):
            where = (*path, index)
            if not isinstance(declared, dict) or self._is_unset(where):
                continue
            try:
                entry_of(DIALECTS["static"], declared, b"", {})
            except InvalidEntry as error:
                self._document.problem(where, f"{error}; begin with `id: ...`, in quotes if it looks like a number")

    def _check_authority(self, file: Any, path: Path) -> None:
        if not _is_path(file) or self._is_unset(path):
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
        except ssl.SSLError:
            self._document.problem(path, "holds no certificate in PEM form")
        except OSError as error:
            self._document.problem(path, f"cannot be read: {error.strerror}")

    def _key_from_file(self, value: Mapping[str, Any], path: Path) -> SecretStr | None:
        """The content of `api_key_file`. Its name is never repeated: it could be the key itself."""
        where = (*path, "api_key_file")
        file = value.get("api_key_file")
        if not _is_path(file) or self._is_unset(where):
            return None
        try:
            return check_sendable(SecretStr(self._read_secret(file).strip()))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and _is_optional(value):
                reason = f"its api_key_file (line {self._document.line(where)}) does not exist"
                self._skipped[path] = Skipped(str(value.get("name")), reason)
            else:
                self._document.problem(where, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._document.problem(where, "is no text file")
        except ValueError as error:
            self._document.problem(where, f"its content {error}")
        return None

    def _leave_out_if_unset(self, value: Mapping[str, Any], path: Path) -> None:
        missing = [name for where, names in self._document.unset.items() if where[:2] == path for name in names]
        if missing and _is_optional(value):
            reason = f"{' and '.join(dict.fromkeys(missing))} not set"
            self._skipped[path] = Skipped(str(value.get("name")), reason)

    # -- groups and keys ---------------------------------------------------------------------------------------

    def _groups(self, raw: Mapping[str, Any]) -> dict[str, Group]:
        value = {} if raw.get("groups") is None else raw["groups"]
        if not isinstance(value, dict):
            self._document.problem(("groups",), "must be groups by name: `staff: {models: [...]}`")
            return {}
        groups = {}
        for name, body in value.items():
            group = self._valid(Group, {} if body is None else body, ("groups", name))
            if group:
                groups[name] = group
                self._check_patterns(raw, group.models, ("groups", name, "models"))
                self._warn_if_blind(f"group {name}", group.models, ("groups", name, "models"))
        return groups

    def _key(self, raw: Mapping[str, Any], value: Any, path: Path, groups: Mapping[str, Group]) -> Key | None:
        text = self._valid(KeyEntry, value, path)
        if not isinstance(value, dict):
            return None
        digest = self._digest(value, path)
        if digest in self._digests:
            first = yamldoc.setting(self._digests[digest])
            self._document.problem(path, f"is the same key as {first}; give each its own")
        elif digest:
            self._digests[digest] = path
        self._check_rules(raw, value, path)
        if text is None or digest is None:
            return None
        group = groups.get(text.group or "")
        may_call = group is None or group.call is not False
        if text.models is not None:
            self._check_patterns(raw, text.models, (*path, "models"))
            self._warn_if_blind(f"key {text.name}", text.models, (*path, "models"))
            rules = text.models
        elif text.group is not None and text.group in groups:
            rules = groups[text.group].models
        else:
            return None
        name, expires, admin = text.name, text.expires, text.admin
        return Key(name=name, digest=digest, rules=rules, expires=expires, admin=admin, may_call=may_call)

    def _check_rules(self, raw: Mapping[str, Any], value: Mapping[str, Any], path: Path) -> None:
        if "models" not in value and "group" not in value:
            hint = "add one, or nobody knows what it may see"
            self._document.problem(path, f"has neither `group: ...` nor `models: [...]`; {hint}")
        groups, group, where = raw.get("groups"), value.get("group"), (*path, "group")
        known = list(groups) if isinstance(groups, dict) else []
        if isinstance(group, str) and group not in known and not self._is_unset(where):
            hint = did_you_mean(group, known) or f"; there are {', '.join(known) or 'none'}"
            self._document.problem(where, f"no such group{hint}")

    def _check_patterns(self, raw: Mapping[str, Any], rules: Globs, path: Path) -> None:
        """A misspelt `!` rule would show what it should hide, without a word."""
        providers = [value.get("name") for _, value in self._list(raw, "providers") if isinstance(value, dict)]
        known = [name for name in providers if isinstance(name, str)]
        self._warn_of_brackets(rules, path)
        for index, rule in enumerate(rules):
            pattern = rule.removeprefix("!")
            word, colon, rest = pattern.partition(":")
            close = closest(word.strip().lower(), _PREFIXES) if colon else ""
            if not pattern or (close and not rest):
                problem = "names nothing"
            elif pattern != pattern.strip() or (close and word + rest != word.rstrip() + rest.lstrip()):
                problem = "must not hold a blank behind `!` or around `:`"
            elif close and word not in _PREFIXES:
                problem = f"begins with an unknown word; did you mean '{close}:{rest}'?"
            elif word == "provider" and not set(rest) & WILDCARDS and rest not in known:
                problem = f"no such provider{did_you_mean(rest, known)}"
            else:
                continue
            self._document.problem((*path, index), problem)

    def _digest(self, value: Mapping[str, Any], path: Path) -> bytes | None:
        given = [name for name in ("hash", "key") if name in value]
        if len(given) != 1:
            self._document.problem(path, 'needs either `hash: "sha256:..."` or `key: "${NAME}"`')
            return None
        where = (*path, given[0])
        if value[given[0]] is None or self._is_unset(where):
            return None
        return self._hash(value["hash"], where) if given == ["hash"] else self._hash_of(value["key"], where)

    def _hash(self, value: Any, path: Path) -> bytes | None:
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            hint = 'this prints them: printf %s "$KEY" | sha256sum'
            self._document.problem(path, f'must be "sha256:" and 64 hexadecimal digits; {hint}')
            return None
        return bytes.fromhex(value.removeprefix("sha256:"))

    def _hash_of(self, value: Any, path: Path) -> bytes | None:
        text = self._document.texts.get(path)
        secret = value if isinstance(value, str) else text
        if not text or not secret:
            self._document.problem(path, 'must be a reference to an environment variable, like "${NAME}"')
            return None
        digest = hashlib.sha256(secret.encode())
        if not yamldoc.is_reference(text):
            hint = f'write hash: "sha256:{digest.hexdigest()}" instead'
            self._document.problem(path, f"is a secret in plain text; {hint}")
            return None
        try:
            check_sendable(SecretStr(secret))
        except ValueError as error:
            self._document.problem(path, f"{error}")
        return digest.digest()

    # -- checks ------------------------------------------------------------------------------------------------

    def _section(self, model: type[M], raw: Mapping[str, Any], name: str) -> M | None:
        value = raw.get(name)
        return self._valid(model, {} if value is None else value, (name,))

    def _list(self, raw: Mapping[str, Any], name: str) -> Iterator[tuple[Path, Any]]:
        value = raw.get(name)
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield (name, index), item
        elif value is not None:
            self._document.problem((name,), LIST)

    def _valid(self, model: type[M], value: Any, path: Path) -> M | None:
        if isinstance(value, dict):
            empty = [name for name in value if value[name] is None and name in model.model_fields]
            for name in empty:
                self._document.problem(self._origin((*path, name)), NO_VALUE)
            value = {name: value[name] for name in value if name not in empty} if empty else value
        try:
            return model.model_validate(value)
        except pydantic.ValidationError as errors:
            for error in errors.errors(include_url=False):
                self._invalid(error, path, model)
            return None

    def _invalid(self, error: ErrorDetails, path: Path, model: type[BaseModel]) -> None:
        loc = tuple(part for part in error["loc"] if part != "[key]")
        where = self._origin((*path, *loc))
        if where[-1] == 0 and where[:-1] in self._document.texts:
            where = where[:-1]  # one string where several may stand
        if self._is_unset(where):
            return
        if error["type"] == "extra_forbidden":
            self._unknown(where, _fields_at(model, loc[:-1]))
        elif error["type"] != "missing":
            is_name = "[key]" in error["loc"]
            words = hints.words_for(error)
            found = "" if is_name or words == PAIRS else self._found(where)
            self._document.problem(where, f"{'a name ' * is_name}{words}{found}")
        elif where not in self._document.lines:
            self._document.problem(where, f"is missing; add `{loc[-1]}: ...`")

    def _origin(self, path: Path) -> Path:
        """Where a value stands that a provider has from `defaults` or `cache`; any other path as it is."""
        inherited = self._inherited.get(path[:3])
        return (*inherited, *path[3:]) if inherited else path

    def _is_unset(self, path: Path) -> bool:
        """Whether a value waits for a variable: that is said already, or the reason to leave its provider out."""
        return path in self._waiting

    def _found(self, where: Path) -> str:
        """What stands there, as the file says it (a variable by its name), unless it may be a secret itself."""
        text = self._document.texts.get(where)
        return f"; found {text[:60]!r}" if text and "@" not in text and not _SECRET & set(where) else ""

    def _unknown(self, path: Path, known: Sequence[str]) -> None:
        name = str(path[-1])
        kinds = " and ".join(row.kind for row in DIALECTS.values() if name in row.settings)
        text = f"unknown setting; only kind {kinds} has it" if kinds else hints.unknown_setting(name, known, _HOMES)
        self._document.problem(path, text)

    def _unset(self, path: Path) -> None:
        for name in self._document.unset[path]:
            hint = "set it"
            if path[0] != "keys":
                hint += f", or give a default: ${{{name}:-...}}"
            if path[0] == "providers":
                hint += ", or mark the provider `optional: true`"
            self._document.problem(path, f"the environment variable {name} is not set or empty; {hint}")

    def _names_once(self, raw: Mapping[str, Any], section: str) -> None:
        seen: set[str] = set()
        for path, value in self._list(raw, section):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str) and name in seen:
                self._document.problem((*path, "name"), f"{name!r} stands here a second time; names are unique")
            elif isinstance(name, str) and name:
                seen.add(name)

    # -- warnings ----------------------------------------------------------------------------------------------

    def _warn(self, path: Path, text: str) -> None:
        self._warnings[f"{self._document.path}, line {self._document.line(path)}: {text}"] = None

    def _warn_if_blind(self, who: str, rules: Globs, path: Path) -> None:
        if rules and all(rule.startswith("!") for rule in rules):
            self._warn(path, f'{who} has only `!` rules and sees nothing; add "*" to see the rest')

    def _warn_of_brackets(self, patterns: Globs, path: Path) -> None:
        for index, pattern in enumerate(patterns):
            if "[" in pattern:
                where = yamldoc.setting((*path, index))
                meaning = "`[` is matched literally; character classes like [0-9] are not supported"
                self._warn((*path, index), f"{where}: {meaning}")

    def _warn_if_gone_early(self, provider: Provider, path: Path) -> None:
        if provider.max_stale < provider.ttl:
            where = self._origin((*path, "max_stale"))
            place = where if where in self._document.lines else self._origin((*path, "ttl"))
            self._warn(place, "max_stale is shorter than ttl, so models go before their provider is asked again")


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The settings that exist at a place below a model."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _is_optional(value: Mapping[str, Any]) -> bool:
    return str(value.get("optional")).lower() in ("true", "yes", "on", "1", "y", "t")


def _is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _full_base_url(url: str, dialect: Dialect) -> str:
    """As the operator wrote it, less a trailing slash or `/models`; without a path, with the kind's own."""
    base = url.rstrip("/")
    if not urlsplit(base).path:
        return base + dialect.base_path
    return base.removesuffix("/models").rstrip("/")


def _secret_in_file(path: str) -> str:
    return FilePath(path).read_text(encoding="utf-8")


def _decoded(raw: bytes, path: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    # Raised out here: the other error holds the whole file, with what is secret in it.
    raise ConfigError(path, [Problem(line, "", "holds bytes that are not UTF-8; save the file as UTF-8")])
