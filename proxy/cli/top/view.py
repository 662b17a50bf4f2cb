"""What `top` shows: a pure function from its state to lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.cli.client import RequestFailed
from proxy.cli.terminal import Styled
from proxy.cli.text import count, cut
from proxy.cli.top.layout import Line, stacked
from proxy.cli.top.status import Status, clock_time
from proxy.cli.top.tables import SORTS, attention, rate, tables, total
from proxy.printable import printable

_COLORS = {"ok": "green", "degraded": "yellow", "down": "red"}
_KEYS = "q quit   s sort   p pause"


@dataclass(frozen=True)
class View:
    """The state of the screen."""

    url: str
    status: Status
    """The last status that was fetched."""
    failure: str | None = None
    """Why the last request failed."""
    sort: str = SORTS[0]
    is_paused: bool = False

    def updated(self, outcome: Status | RequestFailed) -> View:
        """The view after a request. If it failed, the last status is kept."""
        if isinstance(outcome, RequestFailed):
            return replace(self, failure=outcome.reason)
        return replace(self, status=outcome, failure=None)

    def after_key(self, key: str) -> View:
        """The view after a key was pressed."""
        if key == "s":
            return replace(self, sort=SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)])
        if key in ("p", " "):
            return replace(self, is_paused=not self.is_paused)
        return self


def table_of(view: View, width: int | None) -> Sequence[Line]:
    """All tables, for output that is not redrawn. `width` None: unlimited."""
    return [*_headers(view, width), *stacked(tables(view.status, view.sort), width, None)]


def screen_of(view: View, width: int, height: int, *, has_keys: bool) -> Sequence[Line]:
    """The lines of a terminal, the last one with the keys. They always fit into the terminal."""
    headers = _headers(view, width)
    body = stacked(tables(view.status, view.sort), width, height - len(headers) - 1)
    lines = [*headers, *(map(_dimmed, body) if view.failure else body)][: height - 1]
    blank: Sequence[Line] = [[]] * (height - 1 - len(lines))
    return [*lines, *blank, _footer(view, width, has_keys=has_keys)]


def _headers(view: View, width: int | None) -> Sequence[Line]:
    headers = [_failure(view, width) if view.failure else _summary(view, width)]
    configuration = view.status.configuration
    if configuration.problems:
        first, more = configuration.problems[0], len(configuration.problems) - 1
        text = f"configuration: {printable(first)}" + f" (and {count(more, 'further problem')})" * bool(more)
        headers.append([Styled(cut(text, width), "yellow")])
    if configuration.restart_needed:
        names = printable(", ".join(configuration.restart_needed))
        headers.append([Styled(cut(f"configuration: restart the server to apply {names}", width), "yellow")])
    return headers


def _failure(view: View, width: int | None) -> Line:
    text = f"{printable(view.failure or '')}; retrying. Last status: {clock_time(view.status.time)}  {view.url}"
    return [Styled(cut(text, width), "red", bold=True)]


def _summary(view: View, width: int | None) -> Line:
    """The summary, the most important part first."""
    status = view.status
    calls = rate(total(status, lambda minutes: minutes.calls))
    errors = rate(total(status, lambda minutes: minutes.errors))
    parts = [
        f"{attention(status)} of {count(len(status.providers), 'provider')} with problems",
        f"{calls} calls/min",
        f"{errors} errors/min",
        f"{status.running.total:,} in progress",
        clock_time(status.time),
        view.url,
        f"models-proxy {printable(status.version)}",
    ]
    state = cut(printable(status.status), width)
    rest = "  ".join(["", *parts])
    return [
        Styled(state, _COLORS.get(status.status), bold=True),
        Styled(rest if width is None else cut(rest, width - len(state))),
    ]


def _footer(view: View, width: int, *, has_keys: bool) -> Line:
    keys = f"{_KEYS}   sorted by {view.sort}" if has_keys else "Ctrl-C quit"
    paused = "paused   " * view.is_paused
    first = cut(paused, width)
    return [Styled(first, "yellow", bold=True), Styled(cut(keys, width - len(first)), dim=True)]


def _dimmed(line: Line) -> Line:
    return [Styled(part.text, dim=True) for part in line]
