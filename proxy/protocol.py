"""HTTP/1.1 as uvicorn speaks it, but for two things.

What is ready is sent at once: a task for each request costs more than the answer. And where a request is not even
HTTP, our words say so.
"""

from __future__ import annotations

import logging
import typing

from starlette.types import Scope
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from proxy.api.http import Said, new_request_id
from proxy.errors import BadRequest
from proxy.wire import error_headers, openai_error

# One of these for every malformed request: anybody could fill the log with them.
_OF_NO_USE = ("Invalid HTTP request received.", "Unsupported upgrade request.", "No supported WebSocket library")


class Ready(typing.Protocol):
    """An application that can say what it would answer."""

    def ready(self, scope: Scope) -> Said | None:
        """The whole answer, where nothing has to be waited for; None where the application must be called."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, around a `Ready` application."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        ready = typing.cast(Ready, self.config.app).ready
        if not self._may_be_sent_at_once(cycle) or (said := ready(typing.cast(Scope, cycle.scope))) is None:
            super()._start_asgi_task(cycle, app)
            return
        status, headers, body = said
        lines = map(b": ".join, (*cycle.default_headers, *headers))
        cycle.response_started = cycle.response_complete = True
        start = STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"
        if body:
            self.transport.writelines([start, body])  # in one system call; two of `write` are two
        else:
            self.transport.write(start)
        cycle.on_response()
        cycle.on_response = _nothing

    def _may_be_sent_at_once(self, cycle: RequestResponseCycle) -> bool:
        """Whether the client keeps the connection, reads what it is sent, and asks one question at a time.

        Of what comes in one piece only the first is answered so: then the time limit of the idle connection runs.
        Nobody can stop the event loop with a thousand requests in a row.
        """
        return (
            cycle.keep_alive
            and not self.flow.write_paused
            and not self.pipeline
            and self.timeout_keep_alive_task is None
        )

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


def _nothing() -> None:
    pass


def quieten() -> None:
    """Keep the log free of what any client can cause as often as it likes."""
    logging.getLogger("uvicorn.error").addFilter(lambda record: not record.getMessage().startswith(_OF_NO_USE))
