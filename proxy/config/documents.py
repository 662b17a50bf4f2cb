"""Several files as one configuration: their sections are joined, and every place is known by file and line."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from proxy.config.document import Document, Path, in_all_files, is_extension, setting
from proxy.config.hints import LIST, unknown_setting
from proxy.config.problems import Problem

LISTS = ("owners", "providers", "models", "routing", "keys")
"""Sections whose entries are joined, in the order of the files."""
INCLUDABLE = (*LISTS, "groups")
"""What an included file can contain."""
SECTIONS = (
    "include", "server", "logging", "store", "auth", "notify", "tracing", "cache", "defaults", "facts", "merge",
    *INCLUDABLE,
)  # fmt: skip


class Documents:
    """The main file and the included ones, read like one document.

    A path such as `("keys", 7, "name")` counts the entries of all files. Problems name the file, with its own count.
    """

    def __init__(self, main: Document, included: Sequence[Document] = ()) -> None:
        self.files = (main, *included)
        self._starts: dict[str, list[int]] = {}
        """Section -> the number of entries before those of each file."""
        self._groups: dict[str, Document] = {}
        for file in included:
            _check_sections(file, main)
        self.value = self._joined() if isinstance(main.value, dict) else main.value
        for number, file in enumerate(self.files):
            file.starts = {section: starts[number] for section, starts in self._starts.items()}
        self.unset = {in_all_files(file, path): names for file in self.files for path, names in file.unset.items()}
        """As in `Document`, of all files."""
        self.malformed = {in_all_files(file, path) for file in self.files for path in file.malformed}

    def _joined(self) -> dict[str, Any]:
        main, *included = self.files
        value: dict[str, Any] = dict(main.value)
        for section in LISTS:
            self._join_lists(value, section)
        groups = main.value.get("groups")
        if isinstance(groups, dict) or (
            groups is None and any(_section(file, "groups") is not None for file in included)
        ):
            value["groups"] = self._join_groups()
        return value

    def _join_lists(self, value: dict[str, Any], section: str) -> None:
        if value.get(section) is not None and not isinstance(value[section], list):
            return  # reported where the section is read
        joined: list[Any] = []
        for file in self.files:
            self._starts.setdefault(section, []).append(len(joined))
            entries = _section(file, section)
            if isinstance(entries, list):
                joined += entries
            elif entries is not None:
                file.problem((section,), LIST)
        if joined or section in value:
            value[section] = joined if joined else value[section]

    def _join_groups(self) -> dict[str, Any]:
        joined: dict[str, Any] = {}
        for file in self.files:
            groups = _section(file, "groups")
            if groups is not None and not isinstance(groups, dict):
                file.problem(("groups",), "must be a mapping of group names, like `staff: {models: [...]}`")
                continue
            for name, group in (groups or {}).items():
                if name in joined:
                    place = self.place(("groups", name))
                    file.problem(("groups", name), f"duplicate group, also at {place}; remove one")
                else:
                    joined[name] = group
                    self._groups[name] = file
        return joined

    # -- places ------------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The main file."""
        return self.files[0].path

    @property
    def problems(self) -> list[Problem]:
        """Those of all files."""
        return [problem for file in self.files for problem in file.problems]

    def place(self, path: Path) -> str:
        """`config.yaml:7`."""
        file, own = self._located(path)
        return f"{file.path}:{file.line(own)}"

    def setting(self, path: Path) -> str:
        """`providers[2].base_url`, as counted in its file."""
        return setting(self._located(path)[1])

    def line(self, path: Path) -> int:
        file, own = self._located(path)
        return file.line(own)

    def text(self, path: Path) -> str | None:
        """A scalar as written in its file, None if the path is none."""
        file, own = self._located(path)
        return file.texts.get(own)

    def is_written(self, path: Path) -> bool:
        file, own = self._located(path)
        return own in file.lines

    def problem(self, path: Path, text: str) -> None:
        file, own = self._located(path)
        file.problem(own, text)

    def described(self, path: Path, text: str) -> str:
        """A message with its place, like a problem."""
        file, own = self._located(path)
        return str(Problem(file.line(own), setting(own), text, file.path))

    def _located(self, path: Path) -> tuple[Document, Path]:
        """The file of a value, and the path of the value there."""
        match path:
            case (section, int(index), *rest) if section in self._starts:
                starts = self._starts[str(section)]
                number = bisect_right(starts, index) - 1
                return self.files[number], (section, index - starts[number], *rest)
            case ("groups", name, *_):
                return self._groups.get(str(name), self.files[0]), path
        return self.files[0], path


def _section(file: Document, name: str) -> Any:
    return file.value.get(name) if isinstance(file.value, dict) else None


def _check_sections(file: Document, main: Document) -> None:
    """Report what an included file cannot contain."""
    if not isinstance(file.value, dict):
        file.problem((), f"must contain {_listed(INCLUDABLE)}; add entries, or remove the file from `include`")
        return
    for name in file.value:
        if name == "include":
            file.problem((name,), f"an included file cannot include files; list them in `include` of {main.path}")
        elif name in SECTIONS and name not in INCLUDABLE:
            text = f"belongs in the main file, {main.path}; an included file can contain {_listed(INCLUDABLE)}"
            file.problem((name,), text)
        elif name not in INCLUDABLE and not is_extension((name,)):
            file.problem((name,), unknown_setting(name, INCLUDABLE, {}))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:-1]) + f" or `{names[-1]}`"
