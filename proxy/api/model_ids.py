"""The id of a model in the path of a request, in the spellings that clients use."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import msgspec

from proxy.api.request import RequestHead
from proxy.errors import BadRequest, ModelNotFound

_ALIAS = "models"


class _Body(msgspec.Struct):
    model: str | None = None
    name: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def model_in(body: bytes) -> str:
    """Return the id in the body of a request for one model. Raises BadRequest."""
    try:
        named = _decode(body)
    except msgspec.DecodeError:
        named = _Body()
    if not (model := named.model or named.name):
        raise BadRequest("The request body must be a JSON object with a `model` field, the id of a model.")
    return model


def spellings_of(head: RequestHead, lists: Sequence[str]) -> Sequence[str]:
    """Return the possible ids in a path, in order of precedence; "" is the whole list.

    A client whose `base_url` ends in `/models` (as in the ctyun documentation) requests `/v1/models/models` and
    `/v1/models/models/{id}`, others add slashes (`/v1/models//{id}`); a model with such an id takes precedence. Ids are
    percent-decoded exactly once: they can contain slashes, colons, spaces and `%`. `lists`: the paths of lists.
    """
    try:
        ids = [unquote_to_bytes(raw_id).decode() for raw_id in _raw_ids(head.raw_path, lists)]
    except UnicodeDecodeError:
        ids = []
    if not ids:  # no model matches an id that is not UTF-8, or a path whose prefix is percent-encoded
        raise ModelNotFound(head.path.partition("models/")[2])
    return [spelling for model_id in ids for spelling in _with_and_without_alias(model_id)]


def _raw_ids(raw_path: bytes, lists: Sequence[str]) -> Sequence[bytes]:
    """Return the percent-encoded id in a path; also without superfluous slashes, if it has any."""
    for path in lists:
        prefix = path.encode() + b"/"
        if raw_path.startswith(prefix):
            raw_id = raw_path[len(prefix) :]
            has_superfluous = b"//" in b"/%b/" % raw_id
            return (raw_id, b"/".join(filter(None, raw_id.split(b"/")))) if has_superfluous else (raw_id,)
    return ()


def _with_and_without_alias(model_id: str) -> Sequence[str]:
    if model_id == _ALIAS or model_id.startswith(_ALIAS + "/"):
        return model_id, model_id.removeprefix(_ALIAS).removeprefix("/")
    return (model_id,)
