"""Limits of callers: rejections, headers, and the limits of lists."""

from __future__ import annotations

import msgspec

from proxy.access import Caller
from proxy.api.request import RequestHead
from proxy.api.routes import Endpoint
from proxy.asgi import Handler, RawResponse, Receive, Send, headers_of
from proxy.errors import ApiError, LimitExceeded
from proxy.limits.admission import Admission, Rejection
from proxy.limits.limiter import Limiter
from proxy.limits.quota import Quota
from proxy.wire import format_of


class LimitedLists:
    """Applies `list_requests` to lists of models."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter

    def answer(self, endpoint: Endpoint, head: RequestHead, caller: Caller, quota: Quota) -> RawResponse | Handler:
        """Return what an endpoint returns, with the headers of the limits. Raises ApiError."""
        if self._limiter.shared is None:
            lines = self._lines(self._limiter.admit_now(quota.lists, caller.identity), head)
            return _answer(endpoint, head, caller, lines)

        async def respond(receive: Receive, send: Send) -> RawResponse | None:
            lines = self._lines(await self._limiter.admit(quota.lists, caller.identity), head)
            answer = _answer(endpoint, head, caller, lines)
            return answer if isinstance(answer, RawResponse) else await answer(receive, send)

        return respond

    def _lines(self, admission: Admission, head: RequestHead) -> bytes:
        """Raises LimitExceeded."""
        lines = format_of(head.path, head.list_headers).limit_lines(admission, self._limiter.time)
        if admission.rejection:
            raise refusal(admission.rejection, lines)
        return lines


def refusal(rejection: Rejection, lines: bytes) -> LimitExceeded:
    """Return the error of a request that was not admitted. `lines`: report the limits of its caller."""
    error = LimitExceeded(rejection.reason, rejection.wait)
    error.headers = headers_of(lines)
    return error


def _answer(endpoint: Endpoint, head: RequestHead, caller: Caller, lines: bytes) -> RawResponse | Handler:
    """Return what an endpoint returns, with `lines`. Raises ApiError, with their headers."""
    try:
        answer = endpoint(head, caller)
    except ApiError as error:
        _add_headers(error, lines)
        raise
    if isinstance(answer, RawResponse):
        return msgspec.structs.replace(answer, lines=lines)
    handler = answer

    async def respond(receive: Receive, send: Send) -> RawResponse | None:
        try:
            response = await handler(receive, send)
        except ApiError as error:
            _add_headers(error, lines)
            raise
        return response and msgspec.structs.replace(response, lines=lines)

    return respond


def _add_headers(error: ApiError, lines: bytes) -> None:
    error.headers = [*error.headers, *headers_of(lines)]
