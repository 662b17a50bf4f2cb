"""The values in a JSON request that select models: decoded, checked and bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from proxy.errors import BadRequest
from proxy.inference.request.body import MAX_MODEL_ID
from proxy.inference.request.json_fields import Field
from proxy.inference.request.json_spans import MAX_NAME, TOO_MANY_VALUES, Span

_MAX_MODELS = 2000
"""Values in one list of models."""
_MAX_MODEL_FIELDS = 20_000
_MAX_MODELS_LENGTH = 64 * 1024
"""Bytes of one model id or a list of them."""

Models = str | list[str]
"""A model id, or a list of them, as a field contains them."""
_decode_models: Callable[[bytes], Models] = msgspec.json.Decoder(Models).decode
_GEMINI_PREFIX = "models/"


class ModelField(NamedTuple):
    """A value that selects models."""

    span: Span
    models: Models
    prefix: str = ""
    """What precedes the id in the value: Gemini's resource names are `models/ID`."""


class ModelFields:
    """The values in a request that select models."""

    def __init__(self, text: bytes) -> None:
        self.all: list[ModelField] = []
        self.of_path: list[str] = []
        """Models in nested requests that must be the one of the path, if it names one."""
        self._text = text

    def select(self, field: Field, *, param: str = "") -> None:
        """Add a model or a list of them. Raises BadRequest if it is neither; `param` is named then."""
        models = self.models_in(field)
        if models is None:
            raise invalid_models(field.name, param)
        self._add(ModelField((field.start, field.end), models))

    def models_in(self, field: Field) -> Models | None:
        """Return the model or the models in a value, None if it is anything else."""
        is_short = field.end - field.start <= _MAX_MODELS_LENGTH
        return decode_models(self._text[field.start : field.end]) if is_short else None

    def select_of_path(self, field: Field) -> None:
        """Add a model that must be the one of the path. Raises BadRequest."""
        model = self.models_in(field)
        if not isinstance(model, str):
            raise invalid_models(field.name, "")
        prefix = _GEMINI_PREFIX if model.startswith(_GEMINI_PREFIX) else ""
        self._add(ModelField((field.start, field.end), model.removeprefix(prefix), prefix))
        self.of_path.append(model.removeprefix(prefix))

    def _add(self, field: ModelField) -> None:
        self.all.append(field)
        if len(self.all) > _MAX_MODEL_FIELDS or len(as_list(field.models)) > _MAX_MODELS:
            raise ValueError(TOO_MANY_VALUES)


def decode_models(value: bytes) -> Models | None:
    """Decode one model id or a list of them; None if the value is anything else, or a string cannot be an id."""
    try:
        models = _decode_models(value)
    except ValueError:
        return None
    return models if all(0 < len(model) <= MAX_MODEL_ID for model in as_list(models)) else None


def as_list(models: Models) -> list[str]:
    return [models] if isinstance(models, str) else models


def invalid_models(name: str, param: str) -> BadRequest:
    message = f"`{name[:MAX_NAME]}` must be a model id or a list of model ids."
    return BadRequest(message, param=param or name[:MAX_NAME])
