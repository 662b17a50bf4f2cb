"""Tables that fit a terminal: narrow ones show fewer columns, short ones fewer rows, and no line wraps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from proxy.cli.terminal import MIN_FOLDED, Styled, aligned, fitting
from proxy.cli.text import cut, width_of

Line = Sequence[Styled]
"""The texts of a line, from left to right."""

_GAP = "  "
_HEAD = 2
"""Lines of a table in addition to its rows: an empty line and the headings."""
_FIRST_ROWS, _OTHER_ROWS = 5, 3
"""Minimum numbers of rows of the first table and of the others, if the terminal is high enough."""


class Column(NamedTuple):
    """A column: `layout` as in `show_table`, but cells are cut instead of folded."""

    heading: str
    layout: str
    rank: int
    """The columns with the highest ranks are left out first."""
    least: int = MIN_FOLDED
    """The width below which a column with the layout `fold` is left out."""


class Table(NamedTuple):
    """A table with at least one column."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Styled]]


def table_lines(table: Table, width: int | None) -> Sequence[Line]:
    """The headings and the rows. `width`: columns of the terminal; None: unlimited."""
    cells = [[Styled(column.heading, bold=True) for column in table.columns], *table.rows]
    natural = [max(width_of(row[place].text) for row in cells) for place in range(len(table.columns))]
    shown = _shown(table.columns, natural, width)
    layouts = [table.columns[place].layout for place in shown]
    limited = [natural[place] if width is None else min(natural[place], width) for place in shown]
    widths = fitting(limited, layouts, width)
    return [_line([row[place] for place in shown], widths, layouts) for row in cells]


def _shown(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> Sequence[int]:
    """The places of the columns that fit into the width; at least one."""
    shown = list(range(len(columns)))
    least = [
        min(each, column.least) if column.layout == "fold" else each
        for column, each in zip(columns, natural, strict=True)
    ]
    while width is not None and len(shown) > 1 and sum(least[each] + len(_GAP) for each in shown) - len(_GAP) > width:
        shown.remove(max(shown, key=lambda place: (columns[place].rank, place)))
    return shown


def _line(cells: Sequence[Styled], widths: Sequence[int], layouts: Sequence[str]) -> Line:
    """The cells of a line, without trailing spaces."""
    line: list[Styled] = []
    for cell, width, layout in zip(cells, widths, layouts, strict=True):
        text = cut(cell.text, width)
        if line:
            line.append(Styled(_GAP))
        line.append(cell._replace(text=aligned(text, width, layout, text)))
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = line[-1]._replace(text=line[-1].text.rstrip())
    return line


def stacked(tables: Sequence[Table], width: int | None, height: int | None) -> Sequence[Line]:
    """The lines of all tables, each after an empty line, without tables that have no rows. None: unlimited."""
    filled = [table for table in tables if table.rows]
    rows = _rows([len(table.rows) for table in filled], height)
    lines: list[Line] = []
    for table, most in zip(filled, rows, strict=True):
        if not most:
            continue
        # Widths depend on all rows, also on hidden ones, so that columns do not move when the order changes.
        heading, *others = table_lines(table, width)
        lines += [[], heading, *others[:most]]
        if most < len(others):
            lines[-1] = [Styled(cut(f"… {len(others) - most + 1:,} more", width), dim=True)]
    return lines


def _rows(counts: Sequence[int], height: int | None) -> Sequence[int]:
    """The number of lines for the rows of each table: the first table has precedence."""
    if height is None:
        return counts
    reserved = [min(count, _OTHER_ROWS) + _HEAD for count in counts[1:]]
    while reserved and height - sum(reserved) < _HEAD + min(counts[0], _FIRST_ROWS):
        reserved.pop()
    rows, left = [], height
    for place, count in enumerate(counts):
        most = min(count, max(0, left - sum(reserved[place:]) - _HEAD))
        rows.append(most)
        left -= most + _HEAD if most else 0
    return rows
