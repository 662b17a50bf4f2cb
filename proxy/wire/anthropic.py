"""Anthropic's API: paths, errors and model lists.

A list is `{"data": [{"type": "model", "id", "display_name", "created_at", ...}], "has_more", "first_id", "last_id"}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from proxy.calls import CALLS
from proxy.catalog import Model
from proxy.decoding import decode_or_none
from proxy.errors import ApiError, BadRequest, RelayedError
from proxy.wire.encoder import encode
from proxy.wire.facts import facts_of, fields_of, rfc3339
from proxy.wire.format import BASE_PATHS, Format
from proxy.wire.limit_headers import anthropic_limit_lines
from proxy.wire.lists import ListFormat, Page, parameters, position_after, position_of, whole_number

DEFAULT_LIMIT, MAX_LIMIT = 20, 1000

_PATHS = frozenset(base + call.below_base for base in BASE_PATHS for call in CALLS.values() if call.api == "anthropic")
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def anthropic_error(error: ApiError) -> bytes:
    """Return the body of an error as Anthropic's SDKs read it."""
    return encode({"type": "error", "error": {"type": _error_type(error), "message": error.message}})


def relayed_error(error: RelayedError) -> bytes:
    """Return a provider's error, with `type`: servers with several APIs send the errors of OpenAI's or their own."""
    payload = decode_or_none(error.body)
    details = payload.get("error") if isinstance(payload, dict) else None
    if not isinstance(details, dict):
        return anthropic_error(error)
    if payload.get("type") == "error":
        return error.body
    kind = details.get("type")
    fields = {"type": kind if kind and isinstance(kind, str) else _error_type(error), "message": error.message}
    return encode({"type": "error", "error": {**details, **fields}})


def error_event_data(error: ApiError, number: int) -> bytes:
    """Return the data of an error in a stream: that of an error response, with its status."""
    fields = {"type": _error_type(error), "message": error.message, "status": error.status}
    return encode({"type": "error", "error": fields})


def _error_type(error: ApiError) -> str:
    return _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")


# -- lists -------------------------------------------------------------------------------------------------------------


class ListQuery(NamedTuple):
    """The query parameters of a list."""

    limit: int = DEFAULT_LIMIT
    after_id: str = ""
    before_id: str = ""


def list_query(query: bytes) -> ListQuery:
    """Raises BadRequest."""
    given = parameters(query, ListQuery._fields)
    limit = whole_number("limit", given.get("limit", ""), DEFAULT_LIMIT)
    if not 1 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit must be between 1 and {MAX_LIMIT}.")
    after_id, before_id = given.get("after_id", ""), given.get("before_id", "")
    if after_id and before_id:
        raise BadRequest("after_id and before_id are mutually exclusive.")
    return ListQuery(limit, after_id, before_id)


def list_page(query: ListQuery, models: Sequence[Model]) -> Page:
    """Return the models after or before an id, which need not be listed."""
    if query.before_id:
        stop = position_of(models, query.before_id)
        start = max(0, stop - query.limit)
        has_more = start > 0
    else:
        start = position_after(models, query.after_id) if query.after_id else 0
        stop = min(len(models), start + query.limit)
        has_more = stop < len(models)
    first, last = (models[start].id, models[stop - 1].id) if start < stop else (None, None)
    end = encode({"has_more": has_more, "first_id": first, "last_id": last})
    return Page(range(start, stop), b'{"data":[', b"]," + end[1:])


def model_info(model: Model) -> bytes:
    """Return a model as Anthropic's SDKs read it. What is unknown is left out, but for the required `created_at`."""
    facts, fields = facts_of(model), fields_of(model)
    info: dict[str, Any] = {
        "type": "model",
        "id": model.id,
        "display_name": fields.display_name or model.id,
        "created_at": rfc3339(model.created),
        "lifecycle": "deprecated" if fields.deprecated else "active",
    }
    if fields.description:
        info["description"] = fields.description  # for the model picker of Claude Code
    if facts.context:
        info["max_input_tokens"] = facts.context
    if facts.max_output:
        info["max_tokens"] = facts.max_output
    if capabilities := _capabilities(model.offers[0].entry.extra):
        info["capabilities"] = capabilities
    if fields.deprecated_at:
        info["deprecated_at"] = rfc3339(fields.deprecated_at)
    if fields.shutdown_at:
        info["retires_at"] = rfc3339(fields.shutdown_at)
    return encode(info)


class _WithCapabilities(msgspec.Struct):
    capabilities: dict[str, dict[str, Any]]


_decode_capabilities = msgspec.json.Decoder(_WithCapabilities).decode


def _capabilities(extra: bytes) -> dict[str, dict[str, Any]] | None:
    """Return the capabilities of a model that its provider describes in this format; None for all others.

    Clients expect all keys, so the object is not composed of the few facts that other providers report.
    """
    if b'"capabilities":{' not in extra:
        return None
    try:
        capabilities = _decode_capabilities(extra).capabilities
    except msgspec.ValidationError:
        return None
    return capabilities if all("supported" in each for each in capabilities.values()) else None


FORMAT = Format(
    "anthropic",
    recognizes=_PATHS.__contains__,
    list_header=b"anthropic-version",
    lists=ListFormat(model_info, list_page, list_query, api="anthropic"),
    error=anthropic_error,
    relayed_error=relayed_error,
    error_event_name=b"error",
    error_event_data=error_event_data,
    request_id_headers=(b"x-request-id", b"request-id"),
    limit_lines=anthropic_limit_lines,
)
