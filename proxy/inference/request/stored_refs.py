"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from proxy.inference.request.json_fields import Field, fields_of, is_null, text_of, texts_of

UNKNOWN = ""
"""Represents an id that no response can have contained, or that cannot be read."""
_OWN_REFERENCES = frozenset(
    {
        "file_id", "file_ids",  # OpenAI, Anthropic, Mistral: the model reads another caller's file
        "container_id",  # OpenAI: code runs among another caller's files
    }
)  # fmt: skip
"""Names of fields with ids that a response of the same caller can contain, wherever they occur."""
_STORED_REFERENCES = _OWN_REFERENCES | frozenset(
    {
        "vector_store_ids", "collection_ids", "library_ids",  # OpenAI, xAI, Mistral: searches their documents
        "file_search_store_names", "filesearchstorenames", "cached_content", "cachedcontent",  # Gemini: the same
    }
)  # fmt: skip
"""Names of fields that reference stored objects, wherever they occur."""
_decode_ids: Callable[[bytes], str | list[str]] = msgspec.json.Decoder(str | list[str]).decode
_GOOGLE_FILE = re.compile(r"(?:gs:|files/|https?://generativelanguage\.googleapis\.com/).*", re.IGNORECASE | re.DOTALL)


def state_references(body: bytes, fields: Sequence[Field], *, outermost: bool = False) -> Iterator[str]:
    """Yield the ids of the stored objects that an object references by its own fields."""
    for field in fields:
        if field.name in _OWN_REFERENCES:
            yield from _ids_in(body, field)
        elif field.name == "audio":  # in a message, an earlier spoken response; outermost, the settings of the next one
            yield from () if outermost else _ids_of(body, field)
        elif _is_reference(body, field, fields):
            yield UNKNOWN


def container_references(body: bytes, field: Field) -> Iterator[str]:
    """Yield the id in `container`; an object without an id is a new one, with the given skills."""
    if body.startswith(b'"', field.start):
        yield text_of(body, field)
    else:
        yield from _ids_of(body, field)


def conversation_references(body: bytes, field: Field) -> Iterator[str]:
    """Yield the id in `conversation` or `previous_response_id`: a string, or an object with an id."""
    ids = [*_ids_of(body, field)]
    yield from ids or (text_of(body, field),)


def item_references(body: bytes, fields: Sequence[Field]) -> Iterator[str]:
    """Yield the id in an item of `input` that references one of an earlier response (OpenAI)."""
    types = texts_of(body, fields, "type")
    names = {field.name for field in fields if not is_null(body, field)}
    # `item_reference` is the default type.
    if "item_reference" in types or (not types and "id" in names and not names & {"role", "content"}):
        ids = [text_of(body, field) for field in fields if field.name == "id"]
        yield from ids or (UNKNOWN,)


def _is_reference(body: bytes, field: Field, fields: Sequence[Field]) -> bool:
    name, start = field.name, field.start
    if name in _STORED_REFERENCES:
        return _has_content(body, field)
    if body.startswith((b'"fileid://', rb'"\u'), start) and text_of(body, field).startswith("fileid://"):
        return True  # Alibaba: a message that is nothing but the id of a file
    if name in ("file_uri", "fileuri"):  # Gemini: also the address of a public video
        return body.startswith(b'"', start) and _GOOGLE_FILE.fullmatch(text_of(body, field)) is not None
    if name == "skill_id":  # the account's own skills; those of the provider are public
        return set(texts_of(body, fields, "type")) != {"anthropic"}
    return False


def _has_content(body: bytes, field: Field) -> bool:
    """Return whether a value is a string or a list, and not empty."""
    return body[field.start : field.start + 1] in (b'"', b"[") and body[field.start + 1 : field.end - 1].strip() != b""


def _ids_in(body: bytes, field: Field) -> Iterator[str]:
    """Yield the ids in a string or a list."""
    if not _has_content(body, field):
        return
    try:
        ids = _decode_ids(body[field.start : field.end])
    except ValueError:
        ids = UNKNOWN
    yield from [ids] if isinstance(ids, str) else ids


def _ids_of(body: bytes, field: Field) -> Iterator[str]:
    """Yield the ids of the object in a field, nothing if it is none or has none."""
    if body.startswith(b"{", field.start):
        for inner in fields_of(body, field.start, field.end):
            if inner.name == "id" and body[inner.start : inner.end] not in (b"null", b'""'):
                yield text_of(body, inner)
