"""The signing keys of issuers: when they are fetched, and what happens while an issuer is unavailable."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.config.auth import JwtIssuer
from proxy.errors import UpstreamError
from proxy.server.key_sets import REFRESH_SECONDS, RETRY_SECONDS, UNKNOWN_KEY_SECONDS, KeySets
from tests.fakes import FakeClock
from tests.providers.oidc import key_of

pytestmark = pytest.mark.anyio

A, B = "https://a.example", "https://b.example"


def issuer(url: str = A, **settings: Any) -> JwtIssuer:
    return JwtIssuer.model_validate({"issuer": url, "audience": "x", "groups": {"users": "staff"}, **settings})


def jwks(*ids: str) -> bytes:
    return json.dumps({"keys": [{**key_of("P-256").as_dict(private=False), "kid": key_id} for key_id in ids]}).encode()


class Issuers:
    """A `FetchKeys` with configurable results."""

    def __init__(self) -> None:
        self.fetches: list[str] = []
        self.settings: JwtIssuer | None = None
        """Those of the last fetch."""
        self.result: bytes | Exception | asyncio.Future[bytes] = jwks("k")

    async def __call__(self, issuer: JwtIssuer) -> bytes:
        self.fetches.append(issuer.issuer)
        self.settings = issuer
        if isinstance(self.result, Exception):
            raise self.result
        return await self.result if isinstance(self.result, asyncio.Future) else self.result


@pytest.fixture
def issuers() -> Issuers:
    return Issuers()


@pytest.fixture
def key_sets(issuers: Issuers, clock: FakeClock) -> KeySets:
    key_sets = KeySets(clock, issuers)
    key_sets.configure([issuer()])
    return key_sets


@asynccontextmanager
async def running(key_sets: KeySets, until: Callable[[], bool]) -> AsyncIterator[None]:
    """Run until the block ends, which begins with this condition."""
    task = asyncio.create_task(key_sets.run())
    await wait_for(until)
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await key_sets.close()


async def wait_for(condition: Callable[[], bool]) -> None:
    """Documents are parsed in a thread."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def settled(issuers: Issuers, key_sets: KeySets, count: int) -> None:
    """Wait until this number of fetches has ended."""
    await wait_for(lambda: len(issuers.fetches) == count and not any(s.fetching for s in key_sets._of.values()))


AWAY = UpstreamError("connection_refused", "connection refused")


async def test_keys_are_fetched_at_the_start_and_every_five_minutes(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock
) -> None:
    async with running(key_sets, lambda: key_sets.of(A) is not None):
        assert issuers.fetches == [A]
        await clock.advance(REFRESH_SECONDS - 1)
        assert issuers.fetches == [A]
        await clock.advance(1)
        assert issuers.fetches == [A, A]


async def test_the_last_keys_stay_in_use_while_the_issuer_is_away(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(key_sets, lambda: key_sets.of(A) is not None):
        keys = key_sets.of(A)
        issuers.result = AWAY
        await clock.advance(REFRESH_SECONDS)
        await settled(issuers, key_sets, 2)
        await clock.advance(RETRY_SECONDS)
        await settled(issuers, key_sets, 3)
        assert key_sets.of(A) is keys
        issuers.result = jwks("k", "new")
        await clock.advance(RETRY_SECONDS)
        await settled(issuers, key_sets, 4)
        assert key_sets.of(A) is not keys

    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        f"auth: signing keys of {A} cannot be fetched: connection refused; the last ones stay in use; retrying in 30 s",
        f"auth: signing keys of {A} fetched again: 2 keys",
    ]
    assert key_sets.removals == 0


async def test_a_removed_key_is_counted(issuers: Issuers, key_sets: KeySets) -> None:
    for document, removals in ((jwks("a", "b"), 0), (jwks("b", "c"), 1), (jwks("b", "c"), 1), (b'{"keys": []}', 2)):
        issuers.result = document
        await key_sets.fetch(A)
        assert key_sets.removals == removals


EMPTY = b'{"keys": []}'
NO_KEY = "the JWKS contains no usable RSA, EC or Ed25519 key for signatures; check `jwks_url` and the issuer"


