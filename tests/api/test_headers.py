"""Response headers of errors."""

from __future__ import annotations

import pytest

from proxy.access.keys import PRIVATE
from proxy.api.headers import error_headers
from proxy.errors import (
    ApiError,
    BadRequest,
    InvalidKey,
    MethodNotAllowed,
    ModelListUnavailable,
    WebsocketNotSupported,
)
from proxy.wire import JSON


@pytest.mark.parametrize(
    ("error", "more"),
    [
        pytest.param(BadRequest("why"), [], id="no more headers"),
        pytest.param(
            InvalidKey(),
            [(b"www-authenticate", b"Bearer"), (b"x-should-retry", b"false")],
            id="401, of no use to retry",
        ),
        pytest.param(MethodNotAllowed("POST", "GET, HEAD"), [(b"allow", b"GET, HEAD")], id="405"),
        pytest.param(
            WebsocketNotSupported(), [(b"upgrade", b"HTTP/1.1"), (b"connection", b"Upgrade")], id="426, with a protocol"
        ),
        pytest.param(
            ModelListUnavailable("why", retry_after=1.2), [(b"retry-after", b"2")], id="seconds are rounded up"
        ),
        pytest.param(ModelListUnavailable("why", retry_after=0.0), [(b"retry-after", b"1")], id="at least one second"),
    ],
)
def test_errors_are_json_and_not_cached(error: ApiError, more: list[tuple[bytes, bytes]]) -> None:
    assert error_headers(error) == [JSON, *PRIVATE, *more]
