"""The style sheet, the script and the icon of the status page, with a digest of their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_TYPES = {
    "style.css": b"text/css; charset=utf-8",
    "script.js": b"text/javascript; charset=utf-8",
    "icon.svg": b"image/svg+xml",
}
_DIGEST = 12  # hex digits


class Asset(NamedTuple):
    content_type: bytes
    body: bytes
    etag: bytes


@cache
def find(name: str) -> Asset:
    body = files("proxy.api.status").joinpath("static", name).read_bytes()
    return Asset(_TYPES[name], body, f'"{hashlib.sha256(body).hexdigest()[:_DIGEST]}"'.encode())


def url_name(name: str) -> str:
    """The name in a URL, which changes with the content: `style.css?v=0123456789ab`."""
    return f"{name}?v={find(name).etag.decode().strip(chr(34))}"
