"""Webhooks: signed requests, retries, and what is dropped."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from proxy.config.notify import Webhook
from proxy.telemetry.changes import Change, ChangeType
from proxy.upstream import webhooks
from proxy.upstream.webhooks import MAX_ATTEMPTS, MAX_QUEUE, Webhooks, body_of, signed_headers
from tests.fakes import FakeClock, HastyClock
from tests.listening import until
from tests.providers.scripted import Exchange, FakeProvider, Script, fake_provider, in_sequence, replies
from tests.providers.server import Request

pytestmark = pytest.mark.anyio

SECRET = "whsec_" + base64.b64encode(b"fake-secret-of-a-webhook").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"fake-secret-after-rotation").decode()
PATH = "/hooks/canary-of-the-url?token=canary"


def change(number: int = 1, kind: ChangeType = "model_added") -> Change:
    return Change(id=number, at=1_800_000_000.0, type=kind, provider="a", model="m", webhook_id=f"chg_{number}")


def receiver(url: str, **settings: Any) -> Webhook:
    return Webhook.model_validate({"webhook": url + PATH, "secret": SECRET, **settings})


@asynccontextmanager
async def sending(script: Script, clock: FakeClock, **settings: Any) -> AsyncIterator[tuple[Webhooks, FakeProvider]]:
    async with fake_provider(script) as up:
        sender = Webhooks(clock)
        sender.configure([receiver(up.url, **settings)])
        try:
            yield sender, up
        finally:
            await sender.close()


def headers_of(request: Request) -> Mapping[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}


async def test_a_change_is_posted_and_its_signature_is_valid() -> None:
    clock = FakeClock(time=time.time())  # the library compares with the real time
    async with sending(replies(b"", 204), clock) as (sender, up):
        sender.notify([change(1_800_000_000_000_001)])
        await until(lambda: sender.outcomes["sent"] == 1)
    (request,) = up.requests

    assert (request.method, request.target) == ("POST", PATH)
    assert headers_of(request)["webhook-id"] == "chg_1800000000000001"
    assert headers_of(request)["content-type"] == "application/json"
    assert Verifier(SECRET).verify(request.body, dict(headers_of(request))) == {
        "type": "model_added",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "data": {
            "id": 1_800_000_000_000_001,
            "at": 1_800_000_000.0,
            "type": "model_added",
            "provider": "a",
            "model": "m",
            "webhook_id": "chg_1800000000000001",
        },
    }


def test_a_changed_body_is_not_verified() -> None:
    body = body_of(change())
    headers = signed_headers("chg_1", body, b"fake-secret-of-a-webhook", int(time.time()))

    assert Verifier(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(SECRET).verify(body.replace(b'"m"', b'"n"'), headers)


async def test_only_the_selected_events_are_sent(clock: FakeClock) -> None:
    async with sending(replies(b""), clock, events=["model_removed"]) as (sender, up):
        sender.notify([change(1), change(2, "model_removed"), change(3, "provider_failing")])
        await until(lambda: sender.outcomes["sent"] == 1)
    assert [msgspec.json.decode(request.body)["data"]["id"] for request in up.requests] == [2]


async def test_a_failed_request_is_repeated_with_the_same_id_and_a_growing_delay(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models_proxy")
    script = in_sequence(replies(b"", 500), replies(b"", 302, {"Location": "/elsewhere"}), replies(b""))
    async with sending(script, clock) as (sender, up):
        sender.notify([change(1), change(2)])
        for requests, delay in ((1, 5.0), (2, 10.0)):
            await until(lambda requests=requests: sender.outcomes["failed"] == requests)  # type: ignore[misc]
            await clock.advance(delay - 1)
            assert len(up.requests) == requests
            await clock.advance(1)
        await until(lambda: sender.outcomes["sent"] == 2)

    assert [headers_of(request)["webhook-id"] for request in up.requests] == ["chg_1", "chg_1", "chg_1", "chg_2"]
    assert len({headers_of(request)["webhook-timestamp"] for request in up.requests[:3]}) == 3
    assert caplog.messages == [
        "notify[0]: responded with status 500; retrying in 5 s",
        "notify[0]: notifications are sent again",
    ]


async def test_retry_after_is_respected(clock: FakeClock) -> None:
    script = in_sequence(replies(b"", 429, {"Retry-After": "60"}), replies(b""))
    async with sending(script, clock) as (sender, _):
        sender.notify([change()])
        await until(lambda: sender.outcomes["failed"] == 1)
        await clock.advance(59)
        assert sender.outcomes["sent"] == 0
        await clock.advance(2)
        await until(lambda: sender.outcomes["sent"] == 1)


@pytest.mark.parametrize("retry_after", ["-1", "soon", "Fri, 15 Jan 2027 08:00:00 GMT", "9" * 30, ""])
async def test_other_values_of_retry_after_are_ignored(retry_after: str, clock: FakeClock) -> None:
    script = in_sequence(replies(b"", 503, {"Retry-After": retry_after}), replies(b""))
    async with sending(script, clock) as (sender, _):
        sender.notify([change()])
        await until(lambda: sender.outcomes["failed"] == 1)
        await clock.advance(6)
        await until(lambda: sender.outcomes["sent"] == 1)


async def test_a_receiver_that_is_gone_gets_no_further_attempt(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with sending(replies(b"", 410), clock) as (sender, _):
        sender.notify([change()])
        await until(lambda: sender.outcomes["dropped"] == 1)

    assert caplog.messages == ["notify[0]: responded with status 410; the notification is dropped"]


async def test_further_dropped_notifications_are_only_counted_until_one_is_sent(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "models_proxy")
    gone = replies(b"", 410)
    async with sending(in_sequence(gone, gone, replies(b""), gone), clock) as (sender, _):
        sender.notify(map(change, range(4)))
        await until(lambda: sender.outcomes == {"failed": 3, "dropped": 3, "sent": 1})

    dropped = "notify[0]: responded with status 410; the notification is dropped"
    assert caplog.messages == [dropped, "notify[0]: notifications are sent again", dropped]


async def test_a_notification_is_given_up_after_about_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = HastyClock()
    sender = Webhooks(clock)
    sender.configure([receiver("http://127.0.0.1:9")])  # nothing listens there
    sender.notify([change()])
    await until(lambda: sender.outcomes["dropped"] == 1)
    await sender.close()

    assert clock.slept == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
    assert sender.outcomes["failed"] == MAX_ATTEMPTS
    assert caplog.messages == [
        "notify[0]: connection refused; retrying in 5 s",
        "notify[0]: connection refused; the notification is dropped",
    ]


async def test_a_receiver_that_does_not_respond_is_abandoned_and_delays_nothing(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "ATTEMPT_SECONDS", 0.05)

    async def hangs(exchange: Exchange) -> None:
        await exchange.closed()

    async with sending(hangs, clock) as (sender, _), fake_provider(replies(b"")) as other:
        sender.configure([*(each.webhook for each in sender._receivers.values()), receiver(other.url)])
        sender.notify([change()])
        await until(lambda: sender.outcomes["sent"] == 1 and sender.outcomes["failed"] == 1)


async def test_a_long_response_is_not_read(clock: FakeClock) -> None:
    async def endless(exchange: Exchange) -> None:
        await exchange.head(200)
        await exchange.closed()

    async with sending(endless, clock) as (sender, _):
        sender.notify([change()])
        await until(lambda: sender.outcomes["sent"] == 1)


async def test_the_queue_is_bounded_and_drops_are_counted(clock: FakeClock) -> None:
    async with sending(replies(b"", 500), clock) as (sender, up):
        sender.notify([change(0)])
        await until(lambda: sender.outcomes["failed"] == 1)
        sender.notify(change(number) for number in range(1, MAX_QUEUE + 5))

        assert (sender.pending, sender.outcomes["dropped"]) == (MAX_QUEUE, 5)
        up.script = replies(b"")
        await clock.advance(6)
        await until(lambda: sender.outcomes["sent"] >= 2)
    assert [headers_of(request)["webhook-id"] for request in up.requests[1:3]] == ["chg_0", "chg_6"]


async def test_a_reload_keeps_what_waits_for_receivers_that_are_still_there(clock: FakeClock) -> None:
    async with sending(replies(b"", 500), clock) as (sender, up):
        kept = sender._receivers[0].webhook
        removed = receiver("http://127.0.0.1:9", events=["model_added"])
        sender.configure([removed, kept])
        sender.notify([change(1), change(2)])
        assert sender.pending == 4
        sender.configure([kept])

        assert (sender.pending, sender.outcomes["dropped"]) == (2, 2)
        await until(lambda: sender.outcomes["failed"] >= 1)
        up.script = replies(b"")
        await clock.advance(6)
        await until(lambda: sender.outcomes["sent"] == 2)


async def test_a_receiver_with_another_secret_gets_what_waits_in_the_same_order() -> None:
    clock = FakeClock(time=time.time())
    async with sending(replies(b"", 401), clock) as (sender, up):
        sender.notify([change(1), change(2), change(3)])
        await until(lambda: sender.outcomes["failed"] == 1)
        up.script = replies(b"")
        sender.configure([receiver("http://127.0.0.1:9"), receiver(up.url, secret=OTHER_SECRET)])
        await until(lambda: sender.outcomes["sent"] == 3)

        assert sender.outcomes["dropped"] == 0
    assert [headers_of(request)["webhook-id"] for request in up.requests] == ["chg_1", "chg_1", "chg_2", "chg_3"]
    Verifier(OTHER_SECRET).verify(up.requests[-1].body, dict(headers_of(up.requests[-1])))


async def test_what_waits_is_dropped_if_the_receiver_does_not_want_it_any_more(clock: FakeClock) -> None:
    async with sending(replies(b"", 500), clock) as (sender, up):
        sender.notify([change(1), change(2)])
        sender.configure([receiver(up.url, events=["provider_failing"])])

        assert (sender.pending, sender.outcomes["dropped"]) == (0, 2)


async def test_an_egress_proxy_is_used(clock: FakeClock) -> None:
    async with fake_provider(replies(b"")) as egress:
        sender = Webhooks(clock)
        sender.configure([receiver("http://10.1.2.3", proxy=egress.url)])
        sender.notify([change()])
        await until(lambda: sender.outcomes["sent"] == 1)
        await sender.close()
    assert [request.target for request in egress.requests] == [f"http://10.1.2.3{PATH}"]


async def test_no_log_contains_the_url_or_the_secret(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with sending(in_sequence(replies(b"", 500), replies(b"", 410)), clock) as (sender, up):
        sender.notify([change()])
        await until(lambda: sender.outcomes["failed"] == 1)
        await clock.advance(6)
        await until(lambda: sender.outcomes["dropped"] == 1)
        shown = repr(sender._receivers[0].webhook)

    own = [record.getMessage() for record in caplog.records if record.name == "models_proxy"]
    assert len(own) == 2
    for text in (*own, shown):
        assert "canary" not in text
        assert SECRET not in text
        assert str(up.port) not in text
