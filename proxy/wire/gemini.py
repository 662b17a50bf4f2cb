"""The Gemini API: paths, errors and model lists.

A list is `{"models": [{"name": "models/{id}", "displayName", "inputTokenLimit", ...}], "nextPageToken"}`.
"""

from __future__ import annotations

from base64 import b64decode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, NamedTuple

from proxy.calls import GEMINI_VERSION, NATIVE_CALLS
from proxy.catalog import Model
from proxy.decoding import decode_or_none
from proxy.errors import ApiError, BadRequest, RelayedError, whole_seconds
from proxy.wire.encoder import encode
from proxy.wire.facts import all_fields, facts_of, fields_of
from proxy.wire.format import Format
from proxy.wire.lists import ListFormat, Page, parameters, position_after, whole_number

DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE = 50, 1000
_VERBS = tuple(path.partition("}")[2] for path, call in NATIVE_CALLS.items() if call.api == "gemini")
_TYPES = "type.googleapis.com/google.rpc."
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_METHODS = {"embedding": ["embedContent", "batchEmbedContents"]}
_METHODS_OF_OTHERS = ["generateContent", "streamGenerateContent", "countTokens"]


def gemini_error(error: ApiError) -> bytes:
    """Return the body of an error as Google's SDKs read it."""
    details = [{"@type": f"{_TYPES}ErrorInfo", "reason": error.code, "domain": "models-proxy"}]
    if error.retry_after is not None:
        details.append({"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{whole_seconds(error.retry_after)}s"})
    status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "UNAVAILABLE")
    return encode({"error": {"code": error.status, "message": error.message, "status": status, "details": details}})


def relayed_error(error: RelayedError) -> bytes:
    """Return a provider's error. Google's SDKs cannot read one whose `error` is no object."""
    payload = decode_or_none(error.body)
    is_own = isinstance(payload, dict) and isinstance(payload.get("error"), dict)
    return error.body if is_own else gemini_error(error)


# -- lists -------------------------------------------------------------------------------------------------------------


class ListQuery(NamedTuple):
    """The query parameters of a list."""

    size: int = DEFAULT_PAGE_SIZE
    after: str = ""
    """The last id of the previous page."""


def list_query(query: bytes) -> ListQuery:
    """Raises BadRequest. A page size above the maximum is the maximum, as in Google's API."""
    given = parameters(query, ("pageSize", "pageToken"))
    size = whole_number("pageSize", given.get("pageSize", ""), DEFAULT_PAGE_SIZE)
    if size < 0:
        raise BadRequest("pageSize must not be negative.")
    return ListQuery(min(size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), _id_in(given.get("pageToken", "")))


def list_page(query: ListQuery, models: Sequence[Model]) -> Page:
    """Return the models after an id, which need not be listed (any more)."""
    start = position_after(models, query.after) if query.after else 0
    stop = min(len(models), start + query.size)
    end = b'],"nextPageToken":"%b"}' % _token_of(models[stop - 1].id) if stop < len(models) else b"]}"
    return Page(range(start, stop), b'{"models":[', end)


def _token_of(model_id: str) -> bytes:
    return urlsafe_b64encode(model_id.encode())


def _id_in(token: str) -> str:
    """Raises BadRequest. Characters that are not those of a token are not ignored: the list would begin again."""
    try:
        return b64decode(token, b"-_", validate=True).decode()
    except ValueError:
        raise BadRequest("pageToken must be the nextPageToken of a response.") from None


def gemini_model(model: Model) -> bytes:
    """Return a model as Google's SDKs read it. What is unknown is left out."""
    facts, fields = facts_of(model), fields_of(model)
    shown: dict[str, Any] = {"name": f"models/{model.id}", "displayName": fields.display_name or model.id}
    if fields.description:
        shown["description"] = fields.description
    if facts.context:
        shown["inputTokenLimit"] = facts.context
    if facts.max_output:
        shown["outputTokenLimit"] = facts.max_output
    shown["supportedGenerationMethods"] = _methods(model, facts.type)
    return encode(shown)


def _methods(model: Model, type_: str) -> Sequence[str]:
    """Return the methods that the provider reports, otherwise those of the model's type."""
    reported = all_fields(model).get("supportedGenerationMethods")
    if isinstance(reported, list) and all(isinstance(method, str) for method in reported):
        return reported
    return _METHODS.get(type_, _METHODS_OF_OTHERS)


def _recognizes(path: str) -> bool:
    return path.startswith(GEMINI_VERSION + "/") or path.endswith(_VERBS)


FORMAT = Format(
    "gemini",
    recognizes=_recognizes,
    error=gemini_error,
    relayed_error=relayed_error,
    list_header=b"x-goog-api-key",
    key_header="x-goog-api-key",
    lists=ListFormat(gemini_model, list_page, list_query, paths=(GEMINI_VERSION + "/models",), api="gemini"),
)
