"""Keys that are valid from a day on, or from some addresses only, through the gate of the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from proxy.server.app import Proxy
from proxy.server.refused_keys import INTERVAL
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

HOME, INSIDE = "sk-fake-of-home", "sk-fake-of-inside"
LATER, EVERYWHERE = "sk-fake-of-later", "sk-fake-of-everywhere"
CONFIG = f"""
server: {{trusted_proxies: [10.0.0.0/8]}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
groups: {{default: {{models: [m]}}}}
keys:
  - {{name: home, hash: '{digest(HOME)}', models: [m],
     allowed_ips: [192.0.2.0/24, '2001:db8::/32', 10.9.9.9, '::ffff:203.0.113.0/120']}}
  - {{name: inside, hash: '{digest(INSIDE)}', models: [m], allowed_ips: [10.0.0.0/8]}}
  - {{name: later, hash: '{digest(LATER)}', models: [m], not_before: 2026-12-01, expires: 2026-12-01}}
  - {{name: everywhere, hash: '{digest(EVERYWHERE)}', models: [m]}}
"""
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time=DECEMBER - 10)


@pytest.fixture
async def app(clock: FakeClock, fetch: FakeFetch) -> AsyncIterator[Proxy]:
    fetch.lists("a", "m")
    async with started(config_of(CONFIG), fetch, clock) as app:
        yield app


async def get(app: Proxy, key: str, peer: str | None = "127.0.0.1", forwarded_for: str = "") -> Reply:
    async def from_peer(scope, receive, send):  # type: ignore[no-untyped-def]
        scope["client"] = (peer, 50000) if peer is not None else None
        await app(scope, receive, send)

    headers = {"x-api-key": key, **({"x-forwarded-for": forwarded_for} if forwarded_for else {})}
    return await reply_to(from_peer, "/v1/models", headers)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "status"),
    [
        pytest.param("192.0.2.7", "", 200, id="an allowed address"),
        pytest.param("::ffff:192.0.2.7", "", 200, id="an IPv4 address on an IPv6 socket"),
        pytest.param("203.0.113.7", "", 200, id="a network in the form that sockets for IPv6 report"),
        pytest.param("2001:db8::1", "", 200, id="an IPv6 address"),
        pytest.param("2001:db8::1%eth0", "", 200, id="an IPv6 address with a zone"),
        pytest.param("10.0.0.1", "[2001:db8::1]:50000", 200, id="a hop with a port"),
        pytest.param("198.51.100.1", "", 401, id="another address"),
        pytest.param("198.51.100.1", "192.0.2.7", 401, id="a header of a client"),
        pytest.param("10.0.0.1", "192.0.2.7", 200, id="behind a trusted proxy"),
        pytest.param("10.0.0.1", "192.0.2.7, 198.51.100.1", 401, id="the first one of the header"),
        pytest.param("10.0.0.1", "198.51.100.1, 192.0.2.7, 10.0.0.2", 200, id="the last one that is not trusted"),
        pytest.param("10.0.0.1", "192.0.2.7, nonsense", 401, id="a hop that is no address"),
        pytest.param("10.0.0.1", "", 401, id="a trusted proxy itself"),
        pytest.param("10.9.9.9", "", 200, id="a trusted proxy that is allowed"),
        pytest.param(None, "192.0.2.7", 401, id="a Unix socket"),
    ],
)
async def test_a_key_can_be_used_from_its_addresses_only(
    peer: str | None, forwarded_for: str, status: int, app: Proxy
) -> None:
    assert (await get(app, HOME, peer, forwarded_for)).status == status
    assert (await get(app, EVERYWHERE, peer, forwarded_for)).status == 200


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "status"),
    [
        pytest.param("10.0.0.1", "", 200, id="a trusted proxy"),
        pytest.param("10.0.0.1", "10.0.0.3, 10.0.0.2", 200, id="trusted proxies only"),
        pytest.param("10.0.0.1", "198.51.100.7", 401, id="a client elsewhere"),
        pytest.param("10.0.0.1", "198.51.100.7, unknown", 401, id="a client elsewhere whose address is unknown"),
        pytest.param("10.0.0.1", "198.51.100.7, _hidden, 10.0.0.2", 401, id="one with a hidden address"),
        pytest.param("10.0.0.1", '198.51.100.7, "10.0.0.9"', 401, id="one with an address in quotes"),
    ],
)
async def test_a_client_behind_a_trusted_proxy_does_not_count_as_that_proxy(
    peer: str, forwarded_for: str, status: int, app: Proxy
) -> None:
    assert (await get(app, INSIDE, peer, forwarded_for)).status == status


async def test_a_client_at_a_trusted_address_cannot_choose_another_one(app: Proxy) -> None:
    assert (await get(app, HOME, "10.0.0.1", "10.9.9.9")).status == 401
    assert (await get(app, HOME, "10.0.0.1", "10.9.9.9, 10.0.0.2")).status == 401


async def test_a_key_is_valid_from_its_first_day_to_its_last_one(app: Proxy, clock: FakeClock) -> None:
    statuses = []
    for time in (DECEMBER - 1, DECEMBER, DECEMBER + 86_399, DECEMBER + 86_400):
        clock.set_time(time)
        statuses.append((await get(app, LATER)).status)
    assert statuses == [401, 200, 200, 401]


async def test_the_response_does_not_reveal_that_the_key_exists(app: Proxy) -> None:
    wrong = await get(app, "sk-fake-of-nobody")
    replies = [await get(app, HOME), await get(app, LATER)]
    differing = {b"x-request-id", b"request-id"}

    for reply in replies:
        assert reply.body == wrong.body
        headers = [header for header in reply.headers if header[0] not in differing]
        assert headers == [header for header in wrong.headers if header[0] not in differing]


async def test_the_log_contains_the_reason_once_per_minute(
    app: Proxy, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        await get(app, HOME, "198.51.100.1", "192.0.2.7")
        await get(app, LATER)
    await get(app, HOME, None)
    await get(app, INSIDE, "10.0.0.1", "unknown")
    await clock.advance(INTERVAL)
    clock.set_time(DECEMBER + 86_400)
    await get(app, HOME, None)
    await get(app, LATER)

    refused = [message for message in caplog.messages if message.endswith("; requests with it get 401")]
    assert refused == [
        "key home was sent from 198.51.100.1, which is not in its `allowed_ips`; requests with it get 401",
        "key later is not valid yet; requests with it get 401",
        "key inside was sent from an unknown address (invalid X-Forwarded-For from 10.0.0.1), so its `allowed_ips` "
        "cannot be checked; requests with it get 401",
        "key home was sent from a Unix socket, which is not in its `allowed_ips`; requests with it get 401",
        "key later has expired; requests with it get 401",
    ]


async def test_refused_requests_are_no_use_of_the_key(app: Proxy, clock: FakeClock) -> None:
    await get(app, HOME)
    await get(app, EVERYWHERE)

    assert app.usage.usage.last_used() == {"everywhere": DECEMBER - 10}
