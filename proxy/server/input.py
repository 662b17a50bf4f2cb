"""The bytes of a client that were received and not parsed yet."""

from __future__ import annotations

EMPTY_LINE = b"\n\r\n"  # the parser accepts a line feed alone before an empty line


class Input:
    """Received bytes, which are removed in pieces that contain the end of at most one head."""

    __slots__ = ("_at", "_data", "_joined")

    def __init__(self) -> None:
        self._data = b""
        self._at = 0
        self._joined = 0
        """Up to here, an empty line can have begun in bytes that were removed before."""

    def __len__(self) -> int:
        return len(self._data) - self._at

    def add(self, data: bytes) -> None:
        if self._at == len(self._data):
            self._data, self._joined = data, len(EMPTY_LINE) - 1
        else:
            self._data, self._joined = self._data[self._at :] + data, self._joined - self._at
        self._at = 0

    def clear(self) -> None:
        self._data, self._at = b"", 0

    def length_to_empty_line(self, searched: int | None = None, *, continues: bool) -> int:
        """Return the number of bytes up to and including the next empty line, which ends a head or a chunked body.

        Without an empty line in the next `searched` bytes (None: in all), it is that of all bytes. `continues`: whether
        a head or a body has begun in earlier bytes, so that the first bytes can be the rest of an empty line; then they
        are removed one by one.
        """
        if continues and self._at < self._joined:
            return 1
        end = None if searched is None else self._at + searched
        found = self._data.find(EMPTY_LINE, max(0, self._at - len(EMPTY_LINE) + 1), end)
        return (len(self._data) if found < 0 else found + len(EMPTY_LINE)) - self._at

    def take(self, size: int) -> bytes | memoryview:
        """Remove and return at most this many bytes."""
        data, start = self._data, self._at
        if start == 0 and size >= len(data):
            self._data = b""
            return data
        self._at = min(start + size, len(data))
        return memoryview(data)[start : self._at]
