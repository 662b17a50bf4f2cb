"""Webhooks: send notifications to receivers, signed as Standard Webhooks (https://www.standardwebhooks.com).

Each receiver has its own queue and task, so that a failing one does not delay others. A request is retried with a
growing delay; notifications beyond the queue are dropped and counted. No log contains a URL: it is a secret.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import httpx
import msgspec

from proxy.clock import Clock
from proxy.config.notify import Webhook
from proxy.errors import UpstreamError, describe_bug
from proxy.telemetry.changes import Change
from proxy.upstream.errors import from_exception
from proxy.upstream.tls import context_for
from proxy.upstream.transport import TrackedSockets, egress_proxy

MAX_QUEUE = 1000
"""Maximum notifications in the queue of one receiver. Beyond, the oldest are dropped."""
ATTEMPT_SECONDS = 10.0
FIRST_RETRY, MAX_RETRY = 5.0, 600.0
"""Seconds after a failed attempt; doubled with each further one."""
MAX_ATTEMPTS = 12
"""About an hour. Then the notification is dropped."""
_GONE = 410
_log = logging.getLogger("models_proxy")
_encode = msgspec.json.Encoder().encode


class Notification(msgspec.Struct, frozen=True):
    """The body of a request."""

    type: str
    timestamp: str
    """When the change was detected, in UTC."""
    data: Change


def body_of(change: Change) -> bytes:
    time = datetime.fromtimestamp(change.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _encode(Notification(change.type, time, change))


def signed_headers(webhook_id: str, body: bytes, key: bytes, time: int) -> dict[str, str]:
    """The headers of one attempt. `time`: Unix seconds."""
    signature = hmac.digest(key, f"{webhook_id}.{time}.".encode() + body, "sha256")
    return {
        "content-type": "application/json",
        "user-agent": "models-proxy",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(time),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


class Webhooks:
    """The receivers of a configuration."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._receivers: dict[int, _Receiver] = {}
        """Place in `notify` -> its receiver."""
        self.outcomes: Counter[str] = Counter()
        """`sent`, `failed`: an attempt; `dropped`: a notification that is given up."""

    @property
    def pending(self) -> int:
        """Notifications that wait."""
        return sum(len(receiver.queue) for receiver in self._receivers.values())

    def configure(self, webhooks: Sequence[Webhook]) -> None:
        """Apply another configuration. Receivers keep their queues while they have the same URL."""
        before, self._receivers = [*self._receivers.values()], {}
        for place, webhook in enumerate(webhooks):
            if same := next((each for each in before if each.webhook == webhook), None):
                before.remove(same)
                same.place = place
                self._receivers[place] = same
        for place, webhook in enumerate(webhooks):
            if place not in self._receivers:
                self._receivers[place] = self._successor(before, webhook, place)
        for receiver in before:
            self.outcomes["dropped"] += len(receiver.queue)
            receiver.stop()

    def _successor(self, before: list[_Receiver], webhook: Webhook, place: int) -> _Receiver:
        """Return a new receiver. It takes the queue of the one of `before` with this URL, whose secret can be wrong."""
        receiver = _Receiver(webhook, place, self._clock, self.outcomes)
        if earlier := next((each for each in before if each.webhook.webhook == webhook.webhook), None):
            before.remove(earlier)
            earlier.stop()
            for change in earlier.queue:
                if change.type in webhook.events:
                    receiver.add(change)
                else:
                    self.outcomes["dropped"] += 1
        return receiver

    def notify(self, changes: Iterable[Change]) -> None:
        """Queue notifications. Returns at once."""
        for change in changes:
            for receiver in self._receivers.values():
                if change.type in receiver.webhook.events:
                    receiver.add(change)

    async def close(self) -> None:
        """Stop all attempts."""
        tasks = [receiver.task for receiver in self._receivers.values()]
        self.configure(())
        await asyncio.gather(*tasks, return_exceptions=True)


