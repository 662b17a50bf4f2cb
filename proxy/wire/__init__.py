"""The formats clients read: pure encoders, one module per format."""

from proxy.wire import anthropic, openai, pangu
from proxy.wire.format import Format
from proxy.wire.headers import JSON, PRIVATE

FORMATS = (anthropic.FORMAT, pangu.FORMAT, openai.FORMAT)
"""Every format the proxy speaks. The first that recognizes a path is used; the last one recognizes all."""

__all__ = ["FORMATS", "JSON", "PRIVATE", "Format", "format_of"]


def format_of(path: str) -> Format:
    """The format of requests with this path."""
    return next(row for row in FORMATS if row.recognizes(path))
