"""Answers of calls, passed on as they are: the id of the model becomes the one that was asked for, `usage` is counted.

Nothing is encoded anew. A dated snapshot (`gpt-4o-2024-08-06` for `gpt-4o`) stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from proxy.bodies import STRING, Span, members

_LONGEST_LINE = 1024 * 1024
"""Bytes; an unfinished line of a stream that is longer goes out as it is."""
_DATA = re.compile(rb"data:[ \t]*(?=\{)")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_MODEL = re.compile(rb'"model"\s*:\s*(%b)' % STRING)
_WRAPPED = ("response", "message")
"""Members of events that hold what an answer holds: OpenAI's responses, Anthropic's messages."""


class Tokens(Struct, frozen=True):
    """What an answer says that it used; 0 where it says nothing."""

    input: int = 0
    output: int = 0

    def and_then(self, later: Tokens) -> Tokens:
        """Counts of one stream grow: the last one is the sum."""
        return Tokens(max(self.input, later.input), max(self.output, later.output))


Count = Annotated[int, Meta(lt=2**53)]
"""More than this has been made up."""


class _Usage(Struct):
    """`usage` in the words of chat completions and embeddings, and in those of responses and messages."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None


class _Wrapped(Struct):
    usage: _Usage | None = None


class _Said(Struct):
    """What an answer says that matters here."""

    model: str = ""
    usage: _Usage | None = None
    response: _Wrapped | None = None
    message: _Wrapped | None = None

    @property
    def tokens(self) -> Tokens:
        tokens = _counts(self.usage)
        for wrapped in (self.response, self.message):
            if wrapped:
                tokens = tokens.and_then(_counts(wrapped.usage))
        return tokens


_as_said = msgspec.json.Decoder(_Said, strict=False).decode
_usage = msgspec.json.Decoder(_Usage, strict=False).decode  # `3.0` is 3, too


def passed_on(answer: bytes, own_id: str, public_id: str) -> tuple[bytes, Tokens]:
    """A whole JSON answer, with `model` replaced if that is exactly `own_id`, and what it says that it used.

    What cannot be read stays as it is.
    """
    if own_id == public_id and b'"usage"' not in answer:
        return answer, Tokens()
    try:
        said = _as_said(answer)
    except (ValueError, RecursionError):
        said = None
    if said and (own_id == public_id or said.model != own_id):
        return answer, said.tokens
    if said and answer.count(b'"model"') == 1 and rb"\u" not in answer and (found := _MODEL.search(answer)):
        # There is one `model`, so it is that one: a name can be hidden only by an escape.
        return answer[: found.start(1)] + msgspec.json.encode(public_id) + answer[found.end() :], said.tokens
    spans = _members(answer)
    tokens = _tokens(answer, spans)
    span = None if own_id == public_id else _span_of_model(answer, spans, own_id)
    if span is None:
        return answer, tokens
    return answer[: span[0]] + msgspec.json.encode(public_id) + answer[span[1] :], tokens


def _members(answer: bytes) -> Mapping[str, Span]:
    try:
        return members(answer)
    except ValueError:
        return {}


def _tokens(answer: bytes, spans: Mapping[str, Span]) -> Tokens:
    """What is said in `usage`, also in that of a wrapped answer."""
    found = Tokens()
    for name in ("usage", *_WRAPPED):
        start, end = spans.get(name, (0, 0))
        if not answer.startswith(b"{", start, end):
            continue
        value = answer[start:end]
        found = found.and_then(_counted(value) if name == "usage" else _tokens(value, _members(value)))
    return found


def _counted(usage: bytes) -> Tokens:
    try:
        said = _usage(usage)
    except (ValueError, RecursionError):
        return Tokens()
    return _counts(said)


def _counts(said: _Usage | None) -> Tokens:
    if said is None:
        return Tokens()
    return Tokens(
        max(0, said.prompt_tokens or said.input_tokens or 0), max(0, said.completion_tokens or said.output_tokens or 0)
    )


