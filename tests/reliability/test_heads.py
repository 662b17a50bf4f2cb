"""Heads of requests are bounded in size, in fields, and in the length of the URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeClock, FakeFetch, config_of
from tests.listening import post, serving
from tests.processes import kibibytes
from tests.processes import serving as serving_process
from tests.reliability.clients import OPEN, Refusal, answer, connected, received_until_close, refusal, with_limits

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("own_protocol")]

CONFIG = config_of(OPEN)
TOO_LARGE = Refusal(431, "request_headers_too_large", closes=True)
URI_TOO_LONG = Refusal(414, "uri_too_long", closes=True)
LAST = b"Connection: close\r\n\r\n"
MIB = 1024**2


def head(fields: bytes, target: bytes = b"/v1/models") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\n" + fields + LAST


def fields(number: int) -> bytes:
    return b"".join(b"X-%d: 1\r\n" % index for index in range(number))


def sized(size: int) -> bytes:
    """A complete head of this many bytes."""
    return head(b"X-Long: %b\r\n" % (b"x" * (size - len(head(b"X-Long: \r\n")))))


def split(data: bytes, *, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param(sized(32 * 1024 + 1), TOO_LARGE, id="one byte too many"),
        pytest.param(sized(3 * MIB), TOO_LARGE, id="3 MiB in one field"),
        pytest.param(head(b"X: %b" % (b"x" * 40_000)).removesuffix(b"\r\n\r\n"), TOO_LARGE, id="incomplete"),
        pytest.param(b"\r\n" * 20_000 + head(b""), TOO_LARGE, id="empty lines"),
        pytest.param(head(b"N" * 40_000 + b": 1\r\n"), TOO_LARGE, id="a long name"),
        pytest.param(head(b"X:" + b" " * 40_000 + b"1\r\n"), TOO_LARGE, id="blanks"),
        pytest.param(head(fields(99)), TOO_LARGE, id="101 fields"),
        pytest.param(head(fields(400_000)), TOO_LARGE, id="400,000 fields"),
        pytest.param(head(b"", b"/" + b"x" * 8192), URI_TOO_LONG, id="a URL of one byte too many"),
        pytest.param(head(b"", b"/" + b"x" * 2 * MIB), URI_TOO_LONG, id="a URL of 2 MiB"),
        pytest.param(b"GET /" + b"x" * 40_000, URI_TOO_LONG, id="an incomplete URL"),
        pytest.param(
            post(b"{}") + sized(40_000)[:-4],
            None,
            id="behind a call",
        ),
    ],
)
async def test_larger_heads_are_rejected(
    request_: bytes, expected: Refusal | None, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving(CONFIG, fetch, clock) as served:
        received = [await answer(served, *split(request_, size=size)) for size in (len(request_), 30_011)]

    assert [refusal(b"HTTP/1.1" + data.rpartition(b"HTTP/1.1")[2]) for data in received] == [expected or TOO_LARGE] * 2


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(sized(32 * 1024), b"200", id="32 KiB"),
        pytest.param(head(fields(98)), b"200", id="100 fields"),
        pytest.param(head(b"", b"/" + b"x" * 8191), b"404", id="a URL of 8 KiB"),
    ],
)
async def test_heads_up_to_the_limits_are_accepted(
    request_: bytes, status: bytes, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with serving(CONFIG, fetch, clock) as served:
        received = [await answer(served, *split(request_, size=size)) for size in (len(request_), 1000, 7)]

    assert [data[9:12] for data in received] == [status] * 3


async def test_the_size_of_heads_is_a_setting(fetch: FakeFetch, clock: FakeClock) -> None:
    async with serving(config_of(with_limits("headers: 2KiB")), fetch, clock) as served:
        received = [await answer(served, sized(size)) for size in (2048, 2049)]

    assert [data[9:12] for data in received] == [b"200", b"431"]


async def test_each_request_of_a_connection_has_the_whole_limit(fetch: FakeFetch, clock: FakeClock) -> None:
    request = sized(20_000)
    async with serving(CONFIG, fetch, clock) as served:
        received = await answer(served, request.replace(b"close", b"quiet") * 5 + request)

    assert received.count(b"HTTP/1.1 200 OK\r\n") == 6


def test_a_header_of_60_mb_costs_no_memory(tmp_path: Path) -> None:
    with serving_process(tmp_path / "config.yaml", OPEN) as process:
        with connected(process.url) as warm:
            warm.sendall(sized(1000))
            received_until_close(warm)
        before = kibibytes(process.pid, "VmHWM")
        with connected(process.url) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            sent = 0
            try:
                while sent < 60 * MIB:
                    sent += connection.send(b"x" * MIB)
            except ConnectionError:
                pass
        grown = kibibytes(process.pid, "VmHWM") - before

    assert sent < 60 * MIB, "the connection was closed before"
    assert grown < 5 * 1024, f"{grown} KiB"
