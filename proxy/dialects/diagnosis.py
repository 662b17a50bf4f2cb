"""Explain why a response is not a list of models, from its structure and its error message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeGuard

import msgspec
from msgspec import Raw

from proxy.dialects.dialect import Dialect
from proxy.dialects.getters import path_getter
from proxy.dialects.raw_json import SHORT
from proxy.errors import UpstreamError

_MAX_MESSAGE = 200  # characters

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NUMERAL = re.compile(r"-?[0-9]+")
ANY_DECODER = msgspec.json.Decoder()
BOM = b"\xef\xbb\xbf"


def no_valid_entries(dialect: Dialect, raw: Raw, reason: str) -> UpstreamError:
    """The error for a page without valid entries: `reason` and `raw` are those of one of them."""
    actual = f"an entry is {_shape_of(raw)}"
    if dialect.kind == "custom":
        actual = f"list.id is {' or '.join(field_names(dialect.id))}, {actual}"
    return UpstreamError("invalid_response", f"returned no usable models: {reason} ({actual})")


def _shape_of(raw: Raw) -> str:
    """The `_shape` of an entry; of a long one, or one that cannot be decoded, only its type."""
    if len(memoryview(raw)) <= SHORT:
        with suppress(ValueError, RecursionError):
            return _shape(ANY_DECODER.decode(raw))
    return {ord("{"): "an object", ord("["): "an array", ord('"'): "a string"}.get(memoryview(raw)[0], "a number")


def require_list(dialect: Dialect, payload: object, *, has_items: bool) -> None:
    """Raise UpstreamError unless the response is an empty list.

    `has_items`: whether the field with the list exists.
    """
    message = one_line(message_in(payload))
    if _is_error(dialect, payload):
        raise UpstreamError("invalid_response", f"returned an error with status 200: {message or 'no message'}")
    if not has_items:
        where = " or ".join(field_names(dialect.items))
        if dialect.kind == "custom":
            reason = f"returned no model list at {where} (list.items): the response {_arrays_or_shape(payload)}"
            raise UpstreamError("invalid_response", reason)
        quoted = f"; message: {message}" if message else ""
        reason = f"returned no model list: expected an array at {where}, got {_shape(payload)}{quoted}"
        raise UpstreamError("invalid_response", reason)


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
    # `{"code":401,"message":"...","data":null}` is an error, `{"code":0,"data":[]}` a list.
    listed = any(isinstance(_at(payload, path), list) for path in dialect.items)
    return _is_failure(_at(payload, "base_resp.status_code")) or (not listed and _is_failure(payload.get("code")))


def _at(payload: Mapping[str, Any], path: str) -> Any:
    return path_getter(path)(payload) if path.partition(".")[0] in payload else None


def _is_failure(code: object) -> bool:
    if isinstance(code, bool) or not isinstance(code, int | str):
        return False
    return _NUMERAL.fullmatch(str(code)) is not None and str(code) not in ("0", "200")


# Fields with an error message, at any depth. The first with a text wins.
_MESSAGES = ("error", "message", "error_msg", "detail", "errors", "msg", "reason", "title", "base_resp", "status_msg",
             "Error", "Message", "error_message", "errorMessage", "errmsg", "err_msg", "fault", "faultstring",
             "error_description", "description", "details", "exception", "code")  # fmt: skip


def message_in(payload: object, levels: int = 5) -> str:
    """The message of an error of any shape, "" if there is none."""
    if isinstance(payload, str):
        return payload
    if isinstance(payload, dict):
        payload = [payload[name] for name in _MESSAGES if name in payload]
    if not isinstance(payload, list) or not levels:
        return ""
    return next((text for text in (message_in(inner, levels - 1) for inner in payload[:20]) if text), "")


def one_line(text: str) -> str:
    """A text of a provider on one line, of limited length."""
    return " ".join(CONTROL.sub(" ", text[: 4 * _MAX_MESSAGE]).split())[:_MAX_MESSAGE]


def is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def field_names(paths: Sequence[str]) -> list[str]:
    return [f"`{path}`" if path else "the top level" for path in paths]


def _shape(payload: object) -> str:
    """The type of a JSON value and the names of its fields, never its content."""
    if isinstance(payload, dict):
        names = ", ".join(f"`{one_line(name)[:40]}`" for name in list(payload)[:8])
        return f"an object with {names}" if names else "an empty object"
    return {str: "a string", list: "an array", type(None): "null", bool: "a boolean"}.get(type(payload), "a number")


def _arrays_or_shape(payload: object) -> str:
    if isinstance(payload, list):
        return 'is an array, set `items: ""`'
    arrays = ", ".join(f"`{path}` ({count} object{'s' * (count != 1)})" for path, count in _arrays(payload))
    return f"has {arrays}" if arrays else f"is {_shape(payload)}"


def _arrays(payload: object, path: str = "", levels: int = 4) -> list[tuple[str, int]]:
    """Paths of arrays of objects, with their lengths: possible locations of the models."""
    if isinstance(payload, list):
        count = sum(isinstance(item, dict) for item in payload)
        return [(path, count)] if count else []
    if not isinstance(payload, dict) or not levels:
        return []
    inner = [
        _arrays(value, f"{path}.{name}".removeprefix("."), levels - 1) for name, value in list(payload.items())[:20]
    ]
    return [array for arrays in inner for array in arrays][:4]


def unusable(what: str, hint: str = "") -> UpstreamError:
    return UpstreamError("invalid_response", f"returned an unusable response ({what}){hint}")
