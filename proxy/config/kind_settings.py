"""The kind of a provider, and the settings that only some kinds have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from proxy.config.document import Path
from proxy.config.hints import LIST, did_you_mean
from proxy.config.validation import Validation
from proxy.dialects import DIALECTS, Dialect, Setting

AWS_KEYS = ("access_key_id", "secret_access_key", "session_token")
_OWN_SETTINGS: Mapping[str, frozenset[str]] = {
    kind: frozenset((*row.settings, *["iam"] * row.iam, *(AWS_KEYS if row.aws else ()), *["list"] * (kind == "custom")))
    for kind, row in DIALECTS.items()
}
"""Kind -> the settings that only some kinds have."""
_SETTINGS_OF_KINDS = frozenset[str]().union(*_OWN_SETTINGS.values())


class KindSettings:
    """Reads them from the entries of `providers`."""

    def __init__(self, validation: Validation) -> None:
        self._validation = validation

    def dialect(self, value: Mapping[str, Any], path: Path) -> Dialect | None:
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

    def read(self, dialect: Dialect, value: Mapping[str, Any], path: Path) -> dict[str, str | tuple[str, ...]]:
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