class _Receiver:
    """One receiver: sends what is queued, one notification at a time, in the order of the changes."""

    def __init__(self, webhook: Webhook, place: int, clock: Clock, outcomes: Counter[str]) -> None:
        self.webhook = webhook
        self.place = place
        self.queue: deque[Change] = deque()
        self._clock = clock
        self._outcomes = outcomes
        self._wakes = asyncio.Event()
        self._is_failing = self._is_dropping = False
        self.task = asyncio.create_task(self._run(), name="webhook")

    @property
    def _name(self) -> str:
        return f"notify[{self.place}]"

    def add(self, change: Change) -> None:
        if len(self.queue) >= MAX_QUEUE:
            # Not the first one, which is being sent.
            del self.queue[1]
            self._outcomes["dropped"] += 1
        self.queue.append(change)
        self._wakes.set()

    def stop(self) -> None:
        self.task.cancel()

    async def _run(self) -> None:
        while True:
            await self._wakes.wait()
            self._wakes.clear()
            while self.queue:
                await self._deliver(self.queue[0])
                self.queue.popleft()

    async def _deliver(self, change: Change) -> None:
        """Send one notification, or give up."""
        delay = FIRST_RETRY
        for attempt in range(1, MAX_ATTEMPTS + 1):
            problem, wait = await self._try(change)
            if not problem:
                self._succeeded()
                return
            self._outcomes["failed"] += 1
            if wait is None or attempt == MAX_ATTEMPTS:
                break
            wait = max(wait, delay)
            self._report(f"{problem}; retrying in {wait:.0f} s")
            await self._clock.sleep(wait)
            delay = min(2 * delay, MAX_RETRY)
        self._outcomes["dropped"] += 1
        if not self._is_dropping:  # an unreachable receiver must not fill the log
            self._is_failing = self._is_dropping = True
            _log.warning("%s: %s; the notification is dropped", self._name, problem)

    async def _try(self, change: Change) -> tuple[str, float | None]:
        """Return why an attempt failed, "" if it did not, and the seconds to wait at least; None: do not retry."""
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                status, retry_after = await self._send(change)
        except TimeoutError:
            return f"no response for {ATTEMPT_SECONDS:.0f} s", 0.0
        except httpx.HTTPError as error:
            return from_exception(error, ATTEMPT_SECONDS, via_proxy=self.webhook.proxy is not None).reason, 0.0
        except UpstreamError as error:
            return error.reason, 0.0
        except Exception as bug:
            return f"internal error: {describe_bug(bug)}", None
        if 200 <= status < 300:
            return "", 0.0
        return f"responded with status {status}", None if status == _GONE else retry_after

    async def _send(self, change: Change) -> tuple[int, float]:
        """Send a request. Returns the status, and the seconds of `Retry-After`. Redirects are not followed."""
        webhook = self.webhook
        body = body_of(change)
        headers = signed_headers(change.webhook_id, body, webhook.signing_key, int(self._clock.time()))
        url = webhook.webhook.get_secret_value()
        egress = webhook.proxy.get_secret_value() if webhook.proxy else ""
        tls = context_for((url, egress), webhook.ca_file)
        inner = httpx.AsyncHTTPTransport(verify=tls, trust_env=False, proxy=egress_proxy(webhook, tls))
        async with TrackedSockets(inner, ATTEMPT_SECONDS) as transport:
            response = await transport.handle_async_request(httpx.Request("POST", url, headers=headers, content=body))
            await response.aclose()  # the body is not read
        return response.status_code, _seconds(response.headers.get("retry-after", ""))

    def _report(self, problem: str) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.warning("%s: %s", self._name, problem)

    def _succeeded(self) -> None:
        self._outcomes["sent"] += 1
        if self._is_failing:
            self._is_failing = self._is_dropping = False
            _log.info("%s: notifications are sent again", self._name)


def _seconds(text: str) -> float:
    """The seconds of a `Retry-After`, at most an hour; 0 for a date or anything else."""
    return min(float(text), 3600.0) if text.isdecimal() and len(text) < 10 else 0.0
