"""Check heads of requests: two HTTP parsers must not be able to read one differently. Pure functions.

The parser rejects invalid characters, lines and lengths itself. What it accepts, but other servers may read as another
request or another host, is rejected here, because requests of several clients share the connections of a reverse proxy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from proxy.asgi import Header, Scope
from proxy.errors import BadRequest, HeadersTooLarge

MAX_FIELDS = 100
"""Of a head."""
MAX_TRAILERS = 100
MAX_TRAILER_BYTES = 32 * 1024

CHECKED = frozenset({b"host", b"connection", b"content-length", b"transfer-encoding", b"expect"})
"""Names of the headers that `check` reads."""
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+(?:%[\w.~%-]+)?\]|[\w.~%-]*)(?::[0-9]*)?[ \t]*")
"""A name or an address, and optionally a port (RFC 9112, 3.2). No comma: it joins two headers."""
_LENGTH = re.compile(rb"[0-9]{1,19}")
"""Without spaces and many zeros, so that it is the same number for every function that reads it."""
_USUAL_CONNECTIONS = frozenset({b"keep-alive", b"Keep-Alive", b"close", b"upgrade", b"Upgrade"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""A connection option is removed by the next server, and these describe the request itself."""
_NOT_IN_TRAILERS = _FRAMING | {b"connection", b"proxy-connection", b"upgrade", b"expect"}


def check(version: str, checked: Sequence[Header]) -> Sequence[bytes]:
    """Check the version and the headers in `CHECKED` of a request.

    Returns the names of those that concern its body, all but `host` and `connection`. Raises BadRequest.
    """
    if version != "1.1" and version != "1.0":
        raise _malformed(f"HTTP/{version} is not supported; use HTTP/1.1")
    hosts = 0
    of_body: Sequence[bytes] = ()
    for name, value in checked:
        if name == b"host":
            hosts += 1
            if not _HOST.fullmatch(value):
                raise _malformed("the `Host` header is not a host name with an optional port")
        elif name != b"connection":
            of_body = _check_of_body(version, name, value, of_body)
        elif value not in _USUAL_CONNECTIONS:
            _check_connection(value)
    if hosts != 1 and (hosts or version == "1.1"):
        raise _malformed("there must be exactly one `Host` header")
    return of_body


def _check_of_body(version: str, name: bytes, value: bytes, earlier: Sequence[bytes]) -> Sequence[bytes]:
    if name in earlier:
        raise _malformed(f"there must be at most one `{name.decode().title()}` header")
    if name == b"expect":
        if value.lower() != b"100-continue":
            raise _malformed("`Expect` must be `100-continue`")
    elif name == b"content-length":
        if not _LENGTH.fullmatch(value):
            raise _malformed("`Content-Length` must be a number of at most 19 digits")
    elif value.rstrip().lower() != b"chunked" or version == "1.0":
        raise _malformed("`Transfer-Encoding` must be `chunked`, in HTTP/1.1; send the body with Content-Length")
    return (*earlier, name)


def _check_connection(value: bytes) -> None:
    options = {option.strip().lower() for option in value.split(b",")}
    if options & _FRAMING:
        raise _malformed("the `Connection` header must not name `Host`, `Content-Length` or `Transfer-Encoding`")


def origin_form(method: str, target: bytes, checked: Sequence[Header]) -> bytes:
    """Return the path and query of a request target that is not a path, or has a fragment. Raises BadRequest.

    An absolute URL must have the host of the `Host` header: servers differ on which of them counts.
    """
    if target == b"*" and method == "OPTIONS":
        return target
    if b"#" in target:  # some servers treat a fragment as a part of the path
        raise _malformed("the URL must not have a fragment; percent-encode `#` as %23")
    url = urlsplit(target.decode("latin-1"))
    if url.scheme not in _DEFAULT_PORTS:
        raise _malformed("the URL must be a path that begins with `/`, or an `http` or `https` URL")
    hosts = [url.netloc, *(value.decode("latin-1") for name, value in checked if name == b"host")]
    if len({host.strip().lower().removesuffix(_DEFAULT_PORTS[url.scheme]) for host in hosts}) > 1:
        raise _malformed("the URL and the `Host` header must name the same host")
    if not _HOST.fullmatch(url.netloc.encode("latin-1")):
        raise _malformed("the URL must have a host name with an optional port")
    query = f"?{url.query}" if url.query else ""
    return f"{url.path or '/'}{query}".encode("latin-1")


class Trailers(list[Header]):
    """The fields after a chunked body. They are dropped: a header has been checked, and may be used, before."""

    def __init__(self) -> None:
        self._count = self._bytes = 0

    def append(self, field: Header) -> None:
        """Raises BadRequest."""
        self._count += 1
        self._bytes += len(field[0]) + len(field[1])
        if self._count > MAX_TRAILERS or self._bytes > MAX_TRAILER_BYTES:
            raise too_many_trailers()
        if field[0] in _NOT_IN_TRAILERS:
            raise _malformed(f"`{field[0].decode()}` must not be in a trailer")


def too_many_fields() -> HeadersTooLarge:
    return HeadersTooLarge(f"The request has more than {MAX_FIELDS} headers.")


def too_many_trailers() -> BadRequest:
    return _malformed(f"more than {MAX_TRAILERS} trailers or {MAX_TRAILER_BYTES // 1024} KiB after a chunk")


def _malformed(reason: str) -> BadRequest:
    return BadRequest(f"Malformed HTTP request: {reason}.")


def in_origin_form(scope: Scope) -> Scope:
    """Reduce an absolute URL as request target to its path: the host is not used for routing (RFC 9112, 3.2.2)."""
    if not scope["path"].lower().startswith(("http://", "https://")):
        return scope
    target: bytes = scope["raw_path"]
    raw_path = urlsplit(target).path or b"/"
    return {**scope, "path": unquote(raw_path.decode("ascii")), "raw_path": raw_path}
