"""Problems in a configuration file, for an operator to fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.config.misplaced import masked
from proxy.config.sources import Sources


@dataclass(frozen=True, order=True)
class Problem:
    """One problem in a configuration file. `line` counts from 1; 0 is the file as a whole.

    What looks like a secret is masked: a key may have been pasted into any place.
    """

    line: int
    setting: str
    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "setting", masked(self.setting))
        object.__setattr__(self, "text", masked(self.text))

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "the file"
        return f"{where}, {self.setting}: {self.text}" if self.setting else f"{where}: {self.text}"


class ConfigError(Exception):
    """All problems of one file at once."""

    sources = Sources()
    """The files that were read until the problem, set by the loader: a change of one may fix it."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{path} has {count}:", *(f"  {problem}" for problem in self.problems)]))
