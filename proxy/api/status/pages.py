"""HTML responses of the status page. Jinja2 is imported with the first one: most servers never need it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from proxy.api.request import RequestHead
from proxy.asgi import Header, RawResponse

if TYPE_CHECKING:
    from jinja2 import Environment

_HTML = (b"content-type", b"text/html; charset=utf-8")


async def render(template: str, **values: object) -> bytes:
    """Return a page. Values are escaped."""
    environment = await asyncio.to_thread(_environment)  # the first call imports a library
    return environment.get_template(template).render(values).encode("utf-8", "replace")


def html_response(head: RequestHead, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> RawResponse:
    return RawResponse(status, [_HTML, *headers, *_common(head, body)], body)


def redirect(head: RequestHead, path: str, headers: Iterable[Header] = ()) -> RawResponse:
    """Redirect to a path of this server, with GET."""
    return RawResponse(303, [(b"location", path.encode()), *headers, *_common(head, b"")], b"")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("proxy.api.status")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)


def _common(head: RequestHead, body: bytes) -> list[Header]:
    return [
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", head.request_id),
        *head.connection_close,
    ]
