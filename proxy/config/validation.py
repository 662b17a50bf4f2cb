"""Checks the values of a document against the settings, and collects problems and warnings with their lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

import pydantic
from pydantic import BaseModel
from pydantic_core import ErrorDetails

from proxy.config import hints
from proxy.config.document import Document, Path, setting
from proxy.config.fields import Settings
from proxy.config.settings import Cache, Defaults, Merge, Provider, Server
from proxy.dialects import DIALECTS

M = TypeVar("M", bound=Settings)

PROVIDER_SETTINGS = tuple(name for name in Provider.model_fields if name != "settings")
_HOMES: Mapping[str, Iterable[str]] = {
    "`server`": Server.model_fields,
    "`cache`": Cache.model_fields,
    "`merge`": Merge.model_fields,
    "`defaults`": Defaults.model_fields,
    "each provider": PROVIDER_SETTINGS,
}
_SECRET = {"api_key", "api_key_file", "key", "hash", "headers", "proxy", "password", "secret", "base_url", "url"}


class Validation:
    """The validation of one document; its problems are added to the document."""

    def __init__(self, document: Document, *, offline: bool = False) -> None:
        """`offline`: a variable or a file that is not available is a warning instead of a problem."""
        self.document = document
        self._offline = offline
        self._origins: dict[Path, Path] = {}
        self._warnings: dict[str, None] = {}
        self._waiting = {where[:length] for where in document.unset for length in range(len(where) + 1)}
        """Every value that contains a variable that is not set."""

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._warnings)

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
        """The settings in a value, None if something is wrong with them."""
        if isinstance(value, dict):
            empty = [name for name in value if value[name] is None and name in model.model_fields]
            for name in empty:
                self.problem(self.origin((*path, name)), hints.NO_VALUE)
            value = {name: value[name] for name in value if name not in empty} if empty else value
        try:
            return model.model_validate(value)
        except pydantic.ValidationError as errors:
            for error in errors.errors(include_url=False):
                self._invalid(error, path, model)
            return None

    def unique_names(self, raw: Mapping[str, Any], section: str) -> None:
        seen: set[str] = set()
        for path, value in self.entries(raw, section):
            name = value.get("name") if isinstance(value, dict) else None
            if isinstance(name, str) and name in seen:
                self.problem((*path, "name"), f"{name!r} stands here a second time; names are unique")
            elif isinstance(name, str) and name:
                seen.add(name)

    # -- problems ----------------------------------------------------------------------------------------------

    def problem(self, path: Path, text: str) -> None:
        self.document.problem(path, text)

    def unknown(self, path: Path, known: Sequence[str]) -> None:
        """A setting that does not exist at this place, where `known` exist."""
        name = str(path[-1])
        kinds = " and ".join(row.kind for row in DIALECTS.values() if name in row.settings)
        text = f"unknown setting; only kind {kinds} has it" if kinds else hints.unknown_setting(name, known, _HOMES)
        self.problem(path, text)

    def unset(self, path: Path) -> None:
        """Variables in a string that are not set."""
        for name in self.document.unset[path]:
            hint = "set it"
            if path[0] != "keys":
                hint += f", or give a default: ${{{name}:-...}}"
            if path[0] == "providers":
                hint += ", or mark the provider `optional: true`"
            self.unavailable(path, f"the environment variable {name} is not set or empty", hint)

    def unavailable(self, path: Path, text: str, hint: str = "") -> None:
        """Report a variable or a file that is not available: a problem with a hint, or a warning if offline."""
        if self._offline:
            self.warn(path, f"{setting(path)}: {text}; this value was not checked")
        else:
            self.problem(path, f"{text}; {hint}" if hint else text)

    def is_unset(self, path: Path) -> bool:
        """Whether a value contains a variable that is not set: that is reported once, whatever else it lacks."""
        return path in self._waiting

    def _invalid(self, error: ErrorDetails, path: Path, model: type[BaseModel]) -> None:
        loc = tuple(part for part in error["loc"] if part != "[key]")
        where = self.origin((*path, *loc))
        if where[-1] == 0 and where[:-1] in self.document.texts:
            where = where[:-1]  # one string where a list is also possible
        if self.is_unset(where):
            return
        if error["type"] == "extra_forbidden":
            self.unknown(where, _settings_at(model, loc[:-1]))
        elif error["type"] != "missing":
            is_name = "[key]" in error["loc"]
            words = hints.words_for(error)
            found = "" if is_name or words == hints.PAIRS else self._found(where)
            self.problem(where, f"{'a name ' * is_name}{words}{found}")
        elif where not in self.document.lines:
            self.problem(where, f"is missing; add `{loc[-1]}: ...`")

    def _found(self, where: Path) -> str:
        """The value as written in the file (a variable by its name), unless it may be a secret itself."""
        text = self.document.texts.get(where)
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
        self._warnings[f"{self.document.path}, line {self.document.line(path)}: {text}"] = None

    def warn_of_brackets(self, patterns: Sequence[str], path: Path) -> None:
        for index, pattern in enumerate(patterns):
            if "[" in pattern:
                where = setting((*path, index))
                meaning = "`[` is matched literally; character classes like [0-9] are not supported"
                self.warn((*path, index), f"{where}: {meaning}")


def _settings_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The settings that exist at a place below a model."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = [field.annotation, *get_args(field.annotation)] if field else []
        model = next((kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