def _span_of_model(answer: bytes, spans: Mapping[str, Span], own_id: str, wrapped: Sequence[str] = ()) -> Span | None:
    """Where `model` says `own_id`: in the object, or in one of its members that are `wrapped`."""
    if "model" in spans and _decoded(answer[slice(*spans["model"])]) == own_id:
        return spans["model"]
    for name in wrapped:
        start, end = spans.get(name, (0, 0))
        value = answer[start:end]
        inner = _span_of_model(value, _members(value), own_id) if value.startswith(b"{") else None
        if inner:
            return start + inner[0], start + inner[1]
    return None


def _decoded(value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError):
        return None


class Events:
    """A stream of events on its way (text/event-stream): renamed line by line, `usage` counted."""

    def __init__(self, own_id: str, public_id: str) -> None:
        self.tokens = Tokens()
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._renames = own_id != public_id
        # Nearly all events of a stream begin alike, up to their `model`. What was found out by reading one is so found
        # in the next ones without reading them. (No text of an event can hold it: it has bare quotes.)
        self._beginning = self._new_beginning = b""
        self._held = bytearray()  # of an unfinished line, what has come of it
        self._went_out = b"\n\n"  # at least its last four bytes

    @property
    def between_events(self) -> bool:
        """Whether what went out ends with a whole event: something of ours that follows is no part of it."""
        return self._went_out.endswith((b"\n\n", b"\n\r\n"))

    def passed(self, chunk: bytes) -> bytes:
        """What goes out when this comes in. Without a new name that is the chunk itself."""
        whole = self._whole_lines(chunk) if self._held or not chunk.endswith(b"\n") else chunk
        if b'"usage"' in whole and _USAGE.search(whole):
            self._count(whole)
        return self._out(self._renamed(whole) if self._renames else chunk)

    def rest(self) -> bytes:
        """What is still held when the stream has ended."""
        held = bytes(self._held)
        self._held.clear()
        self._count(held)
        return self._out(self._renamed(held)) if self._renames else b""

    def _whole_lines(self, chunk: bytes) -> bytes:
        """What was held and has now an end; the beginning of the next line is held."""
        cut = chunk.rfind(b"\n") + 1
        if not cut and len(self._held) + len(chunk) <= _LONGEST_LINE:
            self._held += chunk
            return b""
        if len(chunk) - cut > _LONGEST_LINE or not cut:
            cut = len(chunk)
        whole = bytes(self._held) + chunk[:cut]
        self._held = bytearray(chunk[cut:])
        return whole

    def _out(self, out: bytes) -> bytes:
        if out:
            self._went_out = out if len(out) > 3 else self._went_out[-4:] + out
        return out

    def _count(self, lines: bytes) -> None:
        for line in lines.splitlines():
            data = _DATA.match(line)
            if data and b'"usage"' in line:
                event = line[data.end() :]
                self.tokens = self.tokens.and_then(_tokens(event, _members(event)))

    def _renamed(self, lines: bytes) -> bytes:
        if not self._beginning and b'"model"' in lines:
            # The first event that says it, alone: then the others that came with it need not be read.
            first = lines.find(b"\n", lines.find(b'"model"')) + 1 or len(lines)
            return self._by_line(lines[:first]) + self._at_once(lines[first:])
        return self._at_once(lines)

    def _at_once(self, lines: bytes) -> bytes:
        mentioned = lines.count(b'"model"')
        if mentioned and self._beginning and lines.count(self._beginning) == mentioned:
            return lines.replace(self._beginning, self._new_beginning)
        # A name may be written in other ways.
        return self._by_line(lines) if mentioned or b"\\u" in lines else lines

    def _by_line(self, lines: bytes) -> bytes:
        return b"".join(map(self._renamed_line, lines.splitlines(keepends=True)))

    def _renamed_line(self, line: bytes) -> bytes:
        data = _DATA.match(line)
        if data is None:
            return line
        event = line[data.end() :].rstrip(b"\r\n")
        span = _span_of_model(event, _members(event), self._own_id, _WRAPPED)
        if span is None:
            return line
        start, end = data.end() + span[0], data.end() + span[1]
        self._beginning, self._new_beginning = line[:end], line[:start] + self._public_id
        return self._new_beginning + line[end:]
