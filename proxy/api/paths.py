"""Which calls are passed on: a table, apart from what passes them on, which is loaded when the first one comes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from proxy.api.http import BASES

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
"""Path below a `base_url` -> what stands in the last event of a stream."""
PATHS: Mapping[str, str] = {base + path: path for path in CALLS for base in BASES}
"""What is asked here -> what is asked of a provider, below the place where its models are called."""
