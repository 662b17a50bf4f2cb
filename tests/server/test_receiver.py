"""Which bytes are parsed at once: one complete head, and at most its body."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from proxy.config.limits import Limits
from proxy.server.receiver import Receiver
from proxy.server.timeouts import Timeouts

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


def is_simple(data: bytes, *, max_head: int = 1000) -> bool:
    connection: Any = None  # nothing is parsed
    timeouts = Timeouts(connection, Limits(), asyncio.get_running_loop())
    return Receiver(connection, timeouts, max_head).is_simple(data)


def each(*cases: bytes) -> Iterable[bytes]:
    return cases


@pytest.mark.parametrize("data", each(GET, POST, POST + b"ab", POST + b"abcd", POST.replace(b"-L", b"-l") + b"abcd"))
async def test_a_complete_head_with_at_most_its_body_is_parsed_at_once(data: bytes) -> None:
    assert is_simple(data)


@pytest.mark.parametrize(
    "data",
    each(
        b"", b"GE", b"\r\n", GET[:-1], GET + b"G", GET + GET, POST + b"abcdG", POST + b"abcd" + GET,
        POST.replace(b": 4", b": four") + b"ab", POST.replace(b"Content-Length: 4", b"TE: x") + b"ab",
    ),
)  # fmt: skip
async def test_other_bytes_are_parsed_in_pieces(data: bytes) -> None:
    assert not is_simple(data)


async def test_a_head_that_is_larger_than_the_limit_is_parsed_in_pieces() -> None:
    assert [is_simple(POST + b"abcd", max_head=size) for size in (len(POST), len(POST) - 1)] == [True, False]
