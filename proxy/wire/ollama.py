"""Ollama's API: paths and errors."""

from __future__ import annotations

from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.format import Format

_NAMES = frozenset(
    {
        "blobs", "chat", "copy", "create", "delete", "embed", "embeddings", "generate", "ps", "pull", "push", "show",
        "tags", "version",
    }
)  # fmt: skip
"""All paths of Ollama's API, below `/api`; most are not served."""


def ollama_error(error: ApiError) -> bytes:
    """Return the body of an error as Ollama's clients read it."""
    return encode({"error": error.message})


def _recognizes(path: str) -> bool:
    return path.startswith("/api/") and path.split("/")[2] in _NAMES


FORMAT = Format("ollama", recognizes=_recognizes, error=ollama_error)
