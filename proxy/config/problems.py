"""Problems in a configuration file, for an operator to fix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One problem in a configuration file. `line` counts from 1; 0 is the file as a whole."""

    line: int
    setting: str
    text: str

    def __str__(self) -> str:
        where = f"line {self.line}" if self.line else "the file"
        return f"{where}, {self.setting}: {self.text}" if self.setting else f"{where}: {self.text}"


class ConfigError(Exception):
    """All problems of one file at once."""

    def __init__(self, path: str, problems: Sequence[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems))
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n".join([f"{path} has {count}:", *(f"  {problem}" for problem in self.problems)]))
