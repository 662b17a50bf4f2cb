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
"""Columns of what is no terminal: a line of a table stays one line, for grep and for files."""


def console(stream: TextIO) -> Console:
    """A console for stdout or stderr. What is no terminal gets no escape sequence, and neither does `NO_COLOR`."""
    if isinstance(stream, io.TextIOWrapper):
        # What a provider says may be in any language, and a terminal in any encoding.
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
    return console(sys.stdout)


def err() -> Console:
    return console(sys.stderr)


class Failure(click.ClickException):
    """Ends the command with exit code 1. On a terminal its lines end between words."""

    def show(self, file: IO[Any] | None = None) -> None:
        err().print(Text.assemble(("Error: ", "bold red"), self.message))


Column = tuple[str, str]
"""A heading, and how its cells stand: `left`, `right`, `fold` (over several lines), `note` (prose)."""


def show_table(where: Console, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table that fits the terminal: ids and notes are folded, nothing is cut off."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading, manner in columns:
        table.add_column(
            heading,
            justify="right" if manner == "right" else "left",
            no_wrap=manner in ("left", "right"),
            overflow="fold",
            ratio={"fold": 3, "note": 4}.get(manner) if where.is_terminal and _has_note(columns) else None,
        )
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    with where.capture() as captured:
        where.print(table)
    # Without the blanks that fill up the last column: a narrower terminal, or a copy, would show them as empty lines.
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), file=where.file)


def _has_note(columns: Sequence[Column]) -> bool:
    return any(manner == "note" for _, manner in columns)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint with the most similar known word, or all of them. It never repeats the word, which may be a secret."""
    names = list(known)
    if match := closest(word, names):
        return f"did you mean {match!r}?"
    return f"there are {', '.join(names[:10])}{' ...' * (len(names) > 10)}" if names else "there are none"
