"""The API formats that clients read: pure encoders, one module per format."""

from functools import lru_cache

from proxy.wire import anthropic, codex, gemini, litellm, lmstudio, mistral, ollama, openai, pangu, responses
from proxy.wire.encoder import JSON
from proxy.wire.format import LIST_PATHS, Format
from proxy.wire.lists import ListFormat

FORMATS = (
    anthropic.FORMAT,
    gemini.FORMAT,
    ollama.FORMAT,
    lmstudio.FORMAT,
    litellm.FORMAT,
    codex.FORMAT,
    mistral.FORMAT,
    pangu.FORMAT,
    responses.FORMAT,
    openai.FORMAT,
)
"""All API formats. The first one that recognizes a path is used; the last one recognizes all paths.

At the paths that several formats share, a header precedes the last one.
"""
OPENAI_LISTS = openai.LISTS
LIST_HEADERS = {row.list_header: row.list_header_value for row in FORMATS if row.list_header}
"""The headers that select a format, and what their values begin with."""

__all__ = ["FORMATS", "JSON", "LIST_HEADERS", "OPENAI_LISTS", "Format", "format_of", "lists_of"]


@lru_cache(maxsize=256)
def format_of(path: str, list_headers: tuple[bytes, ...] = (), *, is_served: bool = True) -> Format:
    """Return the format of requests with this path. Cached: nearly all requests have one of a few paths.

    `list_headers`: those of LIST_HEADERS that the request has. `is_served`: whether there is something at the path.
    """
    *rows, default = FORMATS
    for row in rows:
        if row.recognizes(path):
            return row
    if list_headers and (path.startswith(LIST_PATHS) or not is_served):
        return next(row for row in rows if row.list_header in list_headers)
    return default


@lru_cache(maxsize=256)
def lists_of(path: str, list_headers: tuple[bytes, ...], query: bytes = b"") -> ListFormat:
    """Return the format of a model list at a path that several formats share: by header, then by parameter."""
    row = format_of(path, list_headers)
    if query and row is FORMATS[-1]:
        names = {parameter.partition(b"=")[0] for parameter in query.split(b"&")} - {b""}
        row = next((each for each in FORMATS if each.list_parameter in names), row)
    return row.lists or OPENAI_LISTS
