"""The switch from private parts of libraries to their public interfaces."""

from __future__ import annotations

import os


def plain_http() -> bool:
    """Return whether `MODELS_PROXY_PLAIN_HTTP=1` is set: slower, but uses only public APIs of aiohttp and uvicorn."""
    return os.environ.get("MODELS_PROXY_PLAIN_HTTP") == "1"
