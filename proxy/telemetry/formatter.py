"""The format of log lines."""

from __future__ import annotations

import logging

from proxy.printable import printable, printable_lines


class LineFormatter(logging.Formatter):
    """One line per message, whatever texts of providers it contains; tracebacks follow on lines of their own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))
