"""The lines of the log: text for people, or one JSON object each. Pure, and without line ends."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

import msgspec
from msgspec import Struct

from proxy.errors import describe_bug
from proxy.printable import printable, printable_json
from proxy.telemetry.formatter import LineFormatter
from proxy.telemetry.line_fields import (
    AddressOf,
    CallLine,
    EndedCall,
    EndedRequest,
    RequestLine,
    call_line,
    request_line,
)

_LOGGER = "models_proxy"
_HIDDEN = "***"
_PLAIN = re.compile(r"[^\s\"'=\\]+")


class MessageLine(Struct):
    """Any other line. Some have fields after the message (`message_fields`)."""

    time: str
    level: str
    event: str
    logger: str
    message: str


class Lines(Protocol):
    """Makes the lines of one format."""

    def access(self, ended: EndedCall | EndedRequest) -> bytes:
        """The line of a call or another request."""
        ...

    def record(self, record: logging.LogRecord) -> bytes: ...

    def dropped(self, number: int, now: float) -> bytes:
        """The line after lines that could not be written. `now`: Unix seconds."""
        ...


class JsonLines:
    """One JSON object per line, in UTF-8, with times in UTC (RFC 3339)."""

    def __init__(self, address_of: AddressOf, looks_secret: Callable[[str], bool]) -> None:
        """`looks_secret`: whether the model that a client requested may be a key."""
        self._address_of = address_of
        self._shown = lru_cache(1024)(lambda model: _HIDDEN if looks_secret(model) else model)
        self._encode = msgspec.json.Encoder().encode

    def access(self, ended: EndedCall | EndedRequest) -> bytes:
        time = utc_time(ended.ended_at)
        if isinstance(ended, EndedCall):
            return self._json(call_line(ended.call, time, self._address_of, self._shown))
        return self._json(request_line(ended, time, self._address_of))

    def record(self, record: logging.LogRecord) -> bytes:
        message = record.getMessage()
        if record.exc_info and (error := record.exc_info[1]):
            message = f"{message}\n{describe_bug(error)}"  # without its text, which can contain secrets
        event, fields = getattr(record, "event", "message"), getattr(record, "fields", None)
        line = self._message(record.created, record.levelname.lower(), record.name, message, event)
        return b"%b,%b" % (line[:-1], self._json(fields)[1:]) if isinstance(fields, Struct) else line

    def dropped(self, number: int, now: float) -> bytes:
        return self._message(now, "warning", _LOGGER, dropped_text(number))

    def _message(self, created: float, level: str, logger: str, message: str, event: str = "message") -> bytes:
        return self._json(MessageLine(utc_time(created), level, event, logger, message))

    def _json(self, line: Struct) -> bytes:
        try:
            json = self._encode(line)
        except UnicodeEncodeError:  # lone surrogates, which a provider can send as JSON escapes
            json = self._encode({name: _valid(value) for name, value in msgspec.structs.asdict(line).items()})
        if json.isascii() and b"\x7f" not in json:  # all other control characters are escaped in JSON
            return json
        return printable_json(json.decode()).encode()


class ConsoleLines:
    """Text with local times. Fields without a value are left out."""

    def __init__(self, address_of: AddressOf, looks_secret: Callable[[str], bool], encoding: str) -> None:
        self._address_of = address_of
        self._shown = lru_cache(1024)(lambda model: _HIDDEN if looks_secret(model) else model)
        self._encoding = encoding
        self._formatter = LineFormatter()

    def access(self, ended: EndedCall | EndedRequest) -> bytes:
        time = local_time(ended.ended_at)
        if isinstance(ended, EndedCall):
            call = call_line(ended.call, time, self._address_of, self._shown)
            text = f"call {call.request_id}: {call.status} {call.outcome}{_fields(_of_call(call))}"
            return self._line(time, call.level, text)
        request = request_line(ended, time, self._address_of)
        text = f"request {request.request_id}: {request.status}{_fields(_of_request(request))}"
        return self._line(time, request.level, text)

    def record(self, record: logging.LogRecord) -> bytes:
        return self._formatter.format(record).encode(self._encoding, "backslashreplace")

    def dropped(self, number: int, now: float) -> bytes:
        return self._line(local_time(now), "warning", dropped_text(number))

    def _line(self, time: str, level: str, text: str) -> bytes:
        line = f"{time} {level.upper()} {_LOGGER}: {text}"
        if not line.isprintable():
            line = printable(line)
        return line.encode(self._encoding, "backslashreplace")


def dropped_text(number: int) -> str:
    return f"output: dropped {number} lines, because writing was blocked or failed"


def _valid(value: object) -> object:
    """A value, without lone surrogates if it is a text: they are no UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _of_call(call: CallLine) -> Mapping[str, object]:
    return {
        "error": call.error,
        "key": call.key,
        "model": call.model,
        "provider": call.provider,
        "route": call.route,
        "stream": "true" if call.stream else "",
        "attempts": call.attempts if call.attempts > 1 else "",
        "failovers": call.failovers or "",
        "queue_seconds": call.queue_seconds or "",
        "first_byte_seconds": call.first_byte_seconds,
        "seconds": call.seconds,
        "input_tokens": call.input_tokens or "",
        "output_tokens": call.output_tokens or "",
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
        "client": call.client,
        "upstream_request_id": call.upstream_request_id,
        "reason": call.reason,
    }


def _of_request(request: RequestLine) -> Mapping[str, object]:
    return {
        "error": request.error,
        "key": request.key,
        "method": request.method,
        "route": request.route,
        "seconds": request.seconds,
        "client": request.client,
    }


def _fields(values: Mapping[str, object]) -> str:
    """` name=value` for each value but None and ""; values with blanks, quotes or `=` are JSON strings."""
    return "".join(
        f" {name}={value if not isinstance(value, str) or _PLAIN.fullmatch(value) else _quoted(value)}"
        for name, value in values.items()
        if value is not None and value != ""
    )


def _quoted(value: str) -> str:
    return msgspec.json.encode(_valid(value)).decode()


def utc_time(seconds: float) -> str:
    """RFC 3339 with milliseconds, in UTC. `seconds`: Unix time."""
    whole = int(seconds)
    return f"{_utc(whole)}.{int((seconds - whole) * 1000):03d}Z"


def local_time(seconds: float) -> str:
    """As in lines of `logging`: local time, with milliseconds. `seconds`: Unix time."""
    whole = int(seconds)
    return f"{_local(whole)},{int((seconds - whole) * 1000):03d}"


@lru_cache(2)
def _utc(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(2)
def _local(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
