"""A JSON body: read the models it selects, and replace their ids in the original bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw

from proxy.errors import BadRequest
from proxy.inference.request.body import MODEL, Body, check_path_model, missing_model
from proxy.inference.request.guards import (
    CONTAIN_MODELS,
    GUARDED,
    REFERENCE_STATE,
    SELECT_UPSTREAM,
    Models,
    as_list,
    decode_models,
    fold_name,
    models_of_tool,
    nested_models,
    references_state,
    suspicious_objects,
)
from proxy.inference.request.json_spans import (
    MAX_NAME,
    TOO_MANY_VALUES,
    WHITESPACE,
    Span,
    decode_members,
    member_spans,
)
from proxy.inference.request.stored_refs import may_reference_stored_state, references_stored_state

PLAIN = frozenset(
    {
        MODEL, "dimensions", "encoding_format", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "max_output_tokens", "max_tokens", "messages", "metadata", "n", "parallel_tool_calls", "presence_penalty",
        "reasoning_effort", "response_format", "seed", "stop", "stop_sequences", "stream", "stream_options", "system",
        "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
"""The fields of most calls. None of them but `model` selects a model or an upstream, or references state."""
_MAX_QUOTES = 250_000
_LONG = 1024 * 1024
_MODEL_NAME = re.compile(rb'"model"%b:%b' % (WHITESPACE, WHITESPACE))


_ModelField = tuple[Span, Models]
"""A field that selects models: where its value is, and the ids in it."""


class JsonBody(Body):
    """A JSON object."""

    content_type = b"application/json"

    def __init__(self, body: bytes, *, path_model: str = "", default_model: str = "") -> None:
        """Read a body.

        `path_model`: the model that the path names; the body must name the same one or none. `default_model`: the model
        of a call that names none in the path or in the body. Raises BadRequest.
        """
        self._body = body
        self._model_fields: Sequence[_ModelField] = ()
        if not self._read_plain(body):
            try:
                self._check(path_model or default_model)
            except ValueError as error:
                raise BadRequest(f"The request body {error}.") from error
        check_path_model(path_model, self.model)

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        body = self._body
        for (start, end), models in reversed(self._model_fields):  # the last one first: earlier spans stay valid
            own_ids = ids[models] if isinstance(models, str) else [ids[model] for model in models]
            if own_ids != models:
                body = body[:start] + msgspec.json.encode(own_ids) + body[end:]
        return body

    def _read_plain(self, body: bytes) -> bool:
        """Read a body with one model and without guarded fields; return False if that is not certain.

        The fast path for most bodies: their fields are not checked one by one.
        """
        # Only an escape can hide a name.
        if len(body) > _LONG or body.count(b'"model"') != 1 or rb"\u" in body or may_reference_stored_state(body):
            return False
        values = _members_or_empty(body)
        model = decode_models(bytes(values.get(MODEL, b"")))
        name = _MODEL_NAME.search(body)
        if not isinstance(model, str) or name is None or not _is_plain(body, values):
            return False
        start = name.end()
        self._model_fields = (((start, start + len(values[MODEL])), model),)
        self.model, self.models = model, (model,)
        return True

    def _check(self, absent_model: str) -> None:
        body = self._body
        if len(body) > _LONG and body.count(b'"') - body.count(rb"\"") > _MAX_QUOTES:
            raise ValueError(TOO_MANY_VALUES)
        self._spans = member_spans(body)
        if absent_model and self._value_or_null(MODEL) == b"null":
            self._body = _with_model(body, self._spans, absent_model)
            self._spans = member_spans(self._body)
        self._check_names()
        self._check_guarded_fields()
        self._check_nested_fields()
        self.refers_to_state |= references_stored_state(body)

    def _check_names(self) -> None:
        """Reject guarded names in other spellings, which some providers accept."""
        names = "".join(self._spans)
        if names.islower() and names.isascii() and names.isidentifier():  # true for most bodies
            return
        for name in self._spans:
            folded = fold_name(name)
            if folded in GUARDED and folded != name:
                message = f"Field names are case-sensitive: use `{folded}`, not `{name[:MAX_NAME]}`."
                raise BadRequest(message, param=folded)

    def _check_guarded_fields(self) -> None:
        fields: dict[str, _ModelField] = {}
        for name in self._spans:
            if name not in GUARDED or self._value(name) == b"null":
                continue
            if name in SELECT_UPSTREAM:
                raise BadRequest(f"`{name}` is not allowed: the proxy selects the upstream.", param=name)
            if name in REFERENCE_STATE:
                self.refers_to_state = True
            else:
                fields[name] = self._spans[name], self._models_in(name)
        self._set_models(fields)

    def _set_models(self, fields: Mapping[str, _ModelField]) -> None:
        _, requested = fields.get(MODEL, (None, []))
        if not requested:
            raise missing_model()
        self._model_fields = tuple(fields.values())
        further = (model for _, models in self._model_fields for model in as_list(models))
        self.models = tuple(dict.fromkeys([*as_list(requested), *further]))
        self.model = self.models[0]

    def _check_nested_fields(self) -> None:
        """Find models and state in nested objects: tools select models (Responses: `image_generation`)."""
        models: list[str] = []
        for name in self._spans:
            if name in ("tools", "input"):
                for fields in suspicious_objects(self._value(name)):
                    models += models_of_tool(fields)
                    self.refers_to_state |= references_state(fields)
            elif name == "prompt":  # a string, or in Responses an object that references a stored prompt
                self.refers_to_state |= self._value(name).startswith(b"{")
            elif name.lower() in CONTAIN_MODELS:
                models += nested_models(self._value(name))
        self.models_of_tools = tuple(dict.fromkeys(models))

    def _value(self, name: str) -> bytes:
        start, end = self._spans[name]
        return self._body[start:end]

    def _value_or_null(self, name: str) -> bytes:
        return self._value(name) if name in self._spans else b"null"

    def _models_in(self, name: str) -> Models:
        models = decode_models(self._value(name))
        if models is None:
            raise BadRequest(f"`{name}` must be a model id or a list of model ids.", param=name)
        return models


def _with_model(body: bytes, spans: Mapping[str, Span], model: str) -> bytes:
    """Return a body without a model with one: instead of `null`, or as the first field."""
    value = msgspec.json.encode(model)
    if MODEL in spans:
        start, end = spans[MODEL]
        return body[:start] + value + body[end:]
    start = body.index(b"{") + 1
    return body[:start] + b'"model":' + value + (b"," if spans else b"") + body[start:]


def _members_or_empty(body: bytes) -> Mapping[str, Raw]:
    try:
        return decode_members(body)
    except (ValueError, RecursionError):
        return {}


def _is_plain(body: bytes, values: Mapping[str, Raw]) -> bool:
    """Return whether all fields are in `PLAIN`, and the object has one of two layouts, so that no field is duplicate.

    The layouts are compact, `{"a":1,"b":2}`, and spaced, `{"a": 1, "b": 2}`. `values` has only the last value of a
    duplicate field; the bytes of the first one do not fit the layout. If they fit by chance, it is harmless: the field
    is in `PLAIN` and is not `model`, which occurs once.
    """
    if not values.keys() <= PLAIN:
        return False
    count = len(values)
    compact = 2 + count + (count - 1)  # braces, a colon in every field, a comma between fields
    spaced = compact + count + (count - 1)  # and a space after every colon and comma
    quotes = 2 * count
    return len(body) - sum(map(len, values.values())) - len("".join(values)) - quotes in (compact, spaced)
