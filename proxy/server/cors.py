"""CORS (Fetch standard, 3.3) for the origins of `server.cors`: pure functions of the head of a request."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.api.request import RequestHead
from proxy.asgi import Header, RawResponse
from proxy.errors import BadRequest

_METHODS = (b"GET", b"HEAD", b"POST", b"DELETE")
_EXPOSED = (
    "x-request-id", "request-id", "x-upstream-request-id", "x-served-by",
    "retry-after", "retry-after-ms", "x-should-retry", "etag", "age",
    "x-models-stale", "x-models-missing", "x-models-incomplete",
    "openai-model", "openai-version", "openai-processing-ms", "x-codex-turn-state", "x-reasoning-included",
    *(f"x-ratelimit-{value}-{unit}" for unit in ("requests", "tokens") for value in ("limit", "remaining", "reset")),
    *(
        f"anthropic-ratelimit-{unit}-{value}"
        for unit in ("requests", "tokens", "input-tokens", "output-tokens")
        for value in ("limit", "remaining", "reset")
    ),
    # All others, such as those of `forward_headers`. Browsers before 2019 (Safari: 2022) support only names.
    "*",
)  # fmt: skip
_EXPOSE: Header = (b"access-control-expose-headers", ", ".join(_EXPOSED).encode())
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b", ".join(_METHODS)),
    (b"access-control-max-age", b"600"),
    (b"content-length", b"0"),
    (
        b"vary",
        b"Access-Control-Request-Method, Access-Control-Request-Headers, Access-Control-Request-Private-Network",
    ),
)


class Cors:
    """The CORS headers of responses to pages, desktop applications and extensions of configured origins.

    Credentials mode is not supported: API keys are sent in headers that scripts set, never in cookies.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        """`origins` are exact."""
        self._origins = frozenset(origin.encode() for origin in origins)

    def preflight(self, head: RequestHead) -> RawResponse | None:
        """Return the response to a preflight, None for other requests. Raises BadRequest for another origin or method.

        It is the same for every path, and requires no key: browsers send none.
        """
        if head.method != "OPTIONS":
            return None
        headers_by_name = dict(head.headers)
        if b"origin" not in headers_by_name or b"access-control-request-method" not in headers_by_name:
            return None
        if not self._allows(head.headers) or headers_by_name[b"access-control-request-method"] not in _METHODS:
            raise BadRequest("CORS: this origin or method is not allowed; add the origin to `server.cors`.")
        headers = [*_PREFLIGHT, (b"x-request-id", head.request_id), *head.connection_close]
        if names := headers_by_name.get(b"access-control-request-headers"):
            # Repeated, because `*` does not include Authorization.
            headers.append((b"access-control-allow-headers", names))
        if headers_by_name.get(b"access-control-request-private-network") == b"true":
            headers.append((b"access-control-allow-private-network", b"true"))
        return RawResponse(200, headers, b"")

    def add(self, request: Iterable[Header], response: Iterable[Header]) -> list[Header]:
        """Return the headers of a response with those that let pages of a configured origin read it."""
        headers, vary = [], []
        for header in response:
            if header[0] == b"vary":
                vary.append(header[1])
            else:
                headers.append(header)
        headers.append((b"vary", b", ".join([*vary, b"Origin"])))
        if origin := self._allows(request):
            headers += ((b"access-control-allow-origin", origin), _EXPOSE)
        return headers

    def _allows(self, request: Iterable[Header]) -> bytes | None:
        """Return the origin of a request if it is configured, otherwise None."""
        origins = [value for name, value in request if name == b"origin"]
        return origins[0] if len(origins) == 1 and origins[0] in self._origins else None
