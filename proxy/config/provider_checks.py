"""Checks across several settings of one provider."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.config.custom import CustomList
from proxy.config.document import Path
from proxy.config.fields import check_filled, check_sendable, declared_model
from proxy.config.kind_settings import AWS_KEYS
from proxy.config.list_settings import ListSettings
from proxy.config.provider_settings import Provider
from proxy.config.secret_files import CheckSecret
from proxy.config.validation import Validation
from proxy.dialects import DIALECTS, Dialect, InvalidEntry, entry_of
from proxy.dialects.reader import NotAModel

API_KEYS = ("api_key", "api_key_file", "api_keys", "api_keys_files")
_CREDENTIALS = (*API_KEYS, "iam", "oauth", "access_key_id")
LOGINS: Mapping[str, tuple[str, CheckSecret]] = {
    "iam": ("password", check_filled),
    "oauth": ("secret", check_sendable),
}
"""Setting of a login -> that of its secret, and the check of its value; `..._file` is a file with it."""
_OF_BOTH = sorted(ListSettings.model_fields.keys() & CustomList.model_fields.keys())
"""Settings that exist for every kind, and in `list` of kind `custom`."""
_PAGE_NUMBER = re.compile("[0-9]{1,9}")


class ProviderChecks:
    """Reports problems and warnings."""

    def __init__(self, validation: Validation, is_installed: Callable[[str], bool]) -> None:
        """`is_installed`: whether a library is."""
        self._validation = validation
        self._is_installed = is_installed

    def check_fit(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> None:
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
        for login, (name, _) in LOGINS.items():
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
        given = [name for name in AWS_KEYS if name in value]
        if not dialect.aws:
            for name in given:
                kinds = " and ".join(row.kind for row in DIALECTS.values() if row.aws)
                problem((*path, name), f"is only supported by kind {kinds}; this provider has kind {dialect.kind}")
            return
        for name in AWS_KEYS[:2] if given else ():
            if name not in given:
                problem((*path, name), f"is missing; {given[0]} requires it")

    def require_botocore(self, path: Path) -> None:
        if not self._is_installed("botocore"):
            text = "requires the library botocore, which is not installed"
            self._validation.unavailable(path, text, "run `pip install 'models-proxy[bedrock]'`, or set `api_key`")

    def check_declared(self, models: Any, path: Path) -> None:
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

    def check_params(self, provider: Provider, path: Path) -> None:
        """Report query parameters that would replace the credential, or the first page number with another text."""
        row = provider.dialect
        page_numbers = {paging.send for paging in row.paging if paging.style == "page"}
        for name, text in provider.params.items():
            where = (*path, "params", name)
            if row.auth.style == "query" and name == row.auth.name:
                self._validation.problem(where, "is the parameter of the credential; use `api_key`")
            elif name in page_numbers and not _PAGE_NUMBER.fullmatch(text):
                self._validation.problem(where, "is the number of the first page; it must be a whole number")

    def check_aliases(self, aliases: Any, path: Path) -> None:
        """Report patterns that cannot be resolved: they would be listed as ids."""
        for public, own in aliases.items() if isinstance(aliases, dict) else ():
            where = (*path, public)
            problem = _problem_of_alias(public, own) if isinstance(public, str) and isinstance(own, str) else ""
            if problem and not self._validation.is_unresolved(where):
                self._validation.problem(where, problem)

    def check_call_settings(self, provider: Provider, path: Path) -> None:
        for name in ("accept", "speaks") if provider.target is None else ():
            if name in provider.model_fields_set and getattr(provider, name):
                text = "has no effect: the models of this provider cannot be called; remove it, or set `call`"
                self._validation.problem((*path, name), text)

    def check_keys(self, provider: Provider, path: Path) -> None:
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

    def warn_if_expired_early(self, provider: Provider, path: Path) -> None:
        if provider.max_stale < provider.ttl:
            where = self._validation.origin((*path, "max_stale"))
            is_there = self._validation.documents.is_written(where)
            place = where if is_there else self._validation.origin((*path, "ttl"))
            text = "max_stale is shorter than ttl: models expire before their list is refreshed"
            self._validation.warn(place, text)


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
