"""The section `providers`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from proxy.config.authorities import check_authority, is_path
from proxy.config.defaults import Cache, Defaults
from proxy.config.document import Path, setting
from proxy.config.fields import check_api_key
from proxy.config.kind_settings import KindSettings
from proxy.config.overrides import Override, misspelled
from proxy.config.provider_checks import API_KEYS, LOGINS, ProviderChecks
from proxy.config.provider_settings import Provider
from proxy.config.secret_files import CheckSecret, SecretFile
from proxy.config.settings import Skipped
from proxy.config.validation import PROVIDER_SETTINGS, Validation
from proxy.dialects import DIALECTS, Dialect, fill_template


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
        self._kinds = KindSettings(validation)
        self._checks = ProviderChecks(validation, is_installed)
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
        dialect = self._kinds.dialect(value, path)
        provider = self._validated(dialect, value, path)
        own = self._kinds.read(dialect, value, path) if dialect else {}
        if dialect:
            self._checks.check_fit(dialect, value, path)
        self._checks.check_declared(value.get("models"), (*path, "models"))
        self._checks.check_aliases(value.get("aliases"), (*path, "aliases"))
        if _is_true(value.get("disabled")):
            self._skipped[path] = Skipped(str(value.get("name")), "disabled: true", "disabled")
            return None
        self._skip_if_unset(value, path)
        from_files = {} if path in self._skipped else self._secrets_in_files(value, provider, path)
        if path in self._skipped:
            return None
        check_authority(self._validation, value.get("ca_file"), (*path, "ca_file"))
        if dialect and dialect.aws and not value.keys() & API_KEYS:
            self._checks.require_botocore((*path, "kind"))
        if provider is None or dialect is None:
            return None
        base_url = _full_base_url(provider.base_url, dialect, own)
        provider = provider.model_copy(update={"settings": own, "base_url": base_url, **from_files})
        self._checks.warn_if_expired_early(provider, path)
        self._checks.check_params(provider, path)
        self._checks.check_call_settings(provider, path)
        self._checks.check_keys(provider, path)
        return provider

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
        for name, (secret, check) in LOGINS.items():
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
        if not is_path(file) or self._validation.is_unresolved(where):
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


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1", "y", "t")


def _full_base_url(url: str, dialect: Dialect, settings: Mapping[str, object]) -> str:
    """A URL without a path gets that of the kind; from any other, a trailing slash or `/models` is removed."""
    base = (url or fill_template(dialect.base_url, settings)).rstrip("/")
    if not urlsplit(base).path:
        return base + dialect.base_path
    return base.removesuffix("/models").rstrip("/")
