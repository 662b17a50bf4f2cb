"""Read a provider's response. Failures are errors for the client."""

from __future__ import annotations

from proxy.errors import ApiError, ProviderTimeout, ShuttingDown, UpstreamError
from proxy.inference.deadline import CallScope, DeadlineExceeded
from proxy.inference.provider_errors import classify
from proxy.telemetry import Outcome
from proxy.upstream.response import UpstreamResponse


class ResponseReader:
    """All methods raise ApiError; those that wait also ClientDisconnected."""

    def __init__(self, response: UpstreamResponse, scope: CallScope, seconds: float) -> None:
        """`seconds`: between two parts of the response."""
        self._response = response
        self._scope = scope
        self._seconds = seconds
        self._unread = b""
        """Bytes that have arrived and are read next."""

    async def read(self) -> bytes:
        """Return the next bytes, b"" at the end."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        try:
            return await self._scope.wait(self._response.read(), self._seconds)
        except DeadlineExceeded:
            raise error_of(UpstreamError("stalled", "")) from None
        except UpstreamError as error:
            raise error_of(error) from error

    def read_nowait(self) -> bytes:
        """Return the bytes that have already arrived, b"" if none."""
        try:
            return self._response.read_nowait()
        except UpstreamError as error:
            raise error_of(error) from error

    async def read_before(self, moment: float) -> bytes | None:
        """Return the next bytes, b"" at the end, None if there are none before this moment."""
        seconds = moment - self._scope.now
        if self._unread or seconds >= self._seconds:
            return await self.read()
        try:
            return await self._scope.wait(self._response.read(), max(0.0, seconds))
        except DeadlineExceeded:
            return None
        except UpstreamError as error:
            raise error_of(error) from error

    def put_back(self, data: bytes) -> None:
        """Return these bytes again from the next `read`."""
        self._unread = data


def error_of(failure: UpstreamError) -> ApiError:
    return classify(failure, ()).error


def outcome_of(error: ApiError) -> Outcome:
    """Return how a call ended whose response was interrupted by this error."""
    if isinstance(error, ShuttingDown):
        return "shut_down"
    return "timeout" if isinstance(error, ProviderTimeout) else "interrupted"
