"""Why a response is not a list of models, from its shape and its error message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from proxy.dialects.dialect import Dialect, look_at
from proxy.errors import UpstreamError

_REASON_CHARS = 200

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMERAL = re.compile(r"-?[0-9]+")
ANY_DECODER = msgspec.json.Decoder()
BOM = b"\xef\xbb\xbf"


def why_none_is_readable(dialect: Dialect, raw: Raw, reason: str) -> UpstreamError:
    """The error for a page without a single valid entry: what one of them lacks, and what it has instead."""
    has = _shape(ANY_DECODER.decode(raw))
    if dialect.kind == "custom":
        return UpstreamError(
            "invalid_response", f"`list.id` is {' or '.join(field_names(dialect.id))}, a model is {has}: it {reason}"
        )
    return invalid_response(f"no model that can be listed: {has}, which {reason}")


def reason_in(body: bytes) -> str:
    """The message of an error body of any shape, on one line; "" if there is none."""
    text = body.removeprefix(BOM).strip()
    if text.startswith(b"<"):
        return ""  # a page for a browser
    try:
        return _one_line(_message(ANY_DECODER.decode(text)))
    except (ValueError, RecursionError):
        return _plain_text(text)


def _plain_text(text: bytes) -> str:
    try:
        return _one_line(text.decode())
    except ValueError:
        return ""


def require_list(dialect: Dialect, payload: object, *, has_items: bool) -> None:
    """Raise UpstreamError, unless the response is a list without models.

    `has_items`: whether the field of the list exists.
    """
    reason = _one_line(_message(payload))
    if _is_error(dialect, payload):
        raise invalid_response(f"200 with an error: {reason or 'without a reason'}")
    if not has_items:
        where = " or ".join(field_names(dialect.items))
        if dialect.kind == "custom":
            raise UpstreamError("invalid_response", f"`list.items` is {where}, the answer {_what_it_has(payload)}")
        says = f"; it says: {reason}" if reason else ""
        raise invalid_response(f"{_shape(payload)} where {where} should be an array of models{says}")


def _is_error(dialect: Dialect, payload: object) -> bool:
    """Whether a response with status 200 is an error (as from One-API, LM Studio, vLLM, MiniMax, Huawei)."""
    if not isinstance(payload, dict):
        return isinstance(payload, str)
    if (
        payload.get("error")
        or payload.get("error_code")
        or payload.get("object") == "error"
        or payload.get("success") is False
    ):
        return True
    # `{"code":401,"message":"...","data":null}`; `{"code":0,"data":[]}` is a list.
    listed = any(isinstance(_at(payload, path), list) for path in dialect.items)
    return _is_failure(_at(payload, "base_resp.status_code")) or (not listed and _is_failure(payload.get("code")))


def _at(payload: Mapping[str, Any], path: str) -> Any:
    return look_at(path)(payload) if path.partition(".")[0] in payload else None


def _is_failure(code: object) -> bool:
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    return _NUMERAL.fullmatch(str(code)) is not None and str(code) not in ("0", "200")


# At any depth: the first of these names under which there is text.
_MESSAGES = ("error", "message", "error_msg", "detail", "errors", "msg", "reason", "title", "base_resp", "status_msg",
             "code")  # fmt: skip


def _message(payload: object, levels: int = 5) -> str:
    if isinstance(payload, str):
        return payload
    if isinstance(payload, dict):
        payload = [payload.get(name) for name in _MESSAGES]
    if not isinstance(payload, list) or not levels:
        return ""
    return next((text for text in (_message(inner, levels - 1) for inner in payload[:20]) if text), "")


def _one_line(text: str) -> str:
    return " ".join(CONTROL.sub(" ", text[: 4 * _REASON_CHARS]).split())[:_REASON_CHARS]


def is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def field_names(paths: Sequence[str]) -> list[str]:
    return [f"`{path}`" if path else "the answer" for path in paths]


def _shape(payload: object) -> str:
    """The shape of a response: its outermost names, never its content."""
    if isinstance(payload, dict):
        return "an object with " + (
            ", ".join(f"`{_one_line(name)[:40]}`" for name in list(payload)[:8]) or "nothing in it"
        )
    return {str: "a string", list: "an array", type(None): "null", bool: "a boolean"}.get(type(payload), "a number")


def _what_it_has(payload: object) -> str:
    if isinstance(payload, list):
        return 'is itself an array: `items: ""`'
    arrays = ", ".join(f"`{path}` ({count} object{'s' * (count != 1)})" for path, count in _arrays(payload))
    return f"has {arrays}" if arrays else f"is {_shape(payload)}"


def _arrays(payload: object, path: str = "", levels: int = 4) -> list[tuple[str, int]]:
    """Paths of arrays of objects, and how many each has: where the models may be instead."""
    if isinstance(payload, list):
        count = sum(isinstance(item, dict) for item in payload)
        return [(path, count)] if count else []
    if not isinstance(payload, dict) or not levels:
        return []
    inner = [
        _arrays(value, f"{path}.{name}".removeprefix("."), levels - 1) for name, value in list(payload.items())[:20]
    ]
    return [array for arrays in inner for array in arrays][:4]


def invalid_response(what: str) -> UpstreamError:
    return UpstreamError("invalid_response", f"answered {what}")
