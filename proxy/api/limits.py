"""Limits of callers: rejections, headers, and the limits of lists."""

from __future__ import annotations

from proxy.access import Caller
from proxy.api.request import RequestHead
from proxy.api.routes import Endpoint
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.errors import LimitExceeded
from proxy.limits.limiter import Admission, Limiter
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
        if not admission.is_granted:
            raise refusal(admission, head.path, self._limiter.time())
        return format_of(head.path).limit_headers(admission, self._limiter.time())


def refusal(admission: Admission, path: str, time: float) -> LimitExceeded:
    """Return the error of a request that was not admitted. `path`: of the request; `time`: Unix seconds."""
    rejection = admission.rejection
    assert rejection, "checked by the caller"
    error = LimitExceeded(rejection.reason, rejection.wait)
    error.headers = format_of(path).limit_headers(admission, time)
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
