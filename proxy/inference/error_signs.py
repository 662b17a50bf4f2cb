"""Recognize objects that are nothing but an error, although the status of the response is 2xx. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_BESIDE_ERROR = frozenset(
    {
        "error", "errors", "code", "message", "msg", "type", "param", "object", "status", "success", "detail",
        "details", "reason", "title", "error_code", "error_msg", "base_resp", "id", "created", "model", "provider",
        "usage", "user_id", "request_id", "trace_id", "log_id", "timestamp", "path",
    }
)  # fmt: skip
"""Members of an object that is an error. Any other member with a value is a part of an answer."""
_OBJECTS = frozenset({"", "error", "list", "chat.completion", "chat.completion.chunk", "text_completion"})
"""Values of `object` of such objects. Others, such as failed responses and batches, are answers with an error."""
_SUCCESSES = frozenset({"", "0", "ok", "success", "succeeded", "none", "true"})
"""Codes and messages, in lower case, that are no errors."""


def is_error(payload: Mapping[str, Any]) -> bool:
    """Whether an object has a sign of an error, and nothing of an answer: no choices, data, content, output ..."""
    if any(value for name, value in payload.items() if name not in _BESIDE_ERROR):
        return False
    if "output" in payload or (payload.get("id") and "status" in payload):
        return False  # a failed response or task
    kind = payload.get("object") or ""
    return isinstance(kind, str) and kind in _OBJECTS and _has_sign(payload)


def _has_sign(payload: Mapping[str, Any]) -> bool:
    if payload.get("error") or payload.get("errors") or payload.get("success") is False:
        return True
    if "error" in (payload.get("object"), payload.get("type")) or _is_failure(payload.get("error_code")):
        return True
    result = payload.get("base_resp")
    if isinstance(result, dict) and _is_failure(result.get("status_code")):
        return True
    if payload.keys() <= {"detail"}:
        return bool(payload.get("detail"))
    message = payload.get("message") or payload.get("msg")
    return isinstance(message, str) and not _is_success(message) and _is_failure(payload.get("code"))


def _is_failure(code: object) -> bool:
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    text = str(code)
    return not (_is_success(text) or (len(text) == 3 and text.startswith("2")))


def _is_success(text: str) -> bool:
    return text.strip().lower() in _SUCCESSES
