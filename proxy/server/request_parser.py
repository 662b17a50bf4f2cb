"""Parse the requests of one connection with httptools: check their heads (`heads`), and turn them into ASGI scopes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol
from urllib.parse import unquote

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from proxy.asgi import Header, Scope
from proxy.errors import ApiError, BadRequest, UriTooLong
from proxy.server import heads
from proxy.server.app import NO_TUNNEL
from proxy.server.cycle import Cycle
from proxy.server.receiver import MAX_URL

_MALFORMED = "Malformed HTTP request; percent-encode non-ASCII characters in the URL."
_SLASH = ord("/")
_MAX_LAST = 4096
"""Bytes of a request that are kept, to recognize an equal one."""


class Connection(Protocol):
    """The HTTP protocol of the connection."""

    client: tuple[str, int] | None

    @property
    def cycle(self) -> Cycle | None:
        """The last request, None before the first one and after an error."""
        ...

    def begin(self, scope: Scope, of_body: Sequence[bytes], *, keep_alive: bool, repeats: bool = False) -> None:
        """Respond to the request of this head, or start the task that does.

        `of_body`: as `heads.check` returns it; `repeats`: whether the request equals the last one.
        """
        ...

    def refuse(self, error: ApiError) -> None: ...


class RequestParser:
    """httptools calls the methods `on_...`."""

    __slots__ = (
        "_checked",
        "_connection",
        "_framing",
        "_is_repeatable",
        "_parser",
        "_valid",
        "headers",
        "last",
        "scope",
        "url",
    )

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._parser = self._new_parser()
        self.url = b""
        self.scope: Scope = {}
        """Of the last request, empty until its head is complete."""
        self.headers: list[Header] = []
        self._checked: list[Header] = []
        """The headers of the current request in `heads.CHECKED`."""
        self._valid: Sequence[Header] = ()
        """The same of an earlier request that were valid and without a body: those of most requests are equal."""
        self.last = b""
        """The last request, if an equal one need not be parsed: clients that poll repeat their requests."""
        self._is_repeatable = False
        """Whether the last head was that of a request without a body, on a connection that stays open."""
        self._framing = 0
        """Bytes since the last head or the last part of a body: a chunk's size and extensions, trailers."""

    @property
    def request_headers(self) -> Iterable[Header]:
        """Those of the last request, as far as they were received."""
        return self.scope["headers"] if self.scope else self.headers

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes of one request; respond with an error if that is not possible."""
        self._framing += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as stopped:
            self._stopped(data, stopped)
        else:
            if self._framing > heads.MAX_TRAILER_BYTES and isinstance(self.headers, heads.Trailers):
                self._connection.refuse(heads.too_many_trailers())

    def feed_whole(self, data: bytes) -> None:
        """Parse a whole head, and at most its body. Otherwise as `feed`."""
        self.feed(data)
        self.last = data if self._is_repeatable and len(data) <= _MAX_LAST else b""

    def repeat(self) -> None:
        """Begin a request that equals `last`. Parsing it would leave the parser as it is."""
        self.scope = scope = self._new_scope(self.scope["method"], "1.1")
        self._connection.begin(scope, (), keep_alive=True, repeats=True)
        self.on_message_complete()

    def _new_scope(self, method: str, version: str) -> Scope:
        """The scope of the head that was parsed last, without what the application does not read."""
        raw_path, _, query = self.url.partition(b"?")
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "client": self._connection.client,
            "headers": self.headers,
            "method": method,
            "http_version": version,
            "raw_path": raw_path,
            "query_string": query,
            "path": unquote(path) if "%" in path else path,
        }

    def close(self) -> None:
        self._parser = None  # type: ignore[assignment]  # it references this object

    def _new_parser(self) -> HttpRequestParser:
        parser = HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as in uvicorn
        return parser

    def _stopped(self, data: bytes | memoryview, stopped: HttpParserError | HttpParserUpgrade) -> None:
        """The parser does not continue: respond with an error, or parse a head with `Upgrade` again.

        The parser stops at the end of such a head and would parse the request's body as the next request. Without
        `Upgrade` it reads the body according to Content-Length or Transfer-Encoding. It also stops at CONNECT.
        """
        try:
            while isinstance(stopped, HttpParserUpgrade):
                head = self._head_without_upgrade()
                # The old parser ignores all further data if the request closes the connection.
                self._parser = self._new_parser()
                self._parser.feed_data(head)
                data = memoryview(data)[stopped.args[0] :]
                try:
                    self._parser.feed_data(data)
                except HttpParserUpgrade as again:
                    stopped = again
                else:
                    return
        except HttpParserUpgrade:
            self._connection.refuse(NO_TUNNEL)
            return
        except HttpParserError as error:
            stopped = error
        reason = stopped.__context__
        self._connection.refuse(reason if isinstance(reason, ApiError) else BadRequest(_MALFORMED))

    def _head_without_upgrade(self) -> bytes:
        """Return the head that was just parsed, without `Upgrade`, which a server may ignore (RFC 9110, 7.8)."""
        line = b"%b %b HTTP/%b" % (self._parser.get_method(), self.url, self._parser.get_http_version().encode())
        fields = (b"%b: %b" % field for field in self.headers if field[0] != b"upgrade")
        return b"\r\n".join((line, *fields, b"", b""))

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []
        self.scope = {}

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        header = (name.lower(), value)
        self.headers.append(header)
        if header[0] in heads.CHECKED:
            self._checked.append(header)

    def on_headers_complete(self) -> None:
        """Check the head, and begin the request."""
        self._framing = 0
        self._is_repeatable = False
        url, headers, parser = self.url, self.headers, self._parser
        if len(url) > MAX_URL:
            raise UriTooLong(MAX_URL)
        if len(headers) > heads.MAX_FIELDS:
            raise heads.too_many_fields()
        checked, self._checked = self._checked, []
        if parser.should_upgrade():
            return  # the parser stops here; `_stopped` feeds the head again
        connection = self._connection
        cycle = connection.cycle
        if cycle is not None and not cycle.response_complete:
            raise BadRequest(_MALFORMED)  # the receiver and the parser disagree on the end of the last request
        method, version = parser.get_method().decode(), parser.get_http_version()
        of_body: Sequence[bytes] = ()
        if version != "1.1" or checked != self._valid:
            of_body = heads.check(version, checked)
            self._valid = () if of_body or version != "1.1" else checked
        if url[0] != _SLASH or b"#" in url:
            self.url = heads.origin_form(method, url, checked)
        self.scope = scope = self._new_scope(method, version)
        if b"transfer-encoding" in of_body:
            # The parser calls `on_header` for trailers as well, and the scope of the request has the same list.
            self.headers = heads.Trailers()
        keep_alive = version == "1.1" and parser.should_keep_alive()
        connection.begin(scope, of_body, keep_alive=keep_alive)
        self._is_repeatable = keep_alive and not of_body

    def on_body(self, body: bytes) -> None:
        self._framing = 0
        cycle = self._connection.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.add(body)

    def on_message_complete(self) -> None:
        cycle = self._connection.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.end_body()
