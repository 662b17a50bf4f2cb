"""The section `providers`."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from pydantic import SecretStr

from proxy.config.document import Path
from proxy.config.fields import check_sendable
from proxy.config.hints import LIST, did_you_mean
from proxy.config.settings import Cache, Defaults, Provider, Skipped
from proxy.config.validation import PROVIDER_SETTINGS, Validation
from proxy.dialects import DIALECTS, Dialect, InvalidEntry, entry_of

_CREDENTIALS = ("api_key", "api_key_file", "iam", "oauth")


class Providers:
    """Reads the entries of `providers`: `listed` are the valid ones, `skipped` the optional ones without a secret."""

    def __init__(self, validation: Validation, raw: Mapping[str, Any], read_secret: Callable[[str], str]) -> None:
        self._validation = validation
        self._raw = raw
        self._read_secret = read_secret
        self._skipped: dict[Path, Skipped] = {}
        entries = validation.entries(raw, "providers")
        self.listed = tuple(provider for path, value in entries if (provider := self._provider(value, path)))
        validation.unique_names(raw, "providers")
        if not raw.get("providers"):
            validation.problem(("providers",), "names no provider; without one there is nothing to list")

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(self._skipped.values())

    def is_skipped(self, path: Path) -> bool:
        """Whether a value belongs to a provider that is skipped."""
        return path[:2] in self._skipped

    def _provider(self, value: Any, path: Path) -> Provider | None:
        """None for a provider that is skipped or has a problem. Its settings are checked in any case."""
        if not isinstance(value, dict):
            self._validation.problem(path, "must be settings that begin with `name: ...`")
            return None
        dialect = self._dialect(value, path)
        provider = self._validated(dialect, value, path)
        own = self._own_settings(dialect, value, path) if dialect else {}
        if dialect:
            self._check_fit(dialect, value, path)
        self._check_declared(value.get("models"), (*path, "models"))
        self._skip_if_unset(value, path)
        api_key = None if path in self._skipped else self._key_from_file(value, path)
        if path in self._skipped:
            return None
        check_authority(self._validation, value.get("ca_file"), (*path, "ca_file"))
        if provider is None or dialect is None:
            return None
        self._warn_if_expired_early(provider, path)
        self._check_basic(provider, api_key, path)
        update: dict[str, Any] = {"settings": own, "base_url": _full_base_url(provider.base_url, dialect)}
        if api_key is not None:
            update["api_key"] = api_key
        return provider.model_copy(update=update)

    def _dialect(self, value: Mapping[str, Any], path: Path) -> Dialect | None:
        kind = value.get("kind", "openai")
        if isinstance(kind, str) and kind not in DIALECTS and not self._validation.is_unset((*path, "kind")):
            hint = did_you_mean(kind, DIALECTS) or f"; known are {', '.join(DIALECTS)}"
            self._validation.problem((*path, "kind"), f"unknown kind{hint}")
        return DIALECTS.get(kind) if isinstance(kind, str) else None

    def _validated(self, dialect: Dialect | None, value: Mapping[str, Any], path: Path) -> Provider | None:
        """The settings that every provider has, with what it inherits."""
        # Of an unknown kind: the settings of any.
        rows = [dialect] if dialect else DIALECTS.values()
        known = [*PROVIDER_SETTINGS, *(name for row in rows for name in row.settings)]
        for unknown in value.keys() - known:
            self._validation.unknown((*path, unknown), known)
        given = self._inherit(path, {name: value[name] for name in value if name in PROVIDER_SETTINGS})
        provider = self._validation.valid(Provider, given, path)
        for name in ("include", "exclude"):
            self._validation.warn_of_brackets(getattr(provider, name, ()), (*path, name))
        return provider

    def _inherit(self, path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
        """The provider's own settings, then those of `defaults`, then those of `cache`."""
        merged = dict(value)
        for section, model in (("defaults", Defaults), ("cache", Cache)):
            inherited = self._raw.get(section)
            for name in model.model_fields:
                if isinstance(inherited, dict) and name in inherited and name not in merged:
                    merged[name] = inherited[name]
                    self._validation.inherited((*path, name), (section, name))
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
                self._validation.problem(where, f"is missing; kind {dialect.kind} needs it")
            elif not declared.many:
                settings[name] = self._literal(given, where)
            elif isinstance(given, list) and given:
                settings[name] = tuple(self._literal(item, (*where, index)) for index, item in enumerate(given))
            elif not self._validation.is_unset(where):
                self._validation.problem(where, f"{LIST}; at least one")
        return settings

    def _literal(self, value: Any, path: Path) -> str:
        """A name as written in the file: 007 and 2027-01-31 are names too."""
        text = value if isinstance(value, str) else self._validation.document.texts.get(path, "")
        if not text and not self._validation.is_unset(path):
            self._validation.problem(path, "must be a string that is not empty")
        return text

    # -- checks ------------------------------------------------------------------------------------------------

    def _check_fit(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> None:
        """Whether the settings fit the kind, and each other."""
        problem = self._validation.problem
        if dialect.is_remote and "base_url" not in value:
            problem((*path, "base_url"), "is missing: the address under which the provider's API is")
        if not dialect.is_remote and not value.get("models"):
            problem((*path, "models"), f"is missing; kind {dialect.kind} lists what stands there")
        if "iam" in value and not dialect.iam:
            kinds = " and ".join(row.kind for row in DIALECTS.values() if row.iam)
            problem((*path, "iam"), f"is not for kind {dialect.kind}; only {kinds} logs in like this")
        if dialect.kind == "custom" and "list" not in value:
            problem((*path, "list"), "is missing; it says how this provider writes its list")
        if dialect.kind != "custom" and "list" in value:
            problem((*path, "list"), f"is not for kind {dialect.kind}; only kind custom has it")
        credentials = [name for name in _CREDENTIALS if name in value]
        for second in credentials[1:]:
            problem((*path, second), f"stands beside {credentials[0]}; keep one of them")

    def _check_declared(self, models: Any, path: Path) -> None:
        for index, declared in enumerate(models if isinstance(models, list) else ()):
            where = (*path, index)
            if not isinstance(declared, dict) or self._validation.is_unset(where):
                continue
            try:
                entry_of(DIALECTS["static"], declared, b"", {})
            except InvalidEntry as error:
                hint = "begin with `id: ...`, in quotes if it looks like a number"
                self._validation.problem(where, f"{error}; {hint}")

    def _check_basic(self, provider: Provider, from_file: SecretStr | None, path: Path) -> None:
        key = from_file or provider.api_key
        if provider.dialect.auth.style == "basic" and key and ":" not in key.get_secret_value():
            where = (*path, "api_key" if provider.api_key else "api_key_file")
            self._validation.problem(where, "must be `user:password`, because `list.auth` is basic")

    def _warn_if_expired_early(self, provider: Provider, path: Path) -> None:
        if provider.max_stale < provider.ttl:
            where = self._validation.origin((*path, "max_stale"))
            is_there = where in self._validation.document.lines
            place = where if is_there else self._validation.origin((*path, "ttl"))
            text = "max_stale is shorter than ttl, so models go before their provider is asked again"
            self._validation.warn(place, text)

    # -- secrets -----------------------------------------------------------------------------------------------

    def _key_from_file(self, value: Mapping[str, Any], path: Path) -> SecretStr | None:
        """The content of `api_key_file`. Its name is never repeated: it could be the key itself."""
        where = (*path, "api_key_file")
        file = value.get("api_key_file")
        if not _is_path(file) or self._validation.is_unset(where):
            return None
        try:
            return check_sendable(SecretStr(self._read_secret(file).strip()))
        except OSError as error:
            if isinstance(error, FileNotFoundError) and _is_optional(value):
                line = self._validation.document.line(where)
                self._skip(value, path, f"its api_key_file (line {line}) does not exist")
            else:
                self._validation.unavailable(where, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._validation.problem(where, "is no text file")
        except ValueError as error:
            self._validation.problem(where, f"its content {error}")
        return None

    def _skip_if_unset(self, value: Mapping[str, Any], path: Path) -> None:
        unset = self._validation.document.unset
        missing = {name: None for where, names in unset.items() if where[:2] == path for name in names}
        if missing and _is_optional(value):
            self._skip(value, path, f"{' and '.join(missing)} not set")

    def _skip(self, value: Mapping[str, Any], path: Path, reason: str) -> None:
        self._skipped[path] = Skipped(str(value.get("name")), reason)


def check_authority(validation: Validation, file: Any, path: Path) -> None:
    """Whether a `ca_file` contains certificates."""
    if not _is_path(file) or validation.is_unset(path):
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        validation.problem(path, "holds no certificate in PEM form")
    except OSError as error:
        validation.unavailable(path, f"cannot be read: {error.strerror}")


def _is_optional(value: Mapping[str, Any]) -> bool:
    return str(value.get("optional")).lower() in ("true", "yes", "on", "1", "y", "t")


def _is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _full_base_url(url: str, dialect: Dialect) -> str:
    """Without a path, the URL with the kind's own path; otherwise without a trailing slash or `/models`."""
    base = url.rstrip("/")
    if not urlsplit(base).path:
        return base + dialect.base_path
    return base.removesuffix("/models").rstrip("/")
