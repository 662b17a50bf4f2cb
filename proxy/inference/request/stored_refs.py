"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from proxy.inference.request.json_fields import Field, is_null, text_of, texts_of
from proxy.inference.request.marks import FILE_TEXT, spelled

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
_MAX_IDS = 64 * 1024
"""Bytes of a list of ids."""
_decode_ids: Callable[[bytes], str | list[str]] = msgspec.json.Decoder(str | list[str]).decode
_RETRIEVAL = frozenset(
    {
        "vertexaisearch", "vertex_ai_search", "vertexragstore", "vertex_rag_store",  # searches the account's documents
        "externalapi", "external_api",  # sends a secret that is stored for the account to the caller's address
    }
)  # fmt: skip
"""Names of objects with tools of Vertex AI."""
_FILE_URI = frozenset({"file_uri", "fileuri"})
_URLS = frozenset(
    {
        "url", "image_url", "file_url", "video_url", "audio_url",  # Vertex AI: reads them as the account
        "outputuriprefix", "output_uri_prefix",  # the same: writes to it
    }
)  # fmt: skip
_PUBLIC_URL = re.compile(r"data:.*|https?://(?P<host>[\w.-]+)(?::\d+)?(?:[/?#].*)?", re.IGNORECASE | re.DOTALL)
_OF_GOOGLE = re.compile(r"(?:.*[.-])?generativelanguage\.(?:.*\.)?googleapis\.com\.?", re.IGNORECASE)
"""Hosts with the files of Gemini's accounts."""
_OPENAI_SKILL = re.compile(rb'"openai-')
"""Matches the start of the id of a public skill of OpenAI; those of an account begin with `skill_`."""
_MAX_HOST = 253
_BUCKET = re.compile(b'"' + spelled(b"gs:"))
"""Matches the start of the address of an object in Google Cloud Storage."""


def state_references(body: bytes, fields: Sequence[Field]) -> Iterator[str]:
    """Yield the ids of the stored objects that an object references by its own fields."""
    for field in fields:
        if field.name in _OWN_REFERENCES:
            yield from _ids_in(body, field)
        elif _is_reference(body, field, fields):
            yield UNKNOWN


def own_ids(body: bytes, fields: Sequence[Field]) -> Iterator[str]:
    """Yield the id of an object."""
    for field in fields:
        if (
            field.name == "id"
            and body[field.start : field.start + 4] != b"null"
            and not body.startswith(b'""', field.start)
        ):
            yield text_of(body, field)


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
    if body.startswith((b'"f', b'"\\u'), start) and FILE_TEXT.match(body, start):
        return True  # Alibaba: a message that is nothing but the id of a file
    if name in _RETRIEVAL:
        return body.startswith(b"{", start)
    if name in _FILE_URI:  # Gemini: also the address of a public video
        return body.startswith(b'"', start) and _is_stored_file(text_of(body, field))
    if name in _URLS:
        return _BUCKET.match(body, start) is not None
    if name == "skill_id":  # the account's own skills; those of the provider are public
        return set(texts_of(body, fields, "type")) != {"anthropic"} and not _OPENAI_SKILL.match(body, field.start)
    return False


def _is_stored_file(uri: str) -> bool:
    """Return whether a URI is not certain to be one that anyone can read."""
    public = _PUBLIC_URL.fullmatch(uri)
    host = (public["host"] or "") if public else ""
    return uri != "" and (public is None or len(host) > _MAX_HOST or _OF_GOOGLE.fullmatch(host) is not None)


def _has_content(body: bytes, field: Field) -> bool:
    """Return whether a value is a string or a list, and not empty."""
    if not body.startswith((b'"', b"["), field.start):
        return False
    return field.end - field.start > _MAX_IDS or body[field.start + 1 : field.end - 1].strip() != b""


def _ids_in(body: bytes, field: Field) -> Iterator[str]:
    """Yield the ids in a string or a list."""
    if not _has_content(body, field):
        return
    ids: str | list[str] = UNKNOWN
    if field.end - field.start <= _MAX_IDS:
        try:
            ids = _decode_ids(body[field.start : field.end])
        except ValueError:
            ids = UNKNOWN
    yield from [ids] if isinstance(ids, str) else ids
