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
"""Bytes; an unfinished line of a stream that is longer goes out as it comes."""
_LONGEST_TEXT = 8 * 1024
"""Bytes of a name, or of a model's id, in what is too long to be held."""
_LONGEST_USAGE = 64 * 1024
_DATA = re.compile(rb"data:[ \t]*(?=\{)")
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_MODEL = re.compile(rb'"model"\s*:\s*(%b)' % STRING)
_STRING = re.compile(STRING, re.DOTALL)
_REST_OF_STRING = re.compile(STRING.removeprefix(b'"'), re.DOTALL)
_SIGNS = re.compile(rb'[{}\[\],:"]')
_BRACKETS = re.compile(rb'[{}\[\]"]')
_LINE_END = re.compile(rb"\r\n|\r|\n")
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


class LongAnswer:
    """A JSON object that is too long to be held, on its way: what `passed_on` does, piece by piece.

    It is never decoded: strings and brackets tell where its outermost members are.
    """

    def __init__(self, own_id: str, public_id: str, *, also_wrapped: bool = False) -> None:
        """`also_wrapped`: `model` is replaced in the wrapped members of an event, too."""
        self.tokens = Tokens()
        self.renames = own_id != public_id
        self._own_id, self._public_id = own_id, msgspec.json.encode(public_id)
        self._also_wrapped = also_wrapped
        self._held = b""  # the beginning of a text that matters
        self._depth = 0
        self._near = False  # whether the members of this object matter
        self._wrapping = False  # whether the object of the second level is a wrapped one
        self._in_text = False  # in one that does not matter
        self._name = ""
        self._name_is_next = False
        self._usage: bytearray | None = None
        self._usage_depth = 0

    def passed(self, piece: bytes) -> bytes:
        """What goes out when this comes in."""
        text = self._held + piece
        out: list[bytes] = []
        at = sent = counted = 0
        while at < len(text):
            if self._in_text:
                rest = _REST_OF_STRING.match(text, at)
                if rest is None:
                    # What follows a backslash belongs to it.
                    at = len(text) - (len(text) - len(text.rstrip(b"\\"))) % 2
                    break
                at, self._in_text = rest.end(), False
                continue
            found = (_SIGNS if self._near else _BRACKETS).search(text, at)
            if found is None:
                at = len(text)
                break
            start, at = found.span()
            sign = found[0]
            if sign == b'"':
                whole = _STRING.match(text, start)
                if whole:
                    at = whole.end()
                    if self._near and self._is_our_model(whole[0]):
                        out += [text[sent:start], self._public_id]
                        sent = at
                elif self._matters() and len(text) - start <= _LONGEST_TEXT:
                    at = start
                    break
                else:
                    self._in_text = True
            elif sign in b"{[":
                if self._near and self._name == "usage" and sign == b"{":
                    self._usage, self._usage_depth, counted = bytearray(), self._depth, start
                self._open(sign)
            elif sign in b"}]":
                self._close()
                if self._usage is not None and self._depth == self._usage_depth:
                    self._count(text[counted:at])
            elif sign == b",":
                self._name, self._name_is_next = "", True
        if self._usage is not None:
            self._usage += text[counted:at]
            if len(self._usage) > _LONGEST_USAGE:
                self._usage = None
        self._held = text[at:]
        out.append(text[sent:at])
        return b"".join(out)

    def rest(self) -> bytes:
        """What is still held when the answer has ended."""
        return self._held

    def _matters(self) -> bool:
        return self._near and (self._name_is_next or self._name == "model")

    def _is_our_model(self, encoded: bytes) -> bool:
        """Whether this text has to be replaced; a name is remembered."""
        if self._name_is_next:
            self._name, self._name_is_next = str(_decoded(encoded)), False
            return False
        return (
            self._name == "model"
            and self.renames
            and (self._depth == 1 or self._also_wrapped)
            and _decoded(encoded) == self._own_id
        )

    def _open(self, sign: bytes) -> None:
        self._depth += 1
        if self._depth == 2:
            self._wrapping = self._near and sign == b"{" and self._name in _WRAPPED
        self._near = (self._depth == 1 and sign == b"{") or (self._depth == 2 and self._wrapping)
        self._name, self._name_is_next = "", self._near

    def _close(self) -> None:
        self._depth -= 1
        self._near = self._depth == 1 or (self._depth == 2 and self._wrapping)
        self._name, self._name_is_next = "", False

    def _count(self, rest: bytes) -> None:
        assert self._usage is not None, "counted from where it began"
        self.tokens = self.tokens.and_then(_counted(bytes(self._usage + rest)))
        self._usage = None


