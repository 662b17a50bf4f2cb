"""The section `providers`."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import urlsplit

from proxy.config.contents import check_regular
from proxy.config.custom import CustomList
from proxy.config.defaults import Cache, Defaults
from proxy.config.document import Path, setting
from proxy.config.fields import check_api_key, check_filled, check_sendable, declared_model
from proxy.config.hints import LIST, did_you_mean
from proxy.config.list_settings import ListSettings
from proxy.config.overrides import Override, misspelled
from proxy.config.provider_settings import Provider
from proxy.config.secret_files import CheckSecret, SecretFile
from proxy.config.settings import Skipped
from proxy.config.validation import PROVIDER_SETTINGS, Validation
from proxy.dialects import DIALECTS, Dialect, InvalidEntry, Setting, entry_of, fill_template
from proxy.dialects.reader import NotAModel

_AWS_KEYS = ("access_key_id", "secret_access_key", "session_token")
_API_KEYS = ("api_key", "api_key_file", "api_keys", "api_keys_files")
_CREDENTIALS = (*_API_KEYS, "iam", "oauth", "access_key_id")
_SECRETS_OF_LOGINS: Sequence[tuple[str, str, CheckSecret]] = (
    # Settings: the login, and its secret; `..._file` is a file with it.
    ("iam", "password", check_filled),
    ("oauth", "secret", check_sendable),
)
_OWN_SETTINGS: Mapping[str, frozenset[str]] = {
    kind: frozenset(
        (*row.settings, *["iam"] * row.iam, *(_AWS_KEYS if row.aws else ()), *["list"] * (kind == "custom"))
    )
    for kind, row in DIALECTS.items()
}
"""Kind -> the settings that only some kinds have."""
_OF_BOTH = sorted(ListSettings.model_fields.keys() & CustomList.model_fields.keys())
"""Settings that exist for every kind, and in `list` of kind `custom`."""
_PAGE_NUMBER = re.compile("[0-9]{1,9}")
_SETTINGS_OF_KINDS = frozenset[str]().union(*_OWN_SETTINGS.values())


class Providers:
    """Reads the entries of `providers`.

    `listed` are the valid ones, `skipped` the optional ones without a secret, and those with `disabled: true`.
    """

    def __init__(
        self,
        validation: Validation,
        raw: Mapping[str, Any],
        read_secret: Callable[[str], str],
        is_installed: Callable[[str], bool],
    ) -> None:
        self._is_installed = is_installed
        self._validation = validation
        self._raw = raw
        self._read_secret = read_secret
        self._skipped: dict[Path, Skipped] = {}
        entries = validation.entries(raw, "providers")
        self.listed = tuple(provider for path, value in entries if (provider := self._provider(value, path)))
        validation.unique_names(raw, "providers")
        if not raw.get("providers"):
            validation.problem(("providers",), "is missing or empty; add at least one provider")

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        return tuple(self._skipped.values())

    def is_skipped(self, path: Path) -> bool:
        """Whether a value belongs to a provider that is skipped or disabled."""
        return path[:2] in self._skipped

    def _provider(self, value: Any, path: Path) -> Provider | None:
        """None for a provider that is skipped, disabled or has a problem. Its settings are validated in any case."""
        if not isinstance(value, dict):
            self._validation.problem(path, "must be a mapping that starts with `name: ...`")
            return None
        dialect = self._dialect(value, path)
        provider = self._validated(dialect, value, path)
        own = self._own_settings(dialect, value, path) if dialect else {}
        if dialect:
            self._check_fit(dialect, value, path)
        self._check_declared(value.get("models"), (*path, "models"))
        self._check_aliases(value.get("aliases"), (*path, "aliases"))
        if _is_true(value.get("disabled")):
            self._skipped[path] = Skipped(str(value.get("name")), "disabled: true", "disabled")
            return None
        self._skip_if_unset(value, path)
        from_files = {} if path in self._skipped else self._secrets_in_files(value, provider, path)
        if path in self._skipped:
            return None
        check_authority(self._validation, value.get("ca_file"), (*path, "ca_file"))
        if dialect and dialect.aws and not value.keys() & _API_KEYS:
            self._require_botocore((*path, "kind"))
        if provider is None or dialect is None:
            return None
        base_url = _full_base_url(provider.base_url, dialect, own)
        provider = provider.model_copy(update={"settings": own, "base_url": base_url, **from_files})
        self._warn_if_expired_early(provider, path)
        self._check_params(provider, path)
        self._check_call_settings(provider, path)
        self._check_keys(provider, path)
        return provider

    def _dialect(self, value: Mapping[str, Any], path: Path) -> Dialect | None:
        """None if the kind is unknown, or missing although settings require another one than the default."""
        kind = value.get("kind", "openai")
        if "kind" not in value and self._report_missing_kind(value, path):
            return None
        if isinstance(kind, str) and kind not in DIALECTS and not self._validation.is_unresolved((*path, "kind")):
            hint = did_you_mean(kind, DIALECTS) or f"; valid kinds: {', '.join(DIALECTS)}"
            self._validation.problem((*path, "kind"), f"unknown kind{hint}")
        return DIALECTS.get(kind) if isinstance(kind, str) else None

    def _report_missing_kind(self, value: Mapping[str, Any], path: Path) -> bool:
        """Report the settings that only another kind than the default has, in one problem; whether there are any."""
        foreign = [name for name in value if name in _SETTINGS_OF_KINDS]
        kinds = [f"`kind: {kind}`" for kind, names in _OWN_SETTINGS.items() if names.issuperset(foreign)]
        if not foreign or not kinds:
            return False
        settings = ", ".join(f"`{name}`" for name in foreign)
        self._validation.problem((*path, "kind"), f"is missing; {' or '.join(kinds)} is required by {settings}")
        return True

    def _validated(self, dialect: Dialect | None, value: Mapping[str, Any], path: Path) -> Provider | None:
        """The settings that all kinds have, including inherited ones."""
        # If the kind is unknown, the settings of every kind are accepted.
        rows = [dialect] if dialect else DIALECTS.values()
        known = [*PROVIDER_SETTINGS, *(name for row in rows for name in row.settings)]
        for unknown in value.keys() - known:
            self._validation.unknown((*path, unknown), known)
        given = self._inherit(path, {name: value[name] for name in value if name in PROVIDER_SETTINGS})
        provider = self._validation.valid(Provider, given, path)
        for name in ("include", "exclude", "accept"):
            self._validation.warn_of_brackets(getattr(provider, name, ()), (*path, name))
        for index, override in enumerate(provider.overrides if provider else ()):
            self._warn_of_override(override, (*path, "overrides", index))
        return provider

    def _warn_of_override(self, override: Override, path: Path) -> None:
        self._validation.warn_of_brackets(override.match, (*path, "match"))
        for name in override.fields:
            if standard := misspelled(name):
                self._validation.warn((*path, name), f"is not a standard name; did you mean {standard!r}?")

    def _inherit(self, path: Path, value: Mapping[str, Any]) -> dict[str, Any]:
        """The provider's own settings, then those in `defaults`, then those in `cache`."""
        merged = dict(value)
        for section, model in (("defaults", Defaults), ("cache", Cache)):
            inherited = self._raw.get(section)
            for name in model.model_fields:
                if isinstance(inherited, dict) and name in inherited and name not in merged:
                    merged[name] = inherited[name]
                    self._validation.inherited((*path, name), (section, name))
        return merged

    def _own_settings(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> dict[str, str | tuple[str, ...]]:
        """The settings that only this kind has."""
        settings: dict[str, str | tuple[str, ...]] = {}
        for name, declared in dialect.settings.items():
            where = (*path, name)
            given = value.get(name, declared.default)
            if given is None and declared.optional:
                continue
            if given is None:
                self._validation.problem(where, f"is missing; kind {dialect.kind} requires it")
            elif declared.flag:
                settings[name] = self._flag(given, where)
            elif not declared.many:
                settings[name] = text = self._literal(given, where)
                self._check_pattern(declared, text, where)
            elif isinstance(given, list) and given:
                settings[name] = tuple(self._literal(item, (*where, index)) for index, item in enumerate(given))
            elif not self._validation.is_unresolved(where):
                self._validation.problem(where, f"{LIST}; at least one entry is required")
        return settings

    def _check_pattern(self, declared: Setting, text: str, path: Path) -> None:
        if declared.pattern and text and not re.fullmatch(declared.pattern, text):
            self._validation.problem(path, f"must match `{declared.pattern}`")

    def _flag(self, value: Any, path: Path) -> str:
        """`true` or `false`, also as text."""
        text = str(value).lower()
        if text not in ("true", "false") and not self._validation.is_unresolved(path):
            self._validation.problem(path, "must be true or false")
        return text

    def _literal(self, value: Any, path: Path) -> str:
        """A string as written in the file, also if YAML reads it as a number or date (007, 2027-01-31)."""
        text = value if isinstance(value, str) else self._validation.documents.text(path) or ""
        if not text and not self._validation.is_unresolved(path):
            self._validation.problem(path, "must be a non-empty string")
        return text

    # -- checks ------------------------------------------------------------------------------------------------

    def _check_fit(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> None:
        """Report settings that conflict with the kind or with each other."""
        problem = self._validation.problem
        if dialect.is_remote and "base_url" not in value and not dialect.base_url:
            text = "is missing; add the URL of the provider's API, like https://api.example.com/v1"
            problem((*path, "base_url"), text)
        if not dialect.is_remote and not value.get("models"):
            problem((*path, "models"), f"is missing; kind {dialect.kind} lists only the models declared there")
        if "iam" in value and not dialect.iam:
            kinds = " and ".join(row.kind for row in DIALECTS.values() if row.iam)
            problem((*path, "iam"), f"is only supported by kind {kinds}; this provider has kind {dialect.kind}")
        for login, name, _ in _SECRETS_OF_LOGINS:
            self._check_login(value.get(login), name, (*path, login))
        self._check_aws(dialect, value, path)
        if dialect.kind == "custom" and "list" not in value:
            problem((*path, "list"), "is missing; kind custom requires it")
        if dialect.kind != "custom" and "list" in value:
            problem((*path, "list"), f"is only supported by kind custom; this provider has kind {dialect.kind}")
        of_list = value.get("list")
        for name in _OF_BOTH:
            if name in value and isinstance(of_list, dict) and name in of_list:
                problem((*path, name), f"conflicts with `list.{name}`; set only one")
        credentials = [name for name in _CREDENTIALS if name in value]
        for second in credentials[1:]:
            problem((*path, second), f"conflicts with {credentials[0]}; set only one")

    def _check_login(self, login: Any, name: str, path: Path) -> None:
        """Report a login without its secret, or with two."""
        given = [one for one in (name, f"{name}_file") if isinstance(login, dict) and one in login]
        if isinstance(login, dict) and not given:
            self._validation.problem((*path, name), f"is missing; add `{name}: ...`")
        if len(given) > 1:
            self._validation.problem((*path, given[1]), f"conflicts with {given[0]}; set only one")

    def _check_aws(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> None:
        problem = self._validation.problem
        given = [name for name in _AWS_KEYS if name in value]
        if not dialect.aws:
            for name in given:
                kinds = " and ".join(row.kind for row in DIALECTS.values() if row.aws)
                problem((*path, name), f"is only supported by kind {kinds}; this provider has kind {dialect.kind}")
            return
        for name in _AWS_KEYS[:2] if given else ():
            if name not in given:
                problem((*path, name), f"is missing; {given[0]} requires it")

    def _require_botocore(self, path: Path) -> None:
        if not self._is_installed("botocore"):
            text = "requires the library botocore, which is not installed"
            self._validation.unavailable(path, text, "run `pip install 'models-proxy[bedrock]'`, or set `api_key`")

    def _check_declared(self, models: Any, path: Path) -> None:
        for index, declared in enumerate(models if isinstance(models, list) else ()):
            where = (*path, index)
            if not isinstance(declared, dict | str) or self._validation.is_unresolved(where):
                continue
            try:
                entry_of(DIALECTS["static"], declared_model(declared), b"", {})
            except NotAModel as error:
                self._validation.problem(where, f"id is a {error}; declare each model by its own id")
            except InvalidEntry as error:
                hint = "add `id: ...`, in quotes if it looks like a number"
                self._validation.problem(where, f"{error}; {hint}")

    def _check_params(self, provider: Provider, path: Path) -> None:
        """Report query parameters that would replace the credential, or the first page number with another text."""
        row = provider.dialect
        page_numbers = {paging.send for paging in row.paging if paging.style == "page"}
        for name, text in provider.params.items():
            where = (*path, "params", name)
            if row.auth.style == "query" and name == row.auth.name:
                self._validation.problem(where, "is the parameter of the credential; use `api_key`")
            elif name in page_numbers and not _PAGE_NUMBER.fullmatch(text):
                self._validation.problem(where, "is the number of the first page; it must be a whole number")

    def _check_aliases(self, aliases: Any, path: Path) -> None:
        """Report patterns that cannot be resolved: they would be listed as ids."""
        for public, own in aliases.items() if isinstance(aliases, dict) else ():
            where = (*path, public)
            problem = _problem_of_alias(public, own) if isinstance(public, str) and isinstance(own, str) else ""
            if problem and not self._validation.is_unresolved(where):
                self._validation.problem(where, problem)

    def _check_call_settings(self, provider: Provider, path: Path) -> None:
        for name in ("accept", "speaks") if provider.target is None else ():
            if name in provider.model_fields_set and getattr(provider, name):
                text = "has no effect: the models of this provider cannot be called; remove it, or set `call`"
                self._validation.problem((*path, name), text)

    def _check_keys(self, provider: Provider, path: Path) -> None:
        """Report API keys that are given twice, and those that cannot be sent in the style of the kind."""
        seen: dict[str, Path] = {}
        for key, where in zip(provider.all_api_keys, _places_of_keys(provider, path), strict=True):
            secret = key.get_secret_value()
            if first := seen.get(secret):
                other = self._validation.documents.setting(first)
                self._validation.problem(where, f"is the same key as {other}; remove one")
            seen.setdefault(secret, where)
            if provider.dialect.auth.style == "basic" and ":" not in secret:
                self._validation.problem(where, "must be `user:password`, because `list.auth` is `basic`")

    def _warn_if_expired_early(self, provider: Provider, path: Path) -> None:
        if provider.max_stale < provider.ttl:
            where = self._validation.origin((*path, "max_stale"))
            is_there = self._validation.documents.is_written(where)
            place = where if is_there else self._validation.origin((*path, "ttl"))
            text = "max_stale is shorter than ttl: models expire before their list is refreshed"
            self._validation.warn(place, text)

    # -- secrets -----------------------------------------------------------------------------------------------

    def _secrets_in_files(self, value: Mapping[str, Any], provider: Provider | None, path: Path) -> dict[str, Any]:
        """The settings of a provider whose values are in files. Reports files that cannot be used."""
        update: dict[str, Any] = {}
        if key := self._secret_in_file(value, path, ("api_key_file",), value.get("api_key_file"), check_api_key):
            update["api_key"] = key
        listed = value.get("api_keys_files")
        for index, file in enumerate(listed if isinstance(listed, list) else ()):
            if key := self._secret_in_file(value, path, ("api_keys_files", index), file, check_api_key):
                update["api_keys"] = (*update.get("api_keys", ()), key)
        for name, secret, check in _SECRETS_OF_LOGINS:
            login, setting_of_file = value.get(name), f"{secret}_file"
            file = login.get(setting_of_file) if isinstance(login, dict) else None
            password = self._secret_in_file(value, path, (name, setting_of_file), file, check)
            if password and provider:
                update[name] = getattr(provider, name).model_copy(update={secret: password})
        return update

    def _secret_in_file(
        self, value: Mapping[str, Any], path: Path, place: Path, file: Any, check: CheckSecret
    ) -> SecretFile | None:
        """The content of a file. Its path is never quoted: it could be a misplaced secret.

        `place`: the path of the setting within the provider.
        """
        where = (*path, *place)
        if not _is_path(file) or self._validation.is_unresolved(where):
            return None
        self._validation.log.add(file)
        try:
            return SecretFile(file, f"provider {value.get('name')}: {setting(place)}", check, self._read_secret)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and _is_true(value.get("optional")):
                written = self._validation.documents.place(where)
                self._skip(value, path, f"{setting(place)} ({written}) does not exist")
            else:
                self._validation.unavailable(where, f"cannot be read: {error.strerror}")
        except UnicodeDecodeError:
            self._validation.problem(where, "is not a UTF-8 text file")
        except ValueError as error:
            self._validation.problem(where, f"its content {error}")
        return None

    def _skip_if_unset(self, value: Mapping[str, Any], path: Path) -> None:
        unset = self._validation.documents.unset
        missing = {name: None for where, names in unset.items() if where[:2] == path for name in names}
        if missing and _is_true(value.get("optional")):
            self._skip(value, path, f"{', '.join(missing)} not set or empty")

    def _skip(self, value: Mapping[str, Any], path: Path, reason: str) -> None:
        self._skipped[path] = Skipped(str(value.get("name")), reason)


def _places_of_keys(provider: Provider, path: Path) -> Sequence[Path]:
    """The places in the file of `all_api_keys`."""
    if not provider.api_keys:
        return [(*path, "api_key_file" if provider.api_key_file else "api_key")] * len(provider.all_api_keys)
    name = "api_keys_files" if provider.api_keys_files else "api_keys"
    return [(*path, name, index) for index in range(len(provider.api_keys))]


def _problem_of_alias(public: str, own: str) -> str:
    stars = public.count("*"), own.count("*")
    if "?" in public + own:
        return "`?` is not supported in aliases; use one `*` on both sides"
    if stars not in ((0, 0), (1, 1)):
        return "a pattern needs exactly one `*` on both sides, like `claude-*: anthropic/claude-*`"
    return ""


def check_authority(validation: Validation, file: Any, path: Path) -> None:
    """Report a `ca_file` that cannot be read or contains no certificate."""
    if not _is_path(file) or validation.is_unresolved(path):
        return
    validation.log.add(file)
    try:
        check_regular(file)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        validation.problem(path, "contains no PEM certificate")
    except OSError as error:
        validation.unavailable(path, f"cannot be read: {error.strerror}")


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t")


def _is_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != "" and "\0" not in value


def _full_base_url(url: str, dialect: Dialect, settings: Mapping[str, object]) -> str:
    """A URL without a path gets that of the kind; from any other, a trailing slash or `/models` is removed."""
    base = (url or fill_template(dialect.base_url, settings)).rstrip("/")
    if not urlsplit(base).path:
        return base + dialect.base_path
    return base.removesuffix("/models").rstrip("/")
