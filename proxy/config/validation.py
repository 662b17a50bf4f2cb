"""Checks the values of a document against the settings, and collects problems and warnings with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from proxy.config import hints
from proxy.config.auth import Logins
from proxy.config.defaults import Cache, Defaults
from proxy.config.document import Path, setting
from proxy.config.documents import Documents
from proxy.config.fields import DURATION, Settings
from proxy.config.provider_settings import Provider
from proxy.config.server import Server
from proxy.config.settings import Merge
from proxy.config.sources import SourceLog
from proxy.config.store import StoreSettings
from proxy.dialects import DIALECTS

M = TypeVar("M", bound=Settings)

PROVIDER_SETTINGS = tuple(name for name in Provider.model_fields if name != "settings")
_HOMES: Mapping[str, Iterable[str]] = {
    "`server`": Server.model_fields,
    "`store`": StoreSettings.model_fields,
    "`cache`": Cache.model_fields,
    "`merge`": Merge.model_fields,
    "`auth`": Logins.model_fields,
    "`defaults`": Defaults.model_fields,
    "each provider": PROVIDER_SETTINGS,
}
# Values below these names are never quoted.
_SECRET = {"api_key", "api_key_file", "api_keys", "api_keys_files", "key", "hash", "hashes", "headers", "proxy",
           "password", "password_file", "secret", "secret_file", "base_url", "url", "access_key_id",
           "secret_access_key", "session_token", "valkey", "valkey_password", "valkey_password_file",
           "webhook"}  # fmt: skip
_NUMBER = re.compile(r"\s*[0-9.]+\s*")
_SETTING_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


class Validation:
    """The validation of a configuration; its problems are added to the documents."""

    def __init__(self, documents: Documents, log: SourceLog, *, offline: bool = False) -> None:
        """`log` records the files that values are read from.

        `offline`: a variable or a file that is not available is a warning instead of a problem.
        """
        self.documents = documents
        self.log = log
        self._offline = offline
        self._origins: dict[Path, Path] = {}
        self._warnings: dict[str, None] = {}
        self._unchecked: set[str] = set()
        unresolved = (*documents.unset, *documents.malformed)
        self._unresolved = {where[:length] for where in unresolved for length in range(len(where) + 1)}
        """Every value that contains a variable that is not set or empty, or an invalid reference."""

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

    @property
    def unchecked(self) -> frozenset[str]:
        """The sections with a value that was not available, and therefore not checked (`offline`)."""
        return frozenset(self._unchecked)

    # -- values ------------------------------------------------------------------------------------------------

    def section(self, model: type[M], raw: Mapping[str, Any], name: str) -> M | None:
        value = raw.get(name)
        return self.valid(model, {} if value is None else value, (name,))

    def entries(self, raw: Mapping[str, Any], name: str) -> Iterator[tuple[Path, Any]]:
        """The values of a section that is a list, with their paths."""
        value = raw.get(name)
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield (name, index), item
        elif value is not None:
            self.problem((name,), hints.LIST)

    def valid(self, model: type[M], value: Any, path: Path) -> M | None:
        """The settings in a value, None if one of them is invalid."""
        if isinstance(value, dict):
            empty = [name for name in value if value[name] is None and name in model.model_fields]
            for name in empty:
                self.problem(self.origin((*path, name)), hints.NO_VALUE)
            value = {name: value[name] for name in value if name not in empty} if empty else value
            self._warn_of_missing_units(model, value, path)
        try:
            return model.model_validate(value)
        except pydantic.ValidationError as errors:
            found = errors.errors(include_url=False)
            for error in found:
                if not _is_without_invalid_items(error, found):
                    self._invalid(error, path, model)
            return None

    def unique_names(self, raw: Mapping[str, Any], section: str) -> None:
        seen: dict[str, Path] = {}
        for path, value in self.entries(raw, section):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str) and name in seen:
                place = self.documents.place(seen[name])
                self.problem((*path, "name"), f"duplicate name {name!r}, also at {place}; names must be unique")
            elif isinstance(name, str) and name:
                seen[name] = path

    # -- problems ----------------------------------------------------------------------------------------------

    def written(self, path: Path) -> str:
        """`keys[2] at config.yaml:7`."""
        return f"{self.documents.setting(path)} at {self.documents.place(path)}"

    def problem(self, path: Path, text: str) -> None:
        self.documents.problem(path, text)

    def unknown(self, path: Path, known: Sequence[str]) -> None:
        """Report a setting that does not exist at this place; `known` are those that do."""
        name = str(path[-1])
        kinds = " or ".join(row.kind for row in DIALECTS.values() if name in row.settings)
        homes = {} if name in path[:-1] else _HOMES  # not in a section that it is in
        text = f"is only supported by kind {kinds}" if kinds else hints.unknown_setting(name, known, homes)
        if not setting(path).endswith(name) and _SETTING_NAME.fullmatch(name) and hints.closest(name, known, 0.8):
            text = f"`{name}`: {text}"  # similar to a known setting, so not a misplaced secret
        self.problem(path, text)

    def unset(self, path: Path) -> None:
        """Report the variables in a string that are not set or empty."""
        for name in self.documents.unset[path]:
            hint = "set it"
            if path[0] != "keys":
                hint += f", or add a default: ${{{name}:-...}}"
            if path[0] == "providers":
                hint += ", or set `optional: true` for the provider"
            self.unavailable(path, f"environment variable {name} is not set or empty", hint)

    def unavailable(self, path: Path, text: str, hint: str = "") -> None:
        """Report a variable or a file that is not available: a problem with a hint, or a warning if offline."""
        if self._offline:
            self._unchecked.add(str(path[0]))
            self.warn(path, f"{text}; this value was not checked")
        else:
            self.problem(path, f"{text}; {hint}" if hint else text)

    def is_unresolved(self, path: Path) -> bool:
        """Whether a value has a variable that could not be replaced: that is reported, and the value not checked."""
        return path in self._unresolved

    def _invalid(self, error: ErrorDetails, path: Path, model: type[BaseModel]) -> None:
        loc = tuple(part for part in error["loc"] if part != "[key]")
        where = self.origin((*path, *loc))
        if where[-1] == 0 and self.documents.text(where[:-1]) is not None:
            where = where[:-1]  # a single string where a list is also valid
        if self.is_unresolved(where):
            return
        if error["type"] == "extra_forbidden":
            self.unknown(where, _settings_at(model, loc[:-1]))
        elif error["type"] != "missing":
            is_name = "[key]" in error["loc"]
            words = hints.words_for(error)
            excerpt = "" if is_name or words == hints.PAIRS else self._excerpt(where)
            self.problem(where, f"{'invalid name: ' * is_name}{words}{excerpt}")
        elif not self.documents.is_written(where):
            self.problem(where, f"is missing; add `{loc[-1]}: ...`")

    def _excerpt(self, where: Path) -> str:
        """The value as written in the file (variables are not expanded), unless it may be a secret."""
        text = self.documents.text(where)
        return f"; found {text[:60]!r}" if text and "@" not in text and not _SECRET & set(where) else ""

    # -- where values come from --------------------------------------------------------------------------------

    def inherited(self, path: Path, origin: Path) -> None:
        """Record that the value at a path is taken from another place of the file."""
        self._origins[path] = origin

    def origin(self, path: Path) -> Path:
        """The place of a value in the file: `defaults` or `cache` for what a provider inherits."""
        origin = self._origins.get(path[:3])
        return (*origin, *path[3:]) if origin else path

    # -- warnings ----------------------------------------------------------------------------------------------

    def warn(self, path: Path, text: str) -> None:
        self._warnings[self.documents.described(path, text)] = None

    def warn_of_brackets(self, patterns: Sequence[str], path: Path) -> None:
        for index, pattern in enumerate(patterns):
            if "[" in pattern:
                text = "`[` is matched literally; character classes like [0-9] are not supported"
                self.warn((*path, index), text)

    def _warn_of_missing_units(self, model: type[BaseModel], value: Mapping[str, Any], path: Path) -> None:
        for name in _durations(model):
            if name in value and _NUMBER.fullmatch(str(value[name])):
                where = self.origin((*path, name))
                written = self.documents.text(where) or "the value"
                text = f"{written} has no unit and is read as seconds; add a unit, like 250ms, 6s or 5m"
                self.warn(where, text)


@cache
def _durations(model: type[BaseModel]) -> tuple[str, ...]:
    """The names of the settings of a model that are durations."""
    return tuple(name for name, field in model.model_fields.items() if DURATION in field.metadata)


def _settings_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The settings that exist at a path below a model."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def _is_without_invalid_items(error: ErrorDetails, found: Iterable[ErrorDetails]) -> bool:
    """Whether an error says that a list is too short because its invalid items, which have errors, do not count."""
    return error["type"] == "too_short" and any(other["loc"][:-1] == error["loc"] for other in found)
