"""HTML responses of the status page. Jinja2 is imported with the first one: most servers never need it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from proxy.api.request import RequestHead
from proxy.asgi import Header, RawResponse
from proxy.cooperative import Cooperative, run_yielding

if TYPE_CHECKING:
    from jinja2 import Environment, Template

LOGIN_PATH = "/status/login"
_HTML = (b"content-type", b"text/html; charset=utf-8")
_SHARED = ("base.html", "parts.html")
_PARTS = 100
"""Parts of a page that are rendered in one step."""


async def render(template: str, **values: object) -> bytes:
    """Return a page. Values are escaped. Rendered in steps, because a page can have thousands of rows."""
    loaded = await asyncio.to_thread(_load, template)  # the first call imports a library, and compiles the template
    return await run_yielding(_rendered(loaded, values))


def html_response(head: RequestHead, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> RawResponse:
    return RawResponse(status, [_HTML, *headers, *_common(head, body)], body)


def redirect(head: RequestHead, path: str, headers: Iterable[Header] = ()) -> RawResponse:
    """Redirect to a path of this server, with GET."""
    return RawResponse(303, [(b"location", path.encode()), *headers, *_common(head, b"")], b"")


def _load(template: str) -> Template:
    environment = _environment()
    for shared in _SHARED:  # compiled here, too, not when they are used first
        environment.get_template(shared)
    return environment.get_template(template)


def _rendered(template: Template, values: dict[str, object]) -> Cooperative[bytes]:
    parts: list[str] = []
    for part in template.generate(values):
        parts.append(part)
        if len(parts) % _PARTS == 0:
            yield
    return "".join(parts).encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from proxy.api.status.assets import url_name
    from proxy.api.status.presentation import FILTERS

    environment = Environment(
        loader=PackageLoader("proxy.api.status"),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.globals["asset"] = url_name
    return environment


def _common(head: RequestHead, body: bytes) -> list[Header]:
    return [
        (b"content-length", b"%d" % len(body)),
        (b"x-request-id", head.request_id),
        *head.connection_close,
    ]
