"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import re
from collections.abc import Sequence

from proxy.inference.request.json_fields import Field, fields_of, is_null, text_of, texts_of

_STORED_REFERENCES = frozenset(
    {
        "file_id", "file_ids",  # OpenAI, Anthropic, Mistral: the model reads another caller's file
        "container_id",  # OpenAI: code runs among another caller's files
        "vector_store_ids", "collection_ids", "library_ids",  # OpenAI, xAI, Mistral: searches their documents
        "file_search_store_names", "filesearchstorenames", "cached_content", "cachedcontent",  # Gemini: the same
    }
)  # fmt: skip
"""Names of fields that reference stored objects, wherever they occur."""
_GOOGLE_FILE = re.compile(r"(?:gs:|files/|https?://generativelanguage\.googleapis\.com/).*", re.IGNORECASE | re.DOTALL)


def references_state(body: bytes, fields: Sequence[Field], *, outermost: bool = False) -> bool:
    """Return whether an object references stored objects by one of its own fields."""
    return any(_is_reference(body, field, fields, outermost=outermost) for field in fields)


def references_container(body: bytes, field: Field) -> bool:
    """Return whether `container` names one that exists; an object without an id is a new one, with the given skills."""
    return body.startswith(b'"', field.start) or _has_id(body, field)


def is_item_reference(body: bytes, fields: Sequence[Field]) -> bool:
    """Return whether an item of `input` is one of an earlier response (OpenAI): its type is the default."""
    types = texts_of(body, fields, "type")
    names = {field.name for field in fields if not is_null(body, field)}
    return "item_reference" in types or (not types and "id" in names and not names & {"role", "content"})


def _is_reference(body: bytes, field: Field, fields: Sequence[Field], *, outermost: bool) -> bool:
    name, start = field.name, field.start
    if name in _STORED_REFERENCES:
        return body[start : start + 1] in (b'"', b"[") and body[start + 1 : field.end - 1].strip() != b""
    if body.startswith((b'"fileid://', rb'"\u'), start) and text_of(body, field).startswith("fileid://"):
        return True  # Alibaba: a message that is nothing but the id of a file
    if name == "audio":  # in a message, an earlier spoken response (OpenAI); outermost, the settings of the next one
        return not outermost and _has_id(body, field)
    if name in ("file_uri", "fileuri"):  # Gemini: also the address of a public video
        return body.startswith(b'"', start) and _GOOGLE_FILE.fullmatch(text_of(body, field)) is not None
    if name == "skill_id":  # the account's own skills; those of the provider are public
        return set(texts_of(body, fields, "type")) != {"anthropic"}
    return False


def _has_id(body: bytes, field: Field) -> bool:
    return body.startswith(b"{", field.start) and any(
        inner.name == "id" and body[inner.start : inner.end] not in (b"null", b'""')
        for inner in fields_of(body, field.start, field.end)
    )
