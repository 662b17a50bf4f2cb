"""The API formats that clients read: pure encoders, one module per format."""

from proxy.wire import anthropic, openai, pangu, responses
from proxy.wire.encoder import JSON
from proxy.wire.format import Format

FORMATS = (anthropic.FORMAT, pangu.FORMAT, responses.FORMAT, openai.FORMAT)
"""All API formats. The first one that recognizes a path is used; the last one recognizes all paths."""

__all__ = ["FORMATS", "JSON", "Format", "format_of"]


def format_of(path: str) -> Format:
    """Return the format of requests with this path."""
    return next(row for row in FORMATS if row.recognizes(path))
