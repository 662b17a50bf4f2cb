"""The API formats that clients read: pure encoders, one module per format."""

from functools import lru_cache

from proxy.wire import anthropic, openai, pangu, responses
from proxy.wire.encoder import JSON
from proxy.wire.format import Format

FORMATS = (anthropic.FORMAT, pangu.FORMAT, responses.FORMAT, openai.FORMAT)
"""All API formats. The first one that recognizes a path is used; the last one recognizes all paths."""

__all__ = ["FORMATS", "JSON", "Format", "format_of"]


@lru_cache(maxsize=256)
def format_of(path: str) -> Format:
    """Return the format of requests with this path. Cached: nearly all requests have one of a few paths."""
    return next(row for row in FORMATS if row.recognizes(path))