async def test_a_set_without_a_usable_key_is_used_and_reported(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    states = []
    for result in (jwks("k"), EMPTY, b'{"keys": [{"kty": "oct", "k": "AA"}]}', AWAY, EMPTY, jwks("k")):
        issuers.result = result
        await key_sets.fetch(A)
        await clock.advance(RETRY_SECONDS)
        states.append((key_sets.states[0]["keys"], key_sets.states[0]["last_error"]))

    assert states == [(1, None), (0, NO_KEY), (0, NO_KEY), (0, "connection refused"), (0, NO_KEY), (1, None)]
    missing = f"auth: signing keys of {A} are missing: {NO_KEY}; its tokens get status 401; retrying in 30 s"
    assert [record.getMessage() for record in caplog.records if record.name == "models_proxy"] == [
        missing,
        f"auth: signing keys of {A} cannot be fetched: connection refused; its tokens get status 401; retrying in 30 s",
        missing,
        f"auth: signing keys of {A} fetched again: 1 keys",
    ]


@pytest.mark.parametrize(
    "document", [b"<html>", b"{}", b'{"keys": 7}', b"", b'{"keys": [%b]}' % b",".join([b"{}"] * 1000)]
)
async def test_what_is_no_jwks_changes_nothing(
    document: bytes, issuers: Issuers, key_sets: KeySets, caplog: pytest.LogCaptureFixture
) -> None:
    issuers.result = document
    await key_sets.fetch(A)
    assert key_sets.of(A) is None
    assert caplog.messages == [
        f"auth: signing keys of {A} cannot be fetched: the response is not a JWKS with at most 100 keys; "
        "its tokens get status 503; retrying in 30 s"
    ]
    issuers.result = jwks("k")
    await key_sets.fetch(A)
    keys = key_sets.of(A)
    issuers.result = document
    await key_sets.fetch(A)

    assert key_sets.of(A) is keys
    assert key_sets.removals == 0


async def test_a_bug_does_not_end_the_refreshes(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    issuers.result = KeyError("secret")
    async with running(key_sets, lambda: bool(caplog.messages)):
        issuers.result = jwks("k")
        await clock.advance(RETRY_SECONDS)
        await wait_for(lambda: key_sets.of(A) is not None)

    assert "internal error: KeyError" in caplog.text
    assert "secret" not in caplog.text


async def test_tokens_with_unknown_keys_cause_one_fetch_in_thirty_seconds(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock
) -> None:
    await key_sets.fetch(A)
    assert not key_sets.may_fetch(A)
    await clock.advance(UNKNOWN_KEY_SECONDS - 0.1)
    assert not key_sets.may_fetch(A)
    await clock.advance(0.1)
    assert key_sets.may_fetch(A)
    await key_sets.fetch(A)
    assert not key_sets.may_fetch(A)
    assert len(issuers.fetches) == 2


async def test_before_the_first_keys_a_fetch_is_tried_every_five_seconds(
    issuers: Issuers, key_sets: KeySets, clock: FakeClock
) -> None:
    issuers.result = AWAY
    assert key_sets.may_fetch(A)
    await key_sets.fetch(A)
    assert not key_sets.may_fetch(A)
    await clock.advance(5)
    assert key_sets.may_fetch(A)


async def test_concurrent_fetches_are_one_which_a_canceled_one_does_not_end(
    issuers: Issuers, key_sets: KeySets
) -> None:
    issuers.result = future = asyncio.get_running_loop().create_future()
    waiting = [asyncio.create_task(key_sets.fetch(A)) for _ in range(3)]
    await wait_for(lambda: bool(issuers.fetches))
    assert key_sets.may_fetch(A)
    waiting[0].cancel()
    future.set_result(jwks("k"))
    await asyncio.gather(*waiting, return_exceptions=True)

    assert [task.cancelled() for task in waiting] == [True, False, False]
    assert issuers.fetches == [A]
    assert key_sets.of(A) is not None


async def test_closing_cancels_a_fetch(issuers: Issuers, key_sets: KeySets) -> None:
    issuers.result = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(key_sets.fetch(A))
    await wait_for(lambda: bool(issuers.fetches))
    await key_sets.close()
    await asyncio.gather(waiting, return_exceptions=True)

    assert waiting.cancelled()


async def test_a_configuration_keeps_the_keys_of_issuers_with_the_same_address_only(
    issuers: Issuers, key_sets: KeySets
) -> None:
    await key_sets.fetch(A)
    keys = key_sets.of(A)
    key_sets.configure([issuer(groups={"others": "staff"}), issuer(B)])
    assert (key_sets.of(A), key_sets.of(B)) == (keys, None)
    key_sets.configure([issuer(jwks_url=f"{A}/other")])
    assert key_sets.of(A) is None
    key_sets.configure([])
    assert not key_sets.may_fetch(A)
    await key_sets.fetch(A)

    assert issuers.fetches == [A]


@pytest.mark.parametrize("change", [{"proxy": "http://127.0.0.1:3128"}, {"ca_file": "/etc/ssl/ca.pem"}])
async def test_another_proxy_or_ca_file_keeps_the_keys_and_is_used_for_the_next_fetch(
    change: dict[str, str], issuers: Issuers, key_sets: KeySets
) -> None:
    await key_sets.fetch(A)
    keys = key_sets.of(A)
    changed = issuer(**change)
    key_sets.configure([changed])
    issuers.result = AWAY
    await key_sets.fetch(A)

    assert key_sets.of(A) is keys
    assert issuers.settings == changed
