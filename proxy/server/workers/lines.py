"""The lines of a worker's log, with its number."""

from __future__ import annotations

import logging
from collections.abc import Callable

from proxy.telemetry.line_fields import EndedCall, EndedRequest
from proxy.telemetry.lines import JsonLines, Lines


def numbered(number: int) -> Callable[[Lines], Lines]:
    """Return what adds the number of a worker to lines: `"worker":2` to JSON, `[2]` before others."""

    def add(lines: Lines) -> Lines:
        return _Numbered(lines, number)

    return add


class _Numbered:
    def __init__(self, lines: Lines, number: int) -> None:
        self._lines = lines
        is_json = isinstance(lines, JsonLines)
        self._before = b"" if is_json else b"[%d] " % number
        self._after = b',"worker":%d}' % number if is_json else b""

    def access(self, ended: EndedCall | EndedRequest) -> bytes:
        return self._with_number(self._lines.access(ended))

    def record(self, record: logging.LogRecord) -> bytes:
        return self._with_number(self._lines.record(record))

    def dropped(self, number: int, now: float) -> bytes:
        return self._with_number(self._lines.dropped(number, now))

    def _with_number(self, line: bytes) -> bytes:
        return self._before + (line[:-1] + self._after if self._after else line)
