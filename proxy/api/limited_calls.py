"""Limits of callers around their calls: the admission, the headers, and the tokens of calls that have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from proxy.access import Caller
from proxy.api.limits import limit_headers, refusal
from proxy.api.request import RequestHead
from proxy.asgi import Header
from proxy.errors import ApiError
from proxy.inference.call import Call
from proxy.inference.request.token_estimate import tokens_of
from proxy.inference.response.text_counter import TextCounter
from proxy.inference.turns import Turns
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota
from proxy.telemetry import CallRecord
from proxy.wire.limit_headers import PROVIDER_PREFIXES

_MAY_HAVE_WORKED = ("ok", "stream_broken", "client_disconnected", "shut_down", "timeout")
"""Outcomes of calls for which a provider may have used tokens that it did not report."""


class LimitedCall:
    """A call that was admitted."""

    def __init__(self, headers: list[Header], text: TextCounter | None) -> None:
        self._headers = headers
        self.text = text
        """Counts the text of a stream; None if tokens are not limited, or do not come from text."""

    def replace_headers(self, headers: Iterable[Header]) -> list[Header]:
        """Return the headers of a response, with the caller's limits instead of the proxy's limits at the provider."""
        return [*(header for header in headers if not header[0].startswith(PROVIDER_PREFIXES)), *self._headers]


class LimitedCalls:
    """Applies the limits of callers to their calls."""

    def __init__(self, limiter: Limiter, turns: Turns) -> None:
        self._limiter = limiter
        self._turns = turns

    @asynccontextmanager
    async def admitted(
        self, call: Call, head: RequestHead, caller: Caller, quota: Quota, *, generates: bool
    ) -> AsyncIterator[LimitedCall]:
        """Admit a call, and count it until it ends. `generates`: whether it makes text, which costs tokens.

        Raises LimitExceeded. Errors that are raised within the context get the headers of the limits.
        """
        counts = quota.counts_tokens and call.has_new_tokens
        estimate = await self._turns.run(call.body.estimated_tokens()) if counts else 0
        admission = await self._limiter.admit(quota.calls, caller.identity, estimate)
        if not admission.is_granted:
            raise refusal(admission, head.path, self._limiter.time())
        text = TextCounter() if counts and generates and call.body.is_stream else None
        limited = LimitedCall(limit_headers(admission, head.path, self._limiter.time()), text)
        is_unsent = False
        try:
            yield limited
        except ApiError as error:
            is_unsent = True
            error.headers = limited.replace_headers(error.headers)
            raise
        finally:
            kept = estimate if generates and not is_unsent else 0
            self._limiter.end(admission, _tokens_of(call.record, kept, text) if counts else 0)


def _tokens_of(record: CallRecord, estimate: int, text: TextCounter | None) -> int:
    """Return the tokens of a call that has ended: those that its provider reported, or what can be estimated."""
    reported = record.input_tokens + record.output_tokens
    if record.outcome not in _MAY_HAVE_WORKED or (reported and record.outcome == "ok"):
        return reported
    return max(reported, estimate + tokens_of(text.characters) if text else estimate)
