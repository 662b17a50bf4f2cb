"""Callbacks that read the ids and the text of a stream while it is relayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from proxy.inference.response.ids import IdReader
from proxy.inference.response.text_counter import TextCounter


class Observer(NamedTuple):
    """The callbacks. They are called before the data is sent to the client."""

    read_lines: Callable[[bytes], None]
    """Called with whole lines, in which every object is whole."""
    read_long: Callable[[bytes, int], None]
    """Called with the beginning and the size in bytes of an event that is too long to be read."""


def observer_of(ids: IdReader | None, text: TextCounter | None) -> Observer | None:
    """Return the observer for those that are given, None without any."""
    if text is None:
        return Observer(ids.read_lines, lambda beginning, size: None) if ids else None
    if ids is None:
        return Observer(text.read_lines, text.read_long)

    def read_lines(lines: bytes) -> None:
        ids.read_lines(lines)
        text.read_lines(lines)

    return Observer(read_lines, text.read_long)