class Events:
    """A stream of events on its way (text/event-stream): renamed line by line, `usage` counted."""

    def __init__(self, own_id: str, public_id: str) -> None:
        self.tokens = Tokens()
        self._own_id, self._public_id = own_id, public_id
        self._renames = own_id != public_id
        # Nearly all events of a stream begin alike, up to their `model`. What was found out by reading one is so found
        # in the next ones without reading them. (No text of an event can hold it: it has bare quotes.)
        self._beginning = self._new_beginning = b""
        self._held = bytearray()  # of an unfinished line, what has come of it
        self._long: LongAnswer | None = None  # the event of an unfinished line, where that is too long to be held
        self._went_out = b"\n\n"  # at least its last four bytes

    @property
    def between_events(self) -> bool:
        """Whether what went out ends with a whole event: something of ours that follows is no part of it."""
        return self._went_out.endswith((b"\n\n", b"\n\r\n", b"\r\r"))

    def passed(self, chunk: bytes) -> bytes:
        """What goes out when this comes in. Without a new name that is the chunk itself."""
        out = self._looked_at(chunk)
        return self._out(out if self._renames else chunk)

    def _looked_at(self, chunk: bytes) -> bytes:
        if self._long:
            return self._of_long_line(self._long, chunk)
        whole = self._whole_lines(chunk) if self._held or not chunk.endswith(b"\n") else chunk
        if b'"usage"' in whole and _USAGE.search(whole):
            self._count(whole)
        out = self._renamed(whole) if self._renames else b""
        return out + self._begin_long_line() if len(self._held) > _LONGEST_LINE else out

    def rest(self) -> bytes:
        """What is still held when the stream has ended."""
        if self._long:
            rest = self._end_of_long_line(self._long)
        else:
            line = bytes(self._held)
            self._held.clear()
            self._count(line)
            rest = self._renamed(line)
        return self._out(rest) if self._renames else b""

    def _whole_lines(self, chunk: bytes) -> bytes:
        """What was held and has now an end; the beginning of the next line is held."""
        cut = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        if not cut:
            self._held += chunk
            return b""
        whole = bytes(self._held) + chunk[:cut]
        self._held = bytearray(chunk[cut:])
        return whole

    def _begin_long_line(self) -> bytes:
        """The line that is held becomes one that goes out as it comes."""
        line = bytes(self._held)
        self._held.clear()
        data = _DATA.match(line)
        begin = data.end() if data else 0
        # In a line that is no event nothing is replaced.
        self._long = LongAnswer(self._own_id, self._public_id if data else self._own_id, also_wrapped=True)
        return line[:begin] + self._long.passed(line[begin:])

    def _of_long_line(self, long: LongAnswer, chunk: bytes) -> bytes:
        ends = _LINE_END.search(chunk)
        if ends is None:
            return long.passed(chunk)
        out = long.passed(chunk[: ends.start()]) + self._end_of_long_line(long)
        return out + ends[0] + self._looked_at(chunk[ends.end() :])

    def _end_of_long_line(self, long: LongAnswer) -> bytes:
        self.tokens = self.tokens.and_then(long.tokens)
        self._long = None
        return long.rest()

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
        self._beginning, self._new_beginning = line[:end], line[:start] + msgspec.json.encode(self._public_id)
        return self._new_beginning + line[end:]
