"""The JSON that our clients read: listed models, versions, errors. Values in, bytes out.

A listed model has the fields of the AiHubMix documents, then `extra`:
    {"id","object":"model","created","owned_by","permission":[...],"root","parent", ...}
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from io import BytesIO

import msgspec

from proxy.access import KEY_HEADERS
from proxy.catalog import DEFAULT_PERMISSIONS, Model, Permission
from proxy.errors import ApiError, InvalidKey, MethodNotAllowed
from proxy.slices import Steps, at_once, slices

Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")
PRIVATE: tuple[Header, ...] = (
    # What one key may see is nobody else's: a cache in between must ask again (RFC 9111, 3.5).
    (b"cache-control", b"private, no-cache"),
    (b"vary", b", ".join([*map(bytes.title, KEY_HEADERS), b"Accept-Encoding"])),
)

_encode = msgspec.json.Encoder().encode
_FLAGS = tuple(field.name for field in fields(Permission))


def model_list(models: Iterable[Model]) -> bytes:
    """The answer to `GET /v1/models`."""
    return at_once(listing(models))


def listing(models: Iterable[Model]) -> Steps[bytes]:
    """`model_list`, step by step."""
    # Written in one place: to put megabytes together in the end, and into a frame, would copy them twice.
    text = BytesIO()
    text.write(b'{"object":"list","data":[')
    comma = b""
    for some in slices(models):
        text.write(comma + b",".join(map(model_object, some)))
        comma = b","
        yield
    text.write(b"]}")
    return text.getvalue()


def model_object(model: Model) -> bytes:
    """One listed model: its preferred offer, under the model's own time."""
    offer, created = model.offers[0], model.created
    entry = offer.entry
    model_id = _encode(offer.id)
    extra = entry.extra[1:-1]
    return b'{"id":%b,"object":"model","created":%d,"owned_by":%b,"permission":[%b],"root":%b,"parent":%b%b%b}' % (
        model_id,
        created,
        _encode(offer.owned_by),
        _permissions(model_id, created, entry.permissions),
        model_id if entry.root == offer.id else _encode(entry.root),
        b"null" if entry.parent is None else _encode(entry.parent),
        b"," if extra else b"",
        extra,
    )


def _permissions(model_id: bytes, created: int, permissions: Sequence[Permission]) -> bytes:
    # Some providers invent an id and a time at each call; ours depend on the model alone, so that equal lists are
    # equal bytes. Ids that are no digests also pack well.
    if permissions is DEFAULT_PERMISSIONS:  # of nearly all models
        return _PERMISSION % (0, model_id[1:-1], created, _DEFAULT_FLAGS)
    return b",".join(
        [
            _PERMISSION % (index, model_id[1:-1], created, _flags_of(permission))
            for index, permission in enumerate(permissions)
        ]
    )


_PERMISSION = b'{"id":"modelperm-%d-%b","object":"model_permission","created":%d,%b}'


@lru_cache(maxsize=256)
def _flags_of(permission: Permission) -> bytes:
    flags = {name: getattr(permission, name) for name in _FLAGS if name != "is_blocking"}
    return _encode({**flags, "organization": "*", "group": None, "is_blocking": permission.is_blocking})[1:-1]


_DEFAULT_FLAGS = _flags_of(*DEFAULT_PERMISSIONS)


def versions_page(total: int, versions: Iterable[bytes]) -> bytes:
    """The answer of the Pangu contract; `versions` are JSON objects as the provider sent them."""
    return b'{"total":%d,"versions":[%b]}' % (total, b",".join(versions))


def json_object(value: object) -> bytes:
    """Any plain value, for what is not on a hot path."""
    return _encode(value)


def openai_error(error: ApiError) -> bytes:
    """The body of an error as the OpenAI SDK reads it."""
    return _encode({"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}})


def anthropic_error(error: ApiError) -> bytes:
    """The body of an error as the Anthropic SDK reads it."""
    return _encode(
        {"type": "error", "error": {"type": _ANTHROPIC_TYPES.get(error.status, "api_error"), "message": error.message}}
    )


_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def pangu_error(error: ApiError) -> bytes:
    """The body of an error in the Pangu contract."""
    return _encode({"error_code": f"PROXY.{error.status:04d}", "error_msg": error.message, "solution_msg": error.cure})


def error_headers(error: ApiError) -> list[Header]:
    """What goes with an error beside its body."""
    headers = [JSON, *PRIVATE]
    if isinstance(error, InvalidKey):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode()))
    if error.should_retry is not None:
        headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))))
    return headers
