"""Output of all commands: colors only on a terminal, nothing truncated in a pipe, errors on stderr with a hint."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any, TextIO

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.cli.text import printable
from proxy.config.hints import closest

_ENDLESS = 10_000
"""Columns without a terminal: each row of a table stays one line, for grep and for files."""


def console_for(stream: TextIO) -> Console:
    """A console for stdout or stderr: without a terminal no escape sequences, with `NO_COLOR` no colors."""
    if isinstance(stream, io.TextIOWrapper):
        # Providers send text in any language, which the encoding of the terminal may not support.
        stream.reconfigure(errors="backslashreplace")
    on_terminal = stream.isatty()
    plain = not on_terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=stream,
        force_terminal=on_terminal,
        color_system=None if plain else "auto",
        width=None if on_terminal else _ENDLESS,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=not on_terminal,
    )


def out() -> Console:
    return console_for(sys.stdout)


def err() -> Console:
    return console_for(sys.stderr)


class Failure(click.ClickException):
    """Ends the command with exit code 1. On a terminal, lines wrap between words."""

    def show(self, file: IO[Any] | None = None) -> None:
        err().print(Text.assemble(("Error: ", "bold red"), self.message))


Column = tuple[str, str]
"""A heading and the layout of its cells: `left`, `right`, `fold` (over several lines), `note` (prose)."""


def show_table(console: Console, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table that fits the terminal: ids and notes are folded, nothing is truncated."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, layout in columns:
        table.add_column(
            heading,
            justify="right" if layout == "right" else "left",
            no_wrap=layout in ("left", "right"),
            overflow="fold",
            ratio={"fold": 3, "note": 4}.get(layout) if console.is_terminal and _has_note(columns) else None,
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    with console.capture() as captured:
        console.print(table)
    # Without the padding of the last column, which would wrap to empty lines on a narrower terminal.
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), file=console.file)


def _has_note(columns: Sequence[Column]) -> bool:
    return any(layout == "note" for _, layout in columns)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the most similar known word, or the first ten. It never repeats the word, which may be a secret."""
    names = list(known)
    if match := closest(word, names):
        return f"did you mean {match!r}?"
    return f"available: {', '.join(names[:10])}{' ...' * (len(names) > 10)}" if names else "none is configured"
