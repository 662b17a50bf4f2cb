"""HTTP/1.1 as uvicorn speaks it, with our words where a request is not even HTTP."""

from __future__ import annotations

import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.api.http import new_request_id
from proxy.errors import BadRequest
from proxy.wire import error_headers, openai_error

# One of these for every malformed request: anybody could fill the log with them.
_OF_NO_USE = ("Invalid HTTP request received.", "Unsupported upgrade request.", "No supported WebSocket library")


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a JSON error where the parser refuses a request before any application sees it."""

    def send_400_response(self, msg: str) -> None:
        body = openai_error(
            BadRequest("This is not a valid HTTP request; percent-encode what is not ASCII in its URL.")
        )
        headers = [
            *error_headers(BadRequest("")),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", new_request_id()),
            (b"connection", b"close"),
        ]
        lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in headers)]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()


def quieten() -> None:
    """Keep the log free of what any client can cause as often as it likes."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_OF_NO_USE))
