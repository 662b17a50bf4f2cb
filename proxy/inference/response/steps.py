"""Long work on a response in steps, between which other calls continue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from proxy.cooperative import Cooperative, run_yielding
from proxy.errors import UpstreamError
from proxy.inference.deadline import CallScope, DeadlineExceeded
from proxy.inference.response.reader import error_of

T = TypeVar("T")

STEP = 2 * 1024
"""Bytes of a stream that are read before the time is checked: up to 0.2 ms for members of a few bytes."""
_TURN_SECONDS = 0.0002
"""How long a call works on a stream before others continue."""


async def next_turn(scope: CallScope) -> None:
    """Let others continue. Raises ApiError and ClientDisconnected."""
    try:
        await scope.next_turn()
    except DeadlineExceeded:
        raise error_of(UpstreamError("stalled", "")) from None


async def in_turns(scope: CallScope, work: Cooperative[T]) -> T:
    """Run a computation, and let others continue between its steps. Raises ApiError and ClientDisconnected."""
    return await run_yielding(work, partial(next_turn, scope))


async def send_fed(
    scope: CallScope, feed: Callable[[bytes], bytes], chunk: bytes, send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Send what `feed` returns for a chunk. Raises ApiError and ClientDisconnected."""
    if len(chunk) > STEP:
        await _in_steps(scope, feed, chunk, send)
    elif out := feed(chunk):
        await send(out)


async def _in_steps(
    scope: CallScope, feed: Callable[[bytes], bytes], chunk: bytes, send: Callable[[bytes], Awaitable[None]]
) -> None:
    """Do the same, and let others continue whenever this takes long."""
    parts: list[bytes] = []
    until = scope.precise_now + (0.0 if scope.turns_are_taken else _TURN_SECONDS)
    for start in range(0, len(chunk), STEP):
        if scope.precise_now >= until:
            await _send_joined(parts, send)
            await next_turn(scope)
            until = scope.precise_now + _TURN_SECONDS
        parts.append(feed(chunk[start : start + STEP]))
    await _send_joined(parts, send)


async def _send_joined(parts: list[bytes], send: Callable[[bytes], Awaitable[None]]) -> None:
    """Send the parts, unless they are empty, and remove them."""
    if out := b"".join(parts):
        await send(out)
    parts.clear()
