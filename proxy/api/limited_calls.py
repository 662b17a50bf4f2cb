"""Applies limits of callers to calls: the admission, the headers, and the tokens of calls that have ended."""

from __future__ import annotations

from msgspec import Struct

from proxy.access import Caller
from proxy.api.limits import refusal
from proxy.asgi import headers_of
from proxy.errors import ApiError
from proxy.inference.call import Call
from proxy.inference.request.token_estimate import tokens_of
from proxy.inference.response.stream_format import StreamFormat
from proxy.inference.response.text_counter import KeptEvents, TextCounter
from proxy.inference.turns import Turns
from proxy.limits.admission import Admission
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota
from proxy.telemetry import CallRecord
from proxy.wire.limit_headers import PROVIDER_PREFIXES

_MAY_HAVE_WORKED = ("ok", "stream_broken", "client_disconnected", "shut_down", "timeout")
"""Outcomes of calls for which a provider may have used tokens that it did not report."""


class LimitedCall(Struct, gc=False):
    """A call that was admitted. `end` must be called when it ends."""

    limiter: Limiter
    admission: Admission
    record: CallRecord
    lines: bytes
    """The headers that report the limits, as `RawResponse.lines`."""
    costs_input: bool
    """Whether the estimated tokens of the request are counted if the provider reports none."""
    counts_text: bool
    """Whether the text of a stream is counted: tokens are limited, and come from text."""
    kept: KeptEvents
    """Of all streams."""
    text: TextCounter | None = None
    """None without a stream."""

    def begin_stream(self) -> TextCounter:
        """Return the text counter of the call; all attempts share one."""
        self.text = self.text or TextCounter(self.kept)
        return self.text

    def failed(self, error: ApiError) -> None:
        """The client gets no output, only this error: the call costs only what its provider has reported."""
        others = [header for header in error.headers if not header[0].startswith(PROVIDER_PREFIXES)]
        error.headers = [*others, *headers_of(self.lines)]
        self.costs_input = False

    def end(self) -> None:
        record, tokens = self.record, self.admission.tokens
        try:
            if record.input_tokens and record.output_tokens and record.outcome == "ok":  # true for most
                tokens = record.input_tokens + record.output_tokens
            else:
                tokens = self._estimated()
        finally:  # a call that did not end would count as one in progress forever
            if self.text is not None:
                self.text.close()
            self.limiter.end(self.admission, tokens)

    def _estimated(self) -> int:
        """Return the tokens of a call that has failed, or whose provider did not report both input and output."""
        record, text = self.record, self.text
        if not record.attempts:  # such as a client that disconnected while its call was queued
            return 0
        reported = record.input_tokens + record.output_tokens
        if record.outcome not in _MAY_HAVE_WORKED:
            return reported
        output = tokens_of(text.count()) if text else 0
        estimate = self.admission.tokens if self.costs_input else 0
        if record.outcome == "ok":
            return (record.input_tokens or estimate) + (record.output_tokens or output)
        return max(reported, estimate + output)


class LimitedCalls:
    """Applies the limits of callers to their calls."""

    def __init__(self, limiter: Limiter, turns: Turns) -> None:
        self._limiter = limiter
        self._turns = turns
        self._kept = KeptEvents()

    def begin_now(self, call: Call, caller: Caller, quota: Quota, stream_format: StreamFormat) -> LimitedCall | None:
        """Do what `begin` does, or return None if it has to wait: for a long body, or for other processes."""
        limiter, counts_tokens = self._limiter, quota.counts_tokens and call.has_new_tokens
        if limiter.shared is not None:
            return None
        estimate = call.body.estimated_at_once() if counts_tokens else 0
        if estimate is None:
            return None
        admission = limiter.admit_now(quota.calls, caller.identity, estimate)
        return self._admitted(admission, call, stream_format, counts_tokens)

    async def begin(self, call: Call, caller: Caller, quota: Quota, stream_format: StreamFormat) -> LimitedCall:
        """Decide on a call, and return it if it was admitted. `stream_format`: of its path. Raises LimitExceeded."""
        limiter, counts_tokens = self._limiter, quota.counts_tokens and call.has_new_tokens
        estimate = await self._turns.run(call.body.estimated_tokens()) if counts_tokens else 0
        admission = await limiter.admit(quota.calls, caller.identity, estimate)
        return self._admitted(admission, call, stream_format, counts_tokens)

    def _admitted(
        self, admission: Admission, call: Call, stream_format: StreamFormat, counts_tokens: bool
    ) -> LimitedCall:
        """Raises LimitExceeded."""
        lines = stream_format.format.limit_lines(admission, self._limiter.time)
        if admission.rejection is not None:
            raise refusal(admission.rejection, lines)
        generates = stream_format.generates
        counts_text = counts_tokens and generates
        return LimitedCall(self._limiter, admission, call.record, lines, generates, counts_text, self._kept)
