"""The format of log lines."""

from __future__ import annotations

import logging
from types import TracebackType

from proxy.errors import describe_bug
from proxy.printable import printable, printable_lines


class LineFormatter(logging.Formatter):
    """One line per message, whatever texts of providers it contains.

    Tracebacks follow on lines of their own, without the texts of exceptions, which can contain secrets.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))

    def formatException(
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return describe_bug(ei[1]) if ei[1] else ""
