"""Read the body of a provider's error, whatever its form: JSON, events, plain text, a page, gzip. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from proxy.decoding import decode_or_none
from proxy.dialects import describe_body
from proxy.dialects.diagnosis import BOM, message_in
from proxy.inference.error_signs import is_error

MAX_BYTES = 256 * 1024
"""Bytes of an error body that are read and relayed."""
_MAX_MESSAGE = 16 * 1024
"""Characters of a message, and bytes of a JSON object that is relayed as it is. To redact more takes too long."""
_MAX_NAME = 256  # characters of a code or type
_GZIP = b"\x1f\x8b"
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WRAPPERS = ("error", "errors", "response", "detail", "base_resp")
"""Members that wrap the object with `message`, `code` and `type`."""
_ENVELOPES = frozenset({"error", "response.failed"})
"""Types of an envelope, which are not types of errors."""
_STATUSES = {
    # Canonical codes of Google's APIs.
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500, "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
    # Types and codes of OpenAI's and Anthropic's APIs.
    "invalid_request_error": 400, "context_length_exceeded": 400, "content_filter": 400, "authentication_error": 401,
    "invalid_api_key": 401, "billing_error": 402, "permission_error": 403, "model_not_found": 404,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "insufficient_quota": 429, "api_error": 500, "server_error": 500, "timeout_error": 504, "overloaded_error": 529,
    # Codes of Alibaba Model Studio and New-API.
    "InvalidParameter": 400, "DataInspectionFailed": 400, "InvalidApiKey": 401, "Arrearage": 402,
    "insufficient_user_quota": 402, "ModelNotFound": 404, "Throttling": 429, "Throttling.RateQuota": 429,
    "Throttling.AllocationQuota": 429, "InternalError": 500, "RequestTimeOut": 504,
}  # fmt: skip
"""Code or type -> the HTTP status that it means."""
_STATUSES_OF_MINIMAX = {"1002": 429, "1004": 401, "1008": 402, "1026": 400, "1039": 429, "2013": 400, "2049": 401}
"""`status_code` in `base_resp` -> the HTTP status that it means."""


class ErrorContent(Struct, frozen=True):
    """What the body of an error contains."""

    message: str = ""
    """The provider's message; "" if there is none."""
    code: str = ""
    type: str = ""
    status: int | None = None
    """The HTTP status that the body names."""
    details: Mapping[str, Any] = {}
    """The innermost object of the error; empty if there is none."""
    payload: Mapping[str, Any] | None = None
    """The body, if it is one JSON object that is not too long to be redacted."""
    body: bytes = b""
    """Its bytes, decompressed."""


def read_error(body: bytes) -> ErrorContent:
    """Read a body of any form; it may be cut off. JSON that is nested too deeply is read as text."""
    body = decompressed(body).removeprefix(BOM)
    payload = decode_or_none(body)
    if isinstance(payload, str) and payload.lstrip()[:1] in ("{", "["):  # an object that was encoded twice
        body = payload.encode()
        payload = decode_or_none(body) or payload
    if payload is not None:
        return _of_json(payload, body)
    for event in _events(body[:_MAX_MESSAGE]):
        content = _of_json(event, b"")
        if content.message:
            return content
    return ErrorContent(_text(body))


def decompressed(body: bytes) -> bytes:
    """Return the body without gzip, whether a header announced it or not; at most `MAX_BYTES` of it."""
    if not body.startswith(_GZIP):
        return body
    try:
        return zlib.decompressobj(wbits=31).decompress(body, MAX_BYTES)
    except zlib.error:
        return b""


_ERROR_FIRST = re.compile(
    rb"""(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*"(?:errors?|error_(?:code|msg)|type|user_id|request_id|code|message|msg|status
      |success|detail|base_resp|object"\s*:\s*"error)["]""",
    re.VERBOSE,
)
"""How a body that is nothing but an error usually begins."""
_ERROR_MEMBER = re.compile(rb'"(?:error|base_resp)"\s*:\s*[^n\s]')
_MAX_OTHER = 8 * 1024
"""Bytes of a body that is nothing but an error, but begins as an answer does."""
_FIRST_ITEM = 256
"""Bytes in which the first choice, item or vector of an answer begins."""


def only_error(body: bytes) -> ErrorContent | None:
    """Return the content of a body with status 2xx that is nothing but an error; None for any other body."""
    if not _may_be_error(body):
        return None
    payload = decode_or_none(body.removeprefix(BOM))
    first = payload[0] if isinstance(payload, list) and payload else payload
    if not isinstance(first, dict) or not is_error(first):
        return None
    return _of_json(payload, body.removeprefix(BOM))


def _may_be_error(body: bytes) -> bool:
    """A quick test: it is made for every response."""
    has_item = body.find(b"[{", 0, _FIRST_ITEM) >= 0
    if has_item and body.startswith(b'{"id"'):  # nearly all answers
        return False
    if _ERROR_FIRST.match(body):
        return len(body) <= MAX_BYTES
    return not has_item and len(body) <= _MAX_OTHER and _ERROR_MEMBER.search(body) is not None


def _of_json(payload: Any, body: bytes) -> ErrorContent:
    details = _details(payload)
    code = next((text for name in ("code", "status", "error_code") if (text := _name(details.get(name)))), "")
    kind = _name(details.get("type"))
    return ErrorContent(
        message_in(payload)[:_MAX_MESSAGE],
        code,
        "" if kind in _ENVELOPES else kind,
        _status(details),
        details,
        payload if isinstance(payload, dict) and len(body) <= _MAX_MESSAGE else None,
        body,
    )


def _details(payload: Any, levels: int = 4) -> Mapping[str, Any]:
    if isinstance(payload, list):
        payload = next((item for item in payload if isinstance(item, dict)), None)
    if not isinstance(payload, dict):
        return {}
    for name in _WRAPPERS if levels else ():
        if inner := _details(payload.get(name), levels - 1):
            return inner
    return payload


def _name(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _MAX_NAME and not value.isdigit() else ""


def _status(details: Mapping[str, Any]) -> int | None:
    named = [str(details.get(name)) for name in ("code", "status", "status_code", "type")]
    for value in named:
        if re.fullmatch("[45][0-9][0-9]", value):
            return int(value)
    if "status_msg" in details:
        return _STATUSES_OF_MINIMAX.get(str(details.get("status_code")))
    return next((_STATUSES[value] for value in named if value in _STATUSES), None)


def _events(body: bytes) -> Iterator[Any]:
    """Yield the JSON values in the `data` of server-sent events, or in single lines."""
    data: list[str] = []
    for line in (*_LINE_END.split(body.decode(errors="replace")), ""):
        field, colon, value = line.partition(":")
        if field.strip() == "data" and colon:
            data.append(value)
            continue
        for text in ("\n".join(data), line):
            value = decode_or_none(text.encode()) if text.strip() else None
            if isinstance(value, dict | list):
                yield value
        data = []


def _text(body: bytes) -> str:
    content = describe_body(body)
    if content.is_markup:
        return content.text
    text = body[: 4 * _MAX_MESSAGE].decode(errors="replace")[:_MAX_MESSAGE]
    is_binary = "\0" in text or text.count("\ufffd") > 1 + len(text) // 20
    return "" if is_binary else _UNPRINTABLE.sub(" ", text).strip()
