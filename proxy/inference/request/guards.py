"""Fields that choose further models, a place, or refer to state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from proxy.errors import BadRequest
from proxy.inference.request.body import _MAX_ID, MODEL, _folded
from proxy.inference.request.json_spans import _TWICE, _as_text, _items, _name, members

HOLD_CHOICES = frozenset({"plugins", "compound_custom", "provider_options", "provideroptions"})
"""Fields in which models may be chosen (OpenRouter, Groq, Vercel), in any letters."""

_MAY_REFERENCE = (b"model", b"tore_id", b'"container"', b'"item_reference"', rb"\u")
"""What an item that chooses a model or refers to state has in it, in small letters: the name, or what may hide it.
(Without the s of `vector_store_ids`: there are two more letters that may stand for it.)"""
_CHOOSES_MODELS = re.compile(r"(?:.*_)?models?", re.DOTALL)
_FUNCTIONS = frozenset({"", "function", "custom"})
"""Types of tools whose models, if they have any, are parameters of the caller's own functions."""
_as_texts = msgspec.json.Decoder(list[str]).decode


def _models(value: bytes) -> Sequence[str] | None:
    """The ids in a string or a list of strings; None where it is neither, or where one cannot be an id."""
    try:
        models = _as_texts(value) if value.startswith(b"[") else [_as_text(value)]
    except ValueError:
        return None
    return models if all(0 < len(model) <= _MAX_ID for model in models) else None


def _telling_items(value: bytes) -> Iterator[bytes]:
    """Objects in a list that may choose models or refer to state; as a rule there are none. Raises ValueError."""
    if value.startswith(b"[") and _is_telling(value):
        yield from (item for item in _items(value) if item.startswith(b"{") and _is_telling(item))


def _is_telling(value: bytes) -> bool:
    value = value.lower()
    return any(sign in value for sign in _MAY_REFERENCE)


def _fields(item: bytes) -> Mapping[str, bytes]:
    """The members of an object, by names as any parser may read them. Raises ValueError."""
    fields: dict[str, bytes] = {}
    for name, (start, end) in members(item).items():
        folded = _folded(name)
        if folded in fields:
            raise ValueError(_TWICE)
        fields[folded] = item[start:end]
    return fields


def _type(fields: Mapping[str, bytes]) -> str:
    value = fields.get("type", b"")
    return _name(value) if value.startswith(b'"') else ""


def _refers_to_state(fields: Mapping[str, bytes]) -> bool:
    return (
        _type(fields) == "item_reference"
        or fields.get("vector_store_ids", b"null") not in (b"null", b"[]")
        or fields.get("container", b"").startswith(b'"')
    )


def _models_chosen(fields: Mapping[str, bytes], *, deep: bool) -> Iterator[str]:
    """The models that an object chooses; if it must be, also those of the objects in it. Raises ValueError."""
    for name, value in fields.items():
        if value != b"null" and (name == MODEL or (deep and _CHOOSES_MODELS.fullmatch(name) and value[:1] in b'"[')):
            models = _models(value)
            if models is None:
                raise BadRequest("The `model` of a tool must be a model's id.", param="tools")
            yield from models
        elif deep:
            yield from _models_within(value)


def _models_within(value: bytes) -> Iterator[str]:
    """All models that are chosen in a value, however deep. Raises ValueError."""
    if value.startswith(b"{") and _is_telling(value):
        yield from _models_chosen(_fields(value), deep=True)
    else:
        for item in _telling_items(value):
            yield from _models_within(item)
