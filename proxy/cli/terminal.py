"""Output of all commands: colors only on a terminal, nothing truncated in a pipe, errors on stderr with a hint."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import IO, Any, NamedTuple, TextIO

import click

from proxy.cli.text import width_of, wrap
from proxy.printable import printable, printable_json, printable_lines

_GAP = "  "
MIN_FOLDED = 8
"""Columns of the terminal that a folded column of a table has at least."""


class Styled(NamedTuple):
    """A text with a color."""

    text: str
    color: str | None = None
    bold: bool | None = None
    dim: bool | None = None


class Output:
    """Stdout or stderr: without a terminal no escape sequences and no wrapped lines, with `NO_COLOR` no styles."""

    def __init__(self, stream: TextIO) -> None:
        if isinstance(stream, io.TextIOWrapper):
            # Providers send text in any language, which the encoding of the terminal may not support.
            stream.reconfigure(errors="backslashreplace")
        dumb = os.environ.get("TERM") == "dumb"
        self.is_terminal = stream.isatty()
        self.can_redraw = self.is_terminal and not dumb
        self.width = _columns(stream) if self.is_terminal else None
        """Columns of the terminal, None without one: then each row of a table stays one line, for grep and files."""
        self._has_styles = self.is_terminal and not dumb and not os.environ.get("NO_COLOR")
        self._stream = stream

    def print(self, text: str | Styled) -> None:
        """Print a text. On a terminal, lines wrap between words."""
        styled = text if isinstance(text, Styled) else Styled(text)
        for line in printable_lines(styled.text).split("\n"):
            for part in wrap(line, self.width):
                self.write(self.style(styled._replace(text=part)) + "\n")

    def write(self, text: str) -> None:
        """Write and flush a text as it is."""
        click.echo(text, file=self._stream, nl=False)

    def style(self, styled: Styled) -> str:
        """The text with its escape sequences, if this output has styles."""
        if not self._has_styles or not styled.text or styled[1:] == (None, None, None):
            return styled.text
        return click.style(styled.text, fg=styled.color, bold=styled.bold, dim=styled.dim)


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80


def out() -> Output:
    return Output(sys.stdout)


def err() -> Output:
    return Output(sys.stderr)


class Failure(click.ClickException):
    """Ends the command with exit code 1. On a terminal, lines wrap between words."""

    def show(self, file: IO[Any] | None = None) -> None:
        output = err()
        lines = printable_lines(f"Error: {self.message}").split("\n")
        first, *others = (part for line in lines for part in wrap(line, output.width))
        label = output.style(Styled("Error:", "red", bold=True))
        output.write("\n".join([label + first.removeprefix("Error:"), *others, ""]))


# -- tables ------------------------------------------------------------------------------------------------------------

Column = tuple[str, str]
"""A heading and the layout of its cells: `left`, `right`, or `fold` (over several lines on a terminal)."""


def show_table(output: Output, columns: Sequence[Column], rows: Iterable[Sequence[str | Styled]]) -> None:
    """Print a table that fits the terminal: long cells are folded, nothing is truncated."""
    table = [[Styled(heading, bold=True) for heading, _ in columns]]
    table += [[cell if isinstance(cell, Styled) else Styled(printable(cell)) for cell in row] for row in rows]
    layouts = [layout for _, layout in columns]
    natural = [max(width_of(cell.text) for cell in cells) for cells in zip(*table, strict=True)]
    widths = fitting(natural, layouts, output.width)
    for row in table:
        folded = (wrap(cell.text, width) for cell, width in zip(row, widths, strict=True))
        for parts in zip_longest(*folded, fillvalue=""):
            line = (
                aligned(part, width, layout, output.style(cell._replace(text=part)))
                for part, width, layout, cell in zip(parts, widths, layouts, row, strict=True)
            )
            output.write(_GAP.join(line).rstrip() + "\n")


def aligned(text: str, width: int, layout: str, styled: str) -> str:
    """The styled text of a cell, padded with spaces to this width."""
    padding = " " * (width - width_of(text))
    return padding + styled if layout == "right" else styled + padding


def fitting(natural: Sequence[int], layouts: Sequence[str], room: int | None) -> list[int]:
    """The width of each column: the widest folded ones are reduced until the table fits. `room` None: unlimited."""
    widths = list(natural)
    folded = [n for n, layout in enumerate(layouts) if layout == "fold"]
    while room is not None and sum(widths) + len(_GAP) * (len(widths) - 1) > room:
        widest = max(folded, key=lambda n: widths[n])
        if widths[widest] <= MIN_FOLDED:
            break
        widths[widest] -= 1
    return widths


def print_json(data: Mapping[str, Any]) -> None:
    """Print as UTF-8, independent of the encoding of the terminal."""
    import msgspec  # `health` must start fast

    click.echo(printable_json(msgspec.json.format(msgspec.json.encode(data), indent=2).decode()).encode())
