"""The description of an API format, and the base paths that all formats share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.errors import ApiError, RelayedError
from proxy.limits.admission import Admission
from proxy.wire.limit_headers import openai_limit_lines
from proxy.wire.lists import ListFormat

BASE_PATHS = ("/v1", "", "/v1/models", "/models")
"""The paths in which a client's `base_url` may end. Lists and calls are served below each of them."""
LIST_PATHS = ("/v1/models", "/models")
"""The paths of model lists that several formats share; `{path}/{id}` is a single model."""


def _unchanged(error: RelayedError) -> bytes:
    return error.body


@dataclass(frozen=True, slots=True)
class Format:
    """One row of `wire.FORMATS`: which requests use the format, and how its errors and lists are written."""

    name: str
    recognizes: Callable[[str], bool]
    """Returns whether a request with this path uses the format."""
    error: Callable[[ApiError], bytes]
    """Returns the body of an error response."""
    relayed_error: Callable[[RelayedError], bytes] = _unchanged
    """Returns the body of an error that a provider sent as a JSON object, perhaps in the format of another API."""
    list_header: bytes = b""
    """A header whose presence selects the format where several have the same paths: for model lists."""
    list_header_value: bytes = b""
    """The prefix of the value of that header; empty for any."""
    list_parameter: bytes = b""
    """A parameter of the query that selects the format for a list, in the same way."""
    error_event_name: bytes = b""
    """The `event` field of an error in a stream; empty for none."""
    error_event_data: Callable[[ApiError, int], bytes] | None = None
    """Returns the data of that event, if it is not the body of an error response."""
    key_header: str = ""
    """The header for the API key, for a format whose clients may send it in the URL."""
    request_id_headers: tuple[bytes, ...] = (b"x-request-id",)
    """Headers in which clients read the request id."""
    lists: ListFormat | None = None
    """The lists of models; None for a format without lists."""
    limit_lines: Callable[[Admission, Callable[[], float]], bytes] = openai_limit_lines
    """Returns the headers that report the limits of a caller, as `RawResponse.lines`.

    The second argument returns the time in Unix seconds.
    """

    def error_event(self, error: ApiError, number: int) -> bytes:
        """Return an event that the format's clients raise as an error, for a stream that has started.

        `number`: of the event in the stream, for formats that count them.
        """
        name = b"event: %b\n" % self.error_event_name if self.error_event_name else b""
        data = self.error_event_data(error, number) if self.error_event_data else self.error(error)
        return name + b"data: %b\n\n" % data
