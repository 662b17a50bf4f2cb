"""Problems in a configuration file, for an operator to fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from proxy.config.misplaced import masked
from proxy.config.sources import Sources
from proxy.printable import printable


@dataclass(frozen=True, order=True)
class Problem:
    """One problem in a configuration file. `line` counts from 1; 0 is the file as a whole.

    Its text begins with `file:line:`, so that editors and terminals can open the place.

    What looks like a secret is masked: a key may have been pasted into any place.
    """

    line: int
    setting: str
    text: str
    file: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "setting", masked(self.setting))
        object.__setattr__(self, "text", masked(self.text))

    def __str__(self) -> str:
        file = printable(self.file)
        where = f"{file}:{self.line}" if self.line else file
        return ": ".join(part for part in (where, self.setting, self.text) if part)


class ConfigError(Exception):
    """All problems of a configuration at once."""

    sources = Sources()
    """The files that were read until the problem, set by the loader: a change of one may fix it."""

    def __init__(self, path: str, problems: Iterable[Problem]) -> None:
        """`path`: of the main file, whose problems come first."""
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda each: (each.file != path, each.file, each)))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{path} has {count}:", *(f"  {problem}" for problem in self.problems)]))
