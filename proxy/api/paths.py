"""The paths of calls. Separate from `api/inference.py`, which is loaded at the first call."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.wire.format import BASE_PATHS

_ANYTHING = re.compile(b"")
CALLS: Mapping[str, re.Pattern[bytes]] = {
    "/chat/completions": re.compile(rb"\[DONE]"),
    "/completions": re.compile(rb"\[DONE]"),
    "/responses": re.compile(rb"response\.(?:completed|incomplete|failed)"),
    "/embeddings": _ANYTHING,
    "/moderations": _ANYTHING,
    "/rerank": _ANYTHING,
    "/images/generations": _ANYTHING,
    "/images/edits": _ANYTHING,
    "/images/variations": _ANYTHING,
    "/audio/speech": _ANYTHING,
    "/audio/transcriptions": _ANYTHING,
    "/audio/translations": _ANYTHING,
    "/messages": re.compile(rb"message_stop"),
    "/messages/count_tokens": _ANYTHING,
}
"""Path below a `base_url` -> what the last event of a complete stream matches."""
PATHS: Mapping[str, str] = {base + path: path for path in CALLS for base in BASE_PATHS}
"""Path of a request -> path below the base URL of a provider's calls."""
