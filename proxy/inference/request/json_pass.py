"""One pass over a JSON text: check its syntax, and record where its marks are and where its containers end.

No value is decoded and no container is built. The pass is in short steps, because a body can be long: patterns match
runs of values within a window, and a stack has the containers that no pattern matches: those nested or long.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from proxy.cooperative import Cooperative
from proxy.inference.request.json_patterns import FLAT_CONTAINER, ITEMS, MEMBERS, NAME_AND_COLON
from proxy.inference.request.json_spans import TOO_MANY_VALUES
from proxy.inference.request.json_text import FIRST_OF_VALUE, ITERATION, MAX_DESCRIBED, MAX_WINDOW, JsonText
from proxy.inference.request.marks import Marks

MAX_NESTING = 1000
"""Arrays and objects in a text, whatever they contain."""
_MAX_CONTAINERS = 200_000
"""Containers on the stack: each takes about 5 us."""
_MARK_STEP = 16 * 1024  # bytes in which marks are searched for together
_MANY_MARKS = 200  # in such a part; then the following parts are shorter, because each mark takes time
OPENING = (b"[", b"{")
_BLANK = (b" ", b"\t", b"\r", b"\n")


class JsonPass(JsonText):
    """The pass over a text."""

    def __init__(self, text: bytes, max_window: int = MAX_WINDOW) -> None:
        super().__init__(text, max_window)
        self._mark_step = min(max_window, _MARK_STEP)
        self._longest_run = max_window
        self.marks = Marks()
        self.start = 0
        """Of the outermost object."""
        # Of the containers that were on the stack, in the order of their starts.
        self._starts = array("q")
        self._ends = array("q")
        self._stack: list[int] = []
        self._marked = 0
        """Up to where marks were searched for."""

    def read(self) -> Cooperative[None]:
        """Read the whole text. Raises ValueError: it is not a JSON object, or its nesting is too deep."""
        self.start = yield from self._after_blanks(0)
        if not self.text.startswith(b"{", self.start):
            raise self._not_an_object(self.start)
        at = yield from self._open(self.start)
        window = self.min_window
        is_value = False
        while self._stack:
            if self.spend(window + ITERATION):
                yield
            is_object = self._in_object()
            if is_value and at - self._marked > self._mark_step:
                self._mark(at)
            begin, at = at, self._run_end(at, window, is_object=is_object)
            if at == begin:
                window = self.min_window
                at, is_value = yield from self._read_one(at, is_object=is_object)
            else:
                window = min(2 * window if at - begin > window // 2 else window, self._longest_run)
                is_value = True
                if not self.text.startswith((b"]", b"}"), at - 1):  # after a comma, or a blank that follows one
                    if self.text.startswith(_BLANK, at):
                        at = yield from self._after_blanks(at)
                    continue
                self._close(at)
            if is_value:
                at = yield from self._after_value(at)
        self._mark(at)
        at = yield from self._after_blanks(at)
        if at < len(self.text):
            raise self.invalid(at)

    def _run_end(self, at: int, window: int, *, is_object: bool) -> int:
        """Return the end of the members that a pattern matches within a window, `at` if there are none."""
        if not is_object and window == self.max_window and (end := self.numbers_end(at)) > at:
            self._mark(at)
            self._marked = end
            return end
        match = (MEMBERS if is_object else ITEMS).match(self.text, at, at + window)
        assert match, "the patterns match an empty text"
        return match.end()

    def _read_one(self, at: int, *, is_object: bool) -> Cooperative[tuple[int, bool]]:
        """Read a member that no pattern matches. Returns where it ends, and True; or, if its value is a container
        that is not empty, where the first member of that starts, and False."""
        if is_object:
            at = yield from self._read_name(at)
        if self.text.startswith(OPENING, at):
            depth = len(self._stack)
            at = yield from self._open(at)
            return at, len(self._stack) == depth
        start, at = at, (yield from self.scalar_end(at))
        if at - start > self.max_window:
            self._mark(start + 1)  # with the quote, because marks of names contain the first byte of the value
            self._marked = at
            self.marks.add_string(self.text, start)
        return at, True

    def _read_name(self, at: int) -> Cooperative[int]:
        """Read a name and its colon. Returns the start of the value."""
        match = NAME_AND_COLON.match(self.text, at, at + self.max_window)
        if match and match.end() < at + self.max_window:
            return match.end()
        self._mark(at + 1)
        self.marks.add_any(at)
        end = yield from self.string_end(at)
        colon = yield from self.blanks_end(end)
        if not self.text.startswith(b":", colon):
            raise self.invalid(colon)
        self._marked = yield from self.blanks_end(colon + 1)
        return self._marked

    def _after_value(self, at: int) -> Cooperative[int]:
        """Read what follows a value: the end of its container, and of those around it, and a comma."""
        while self._stack:
            if self.text.startswith(_BLANK, at):
                at = yield from self._after_blanks(at)
            if self.text.startswith(b",", at):
                at += 1
                return (yield from self._after_blanks(at)) if self.text.startswith(_BLANK, at) else at
            if not self.text.startswith(self._closing(), at):
                raise self.invalid(at)
            at += 1
            self._close(at)
            if self.spend(ITERATION):
                yield
        return at

    # The stack

    def _open(self, at: int) -> Cooperative[int]:
        """Read the start of a container. Returns where its first member starts, or, if it has none, its end."""
        if len(self._stack) >= MAX_NESTING:
            raise ValueError("is nested too deeply")
        if len(self._starts) >= _MAX_CONTAINERS:
            raise ValueError(TOO_MANY_VALUES)
        self._stack.append(len(self._starts))
        self._starts.append(at)
        self._ends.append(0)
        first = at + 1
        if self.text.startswith(_BLANK, first):
            first = yield from self._after_blanks(first)
        if self.text.startswith(self._closing(), first):
            first += 1
            self._close(first)
        elif self._marked == first and self._in_object():  # after many blanks
            self.marks.add_object(at)
        return first

    def _close(self, end: int) -> None:
        self._ends[self._stack.pop()] = end

    def _in_object(self) -> bool:
        return self.text.startswith(b"{", self._starts[self._stack[-1]])

    def _closing(self) -> bytes:
        return b"}" if self._in_object() else b"]"

    # Values of any length

    def _after_blanks(self, at: int) -> Cooperative[int]:
        end = yield from self.blanks_end(at)
        if end - at > self.max_window:
            self._mark(at)
            self._marked = end
        return end

    def _mark(self, at: int) -> None:
        """Add the marks up to an offset where no mark continues."""
        if at > self._marked:
            found = self.marks.add(self.text, self._marked, at)
            self._marked = at
            self._spent += found * ITERATION
            if found > _MANY_MARKS:
                self._longest_run = self._mark_step = self.min_window

    def end_of(self, start: int) -> int:
        """Return the end of the container that starts there."""
        index = bisect_left(self._starts, start)
        if index < len(self._starts) and self._starts[index] == start:
            return self._ends[index]
        match = FLAT_CONTAINER.match(self.text, start, start + self.max_window)
        assert match, "no longer than the window in which it was matched before"
        return match.end()

    def _not_an_object(self, at: int) -> ValueError:
        if at < len(self.text) and self.text[at] in FIRST_OF_VALUE and len(self.text) > MAX_DESCRIBED:
            return ValueError("must be a JSON object with a `model` field")
        return self.invalid(at)
