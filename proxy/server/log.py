"""The log of the process: records of `logging`, and lines of calls and requests, through one bounded queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TextIO

from proxy.access.addresses import ClientAddresses
from proxy.config import Config
from proxy.config.logs import LogFormat, LogLevel
from proxy.config.misplaced import looks_secret
from proxy.server.output import DirectWriter, LineWriter, Writer, descriptor, unblocked
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.line_fields import EndedCall, EndedRequest
from proxy.telemetry.lines import ConsoleLines, JsonLines, Lines

_NOISE = (
    # Any client can cause one of these with every request, and flood the log. Only uvicorn's own protocol logs them.
    "ASGI callable returned without",  # a call ended early
    "Invalid HTTP request received.",
    "Unsupported upgrade request.",
)
_Line = bytes | EndedCall | EndedRequest


class LogOptions(NamedTuple):
    """Options of the command line, which override the configuration."""

    format: LogFormat | None = None
    level: LogLevel | None = None


_NO_OPTIONS = LogOptions()


def _as_it_is(lines: Lines) -> Lines:
    return lines


class Log:
    """Where everything is logged. `configure` can be called again while it is used."""

    def __init__(
        self,
        write: Callable[[bytes], None],
        time: Callable[[], float],
        *,
        options: LogOptions = _NO_OPTIONS,
        is_terminal: bool = False,
        encoding: str = "utf-8",
        label: Callable[[Lines], Lines] = _as_it_is,
        is_direct: bool = False,
    ) -> None:
        """`write` can block, and raise OSError; `time`: Unix seconds; `encoding`: of lines that are not JSON; `label`
        adds something to all lines; `is_direct`: write them without a thread, `write` must not block then."""
        self._time = time
        self._options = options
        self._is_terminal = is_terminal
        self._encoding = encoding
        self._label = label
        self._lines = label(JsonLines(lambda peer, forwarded_for: peer, looks_secret))
        self.is_json = True
        new_writer = DirectWriter[_Line] if is_direct else LineWriter[_Line]
        self._writer: Writer[_Line] = new_writer(write, self._rendered, self._dropped)
        self.access = AccessLog(self._writer.line, time, _later)
        """The observer to add to the events of the process."""
        self.handler: logging.Handler = _Handler(self)

    @property
    def dropped(self) -> int:
        """Lines that were dropped since the start, because writing was blocked or failed."""
        return self._writer.total_dropped

    def configure(self, config: Config) -> None:
        """Use the settings of a configuration from now on."""
        settings, addresses = config.logging, ClientAddresses(config.server.trusted_proxies)
        form = self._options.format or settings.format
        self.is_json = form == "json" or (form == "auto" and not self._is_terminal)
        if self.is_json:
            self._lines = self._label(JsonLines(addresses.of, looks_secret))
        else:
            self._lines = self._label(ConsoleLines(addresses.of, looks_secret, self._encoding))
        level = self._options.level or settings.level
        logging.getLogger().setLevel(level.upper())
        self.access.access = settings.access
        self.access.is_quiet = level != "info"

    def print(self, text: str) -> None:
        """Write a line as it is. Only for logs that people read."""
        self._writer.line(text.encode(self._encoding, "backslashreplace"))

    def record(self, record: logging.LogRecord) -> None:
        """Log a record. It is rendered at once, because its arguments can change."""
        try:
            line = self._lines.record(record)
        except Exception as error:
            text = f"invalid log record ({type(error).__name__})"
            line = self._lines.record(logging.LogRecord(record.name, record.levelno, "", 0, text, (), None))
        self._writer.line(line)

    def detach(self) -> None:
        """Log nothing more, in a copy of the process."""
        logging.getLogger().removeHandler(self.handler)

    def close(self) -> None:
        self._writer.close()

    def _rendered(self, line: _Line) -> bytes:
        return line if isinstance(line, bytes) else self._lines.access(line)

    def _dropped(self, number: int) -> bytes:
        return self._lines.dropped(number, self._time())


class _Handler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.record(record)


def _later(seconds: float, function: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, function)


@contextmanager
def logging_to(
    stream: TextIO | None,
    number: int,
    config: Config,
    options: LogOptions,
    time: Callable[[], float],
    label: Callable[[Lines], Lines] = _as_it_is,
    is_direct: bool = False,
) -> Iterator[Log]:
    """Log to a standard descriptor; nowhere if `stream`, that of Python, was closed (None). Otherwise see `Log`."""
    write = (unblocked if is_direct else descriptor)(number) if stream else _discard
    is_terminal, encoding = (stream.isatty(), stream.encoding) if stream else (False, "utf-8")
    log = Log(
        write,
        time,
        options=options,
        is_terminal=is_terminal,
        encoding=encoding,
        label=label,
        is_direct=is_direct,
    )
    root = logging.getLogger()
    level = root.level
    log.configure(config)
    root.addHandler(log.handler)
    try:
        yield log
    finally:
        root.removeHandler(log.handler)
        root.setLevel(level)
        log.close()


def _discard(data: bytes) -> None:
    pass


def drop_noise() -> None:
    """Drop log messages that any client can cause at will."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_NOISE))
