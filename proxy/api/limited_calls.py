"""Applies limits of callers to calls: the admission, the headers, and the tokens of calls that have ended."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.access import Caller
from proxy.api.limits import limit_headers, refusal
from proxy.api.request import RequestHead
from proxy.asgi import Header
from proxy.errors import ApiError
from proxy.inference.call import Call
from proxy.inference.request.token_estimate import tokens_of
from proxy.inference.response.text_counter import TextCounter
from proxy.inference.turns import Turns
from proxy.limits.limiter import Admission, Limiter
from proxy.limits.quota import Quota
from proxy.telemetry import CallRecord
from proxy.wire.limit_headers import PROVIDER_PREFIXES

_MAY_HAVE_WORKED = ("ok", "stream_broken", "client_disconnected", "shut_down", "timeout")
"""Outcomes of calls for which a provider may have used tokens that it did not report."""


class LimitedCall:
    """A call that was admitted. `end` must be called when it ends."""

    __slots__ = ("_admission", "_estimate", "_headers", "_limiter", "_record", "text")

    def __init__(
        self,
        limiter: Limiter,
        admission: Admission,
        record: CallRecord,
        headers: list[Header],
        estimate: int,
        text: TextCounter | None,
    ) -> None:
        """`estimate`: tokens of the request, if they are counted without a report of the provider, else 0."""
        self._limiter = limiter
        self._admission = admission
        self._record = record
        self._headers = headers
        self._estimate = estimate
        self.text = text
        """Counts the text of a stream; None if tokens are not limited, or do not come from text."""

    def replace_headers(self, headers: Iterable[Header]) -> list[Header]:
        """Return the headers of a response, with the caller's limits instead of the proxy's limits at the provider."""
        return [header for header in headers if not header[0].startswith(PROVIDER_PREFIXES)] + self._headers

    def failed(self, error: ApiError) -> None:
        """Nothing was sent but this error: it costs only what its provider has reported."""
        error.headers = self.replace_headers(error.headers)
        self._estimate = 0

    def end(self) -> None:
        self._limiter.end(self._admission, _tokens_of(self._record, self._estimate, self.text))


class LimitedCalls:
    """Applies the limits of callers to their calls."""

    def __init__(self, limiter: Limiter, turns: Turns) -> None:
        self._limiter = limiter
        self._turns = turns

    async def admit(
        self, call: Call, head: RequestHead, caller: Caller, quota: Quota, *, generates: bool
    ) -> LimitedCall:
        """Admit a call. `generates`: whether it generates text, which costs tokens. Raises LimitExceeded."""
        counts = quota.counts_tokens and call.has_new_tokens
        estimate = call.body.estimated_at_once() if counts else 0
        if estimate is None:
            estimate = await self._turns.run(call.body.estimated_tokens())
        limiter, who = self._limiter, caller.identity
        if limiter.shared is None:
            admission = limiter.admit_now(quota.calls, who, estimate)
        else:
            admission = await limiter.admit(quota.calls, who, estimate)
        if not admission.is_granted:
            raise refusal(admission, head, limiter.time())
        text = TextCounter() if counts and generates and call.body.is_stream else None
        headers = limit_headers(admission, head, limiter.time())
        return LimitedCall(limiter, admission, call.record, headers, estimate if generates else 0, text)


def _tokens_of(record: CallRecord, estimate: int, text: TextCounter | None) -> int:
    """Return the tokens of a call that has ended: those that its provider reported, or what can be estimated."""
    reported = record.input_tokens + record.output_tokens
    if not record.attempts:  # such as a client that disconnected while its call was queued
        return 0
    if record.outcome not in _MAY_HAVE_WORKED:
        return reported
    output = tokens_of(text.characters) if text else 0
    if reported and record.outcome == "ok":
        return reported if record.output_tokens else reported + output
    return max(reported, estimate + output)
