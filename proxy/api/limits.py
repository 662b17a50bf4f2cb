"""Limits of callers: rejections, headers, and the limits of lists."""

from __future__ import annotations

from proxy.access import Caller
from proxy.api.request import RequestHead
from proxy.api.routes import Endpoint
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.errors import LimitExceeded
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
            headers = self._headers(self._limiter.admit_now(quota.lists, caller.identity), head)
            return _with_headers(endpoint(head, caller), headers)

        async def respond(receive: Receive, send: Send) -> RawResponse | None:
            headers = self._headers(await self._limiter.admit(quota.lists, caller.identity), head)
            answer = _with_headers(endpoint(head, caller), headers)
            return answer if isinstance(answer, RawResponse) else await answer(receive, send)

        return respond

    def _headers(self, admission: Admission, head: RequestHead) -> list[Header]:
        """Raises LimitExceeded."""
        headers = format_of(head.path, head.list_headers).limit_headers(admission, self._limiter.time())
        if admission.rejection:
            raise refusal(admission.rejection, headers)
        return headers


def refusal(rejection: Rejection, headers: list[Header]) -> LimitExceeded:
    """Return the error of a request that was not admitted. `headers`: report the limits of its caller."""
    error = LimitExceeded(rejection.reason, rejection.wait)
    error.headers = headers
    return error


def _with_headers(answer: RawResponse | Handler, headers: list[Header]) -> RawResponse | Handler:
    if isinstance(answer, RawResponse):
        return _added(answer, headers)
    handler = answer

    async def respond(receive: Receive, send: Send) -> RawResponse | None:
        response = await handler(receive, send)
        return response and _added(response, headers)

    return respond


def _added(response: RawResponse, headers: list[Header]) -> RawResponse:
    return RawResponse(response.status, [*response.headers, *headers], response.body, response.rest)
