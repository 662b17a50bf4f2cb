"""Bytes that are stored outside of the process: sealed, so that anything else is recognized when they are read.

An envelope is: magic, kind and schema version, length and authentication code of the payload, payload.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from struct import Struct

MAX_PAYLOAD = 64 * 1024 * 1024
"""Bytes. 20,000 models with 1 KB each are a third of it."""
_MAGIC = b"MODELS-PROXY\0\0\0\0"
_HEAD = Struct(">16s8sHQ32s")
HEAD_SIZE = _HEAD.size


class RecordError(ValueError):
    """Bytes are not a record that can be used. The message is the reason."""


def seal(kind: bytes, schema: int, key: bytes, payload: bytes) -> bytes:
    """Return the envelope. `kind`: at most 8 bytes. Raises RecordError for a payload that is too large."""
    if len(payload) > MAX_PAYLOAD:
        raise RecordError(f"larger than {MAX_PAYLOAD:,} bytes")
    return _HEAD.pack(_MAGIC, kind, schema, len(payload), _code(kind, schema, key, payload)) + payload


def sealed_parts(data: bytes) -> Iterator[bytes]:
    """Yield the envelopes in a file to which they were appended, up to the first that is not whole."""
    at = 0
    while len(data) - at >= HEAD_SIZE and data.startswith(_MAGIC, at):
        end = at + HEAD_SIZE + _HEAD.unpack_from(data, at)[3]
        if end > len(data):
            return
        yield data[at:end]
        at = end


def unseal(kind: bytes, schema: int, key: bytes, data: bytes) -> memoryview:
    """Return the payload. Raises RecordError for anything that was not sealed in the same way."""
    if data[: len(_MAGIC)] != _MAGIC[: len(data)] or not data:
        raise RecordError("not written by models-proxy")
    if len(data) < HEAD_SIZE:
        raise RecordError("truncated")
    _, found_kind, found_schema, length, code = _HEAD.unpack_from(data)
    if found_kind.rstrip(b"\0") != kind:
        raise RecordError("not a record of this kind")
    if found_schema != schema:
        raise RecordError("written by a newer version" if found_schema > schema else "written by an older version")
    payload = memoryview(data)[HEAD_SIZE:]
    if length > MAX_PAYLOAD or len(payload) > length:
        raise RecordError(
            "larger than its declared length" if length <= MAX_PAYLOAD else f"larger than {MAX_PAYLOAD:,} bytes"
        )
    if len(payload) < length:
        raise RecordError("truncated")
    if not hmac.compare_digest(code, _code(kind, schema, key, payload)):
        raise RecordError("wrong checksum, or written with other credentials")
    return payload


def _code(kind: bytes, schema: int, key: bytes, payload: bytes | memoryview) -> bytes:
    code = hmac.new(key, b"%b\0%d\0" % (kind, schema), "sha256")
    code.update(payload)
    return code.digest()
