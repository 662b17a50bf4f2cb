"""OpenAI's API: model lists and errors.

A listed model has the fields of the AiHubMix documentation, then `extra`:
    {"id","object":"model","created","owned_by","permission":[...],"root","parent", ...}
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

from proxy.catalog import Model
from proxy.cooperative import Cooperative, batched, run_now
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Permission
from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.filters import Filters, Index, filters_in, indexed
from proxy.wire.format import LIST_PATHS, Format
from proxy.wire.lists import JoinedEntries, ListFormat, Page

_FLAGS = tuple(field.name for field in fields(Permission))


class EncodedList(NamedTuple):
    """The body of `GET /v1/models`."""

    body: bytes
    lengths: Sequence[int]
    """The number of bytes of each model, in order."""
    digest: str = ""
    """SHA-256 of the body, in hexadecimal digits."""

    def entries(self) -> Iterator[bytes]:
        """Yield the parts of the body: its beginning, each model with the comma or the end that follows it."""
        yield _START
        start = len(_START)
        for length in self.lengths[:-1]:
            yield self.body[start : start + length + 1]
            start += length + 1
        yield self.body[start:]

    def joined_entries(self) -> JoinedEntries:
        """Return the models of the body, without copying it."""
        ends = array("Q")
        start = end = len(_START)
        for length in self.lengths:
            ends.append(end + length)
            end += length + 1
        return JoinedEntries(self.body, ends, start)


class SharedEntries(NamedTuple):
    """The models of a list that consists of `EncodedList.entries`."""

    parts: Sequence[bytes]

    @property
    def length(self) -> int:
        return sum(map(len, self.parts))

    def joined(self, positions: Sequence[int]) -> bytes:
        """Return these models, joined with commas."""
        parts, last = self.parts, len(self.parts) - 1
        return b",".join([parts[at + 1][: -len(_END) if at + 1 == last else -1] for at in positions])


_START, _END = b'{"object":"list","data":[', b"]}"


def model_list(models: Iterable[Model]) -> bytes:
    """Return the body of `GET /v1/models`."""
    return run_now(listing(models)).body


def listing(models: Iterable[Model]) -> Cooperative[EncodedList]:
    """Encode the list in steps."""
    # One buffer, because joining parts at the end would copy megabytes once more.
    text = BytesIO()
    text.write(_START)
    digest = hashlib.sha256(_START)
    lengths = array("I")
    comma = b""
    for batch in batched(models):
        objects = [model_object(model) for model in batch]
        part = comma + b",".join(objects)
        text.write(part)
        digest.update(part)  # in steps, too: that of a whole list can take longer than one may
        lengths.extend(map(len, objects))
        comma = b","
        yield
    text.write(_END)
    digest.update(_END)
    return EncodedList(text.getvalue(), lengths, digest.hexdigest())


def model_object(model: Model) -> bytes:
    """Return a listed model: the fields of its first offer, and the `created` of the model."""
    offer, created = model.offers[0], model.created
    entry = offer.entry
    model_id = encode(offer.id)
    extra = entry.extra[1:-1]
    if entry.permissions is DEFAULT_PERMISSIONS and entry.root == offer.id and entry.parent is None and extra:
        return _COMMON % (model_id, created, encode(offer.owned_by), model_id[1:-1], created, model_id, extra)
    return b'{"id":%b,"object":"model","created":%d,"owned_by":%b,"permission":[%b],"root":%b,"parent":%b%b%b}' % (
        model_id,
        created,
        encode(offer.owned_by),
        _permissions(model_id, created, entry.permissions),
        model_id if entry.root == offer.id else encode(entry.root),
        b"null" if entry.parent is None else encode(entry.parent),
        b"," if extra else b"",
        extra,
    )


def _permissions(model_id: bytes, created: int, permissions: Sequence[Permission]) -> bytes:
    # Some providers generate an id and a time per request. These depend on the model only, so that equal lists have
    # equal bytes; and unlike digests they compress well.
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
    return encode({**flags, "organization": "*", "group": None, "is_blocking": permission.is_blocking})[1:-1]


_COMMON = (
    b'{"id":%%b,"object":"model","created":%%d,"owned_by":%%b,'
    b'"permission":[{"id":"modelperm-0-%%b","object":"model_permission","created":%%d,%b}],'
    b'"root":%%b,"parent":null,%%b}' % _flags_of(*DEFAULT_PERMISSIONS)
)
"""A model with default permissions and other fields, as most are: one format is faster than several."""


def openai_error(error: ApiError) -> bytes:
    """Return the body of an error as OpenAI's SDKs read it."""
    return encode({"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}})


def openai_error_event(error: ApiError, number: int) -> bytes:
    """Return the data of an error in a stream: that of an error response, with its status."""
    fields = {"message": error.message, "type": error.type, "status": error.status}
    return encode({"error": {**fields, "param": error.param, "code": error.code}})


def _filtered(filters: Filters, index: Index) -> Page:
    return Page(index.matching(filters), _START, _END)


LISTS = ListFormat(model_object, _filtered, filters_in, prepare=indexed, paths=LIST_PATHS)
"""`page` is for lists that are filtered; whole lists are encoded by `listing`."""
FORMAT = Format(
    "openai",
    recognizes=lambda path: True,
    error=openai_error,
    error_event_data=openai_error_event,
    lists=LISTS,
)
"""The format of all paths that no other format recognizes."""
