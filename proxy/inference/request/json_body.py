"""A JSON body: the models it names, and the same bytes with other ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from proxy.errors import BadRequest
from proxy.inference.request.body import _GUARDED, CHOOSE_ELSEWHERE, MODEL, REFER_TO_STATE, Body, _folded, _no_model
from proxy.inference.request.guards import (
    _FUNCTIONS,
    HOLD_CHOICES,
    _fields,
    _models,
    _models_chosen,
    _models_within,
    _refers_to_state,
    _telling_items,
    _type,
)
from proxy.inference.request.json_spans import _BLANK, _TOO_MUCH, Span, _as_members, members
from proxy.inference.request.stored_refs import _MAY_NAME_KEPT, _names_kept

PLAIN = frozenset(
    {
        MODEL, "dimensions", "encoding_format", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "max_output_tokens", "max_tokens", "messages", "metadata", "n", "parallel_tool_calls", "presence_penalty",
        "reasoning_effort", "response_format", "seed", "stop", "stop_sequences", "stream", "stream_options", "system",
        "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
"""Fields of nearly all calls. None of them chooses a model or a place, or refers to state."""
_MAX_QUOTES = 250_000
_LONG = 1024 * 1024
_MODEL = re.compile(rb'"model"%b:%b' % (_BLANK, _BLANK))


class JsonBody(Body):
    """A JSON object."""

    content_type = b"application/json"
    _only: Span | None = None
    """Where the model stands, if that is all there is to look at."""

    def __init__(self, body: bytes) -> None:
        """Raises BadRequest."""
        self._body = body
        if self._is_plain():
            return
        try:
            if len(body) > _LONG and body.count(b'"') - body.count(rb"\"") > _MAX_QUOTES:
                raise ValueError(_TOO_MUCH)
            self._spans = members(body)
            self._look_at_names()
            self._look_into_tools()
            self.refers_to_state |= _names_kept(body)
        except ValueError as error:
            raise BadRequest(f"The body {error}. Send one JSON object that names a `model`.") from error

    def _is_plain(self) -> bool:
        """Whether it is a call as nearly all are, read without looking at each field: one model, nothing guarded.

        False says nothing but that a closer look is needed.
        """
        body = self._body
        # A name can be hidden only by an escape.
        if len(body) > _LONG or body.count(b'"model"') != 1 or rb"\u" in body or _MAY_NAME_KEPT.search(body):
            return False
        try:
            values = _as_members(body)
        except (ValueError, RecursionError):
            return False
        model = values.get(MODEL, b"")
        if not values.keys() <= PLAIN or not bytes(model).startswith(b'"'):
            return False
        # All bytes are accounted for: values, names with quotes, colons and commas, the latter with a blank behind
        # each or without. So hardly any name stands twice; one that slips through is in PLAIN, and chooses nothing.
        count = len(values)
        rest = len(body) - sum(map(len, values.values())) - len("".join(values)) - 2 * count
        if rest not in (2 * count + 1, 4 * count):
            return False
        found = _MODEL.search(body)
        models = _models(bytes(model))
        if found is None or models is None:
            return False
        self._only = (found.end(), found.end() + len(model))
        self.model = models[0]
        self.models = (self.model,)
        return True

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        body, moved = self._body, 0
        if self._only:
            own_id = ids[self.model]
            start, end = self._only
            return body if own_id == self.model else body[:start] + msgspec.json.encode(own_id) + body[end:]
        for name in sorted(self._named, key=self._spans.__getitem__):
            models = self._named[name]
            if all(ids[model] == model for model in models):
                continue
            start, end = self._spans[name]
            is_list = self._body.startswith(b"[", start)
            value = msgspec.json.encode([ids[model] for model in models] if is_list else ids[models[0]])
            body = body[: start + moved] + value + body[end + moved :]
            moved += len(value) - (end - start)
        return body

    def _look_at_names(self) -> None:
        named: dict[str, Sequence[str]] = {}
        for name in self._guarded():
            if self._value(name) == b"null":
                continue
            if name in CHOOSE_ELSEWHERE:
                raise BadRequest(f"`{name}` is not possible here: where a call goes is the proxy's choice.", param=name)
            if name in REFER_TO_STATE:
                self.refers_to_state = True
            else:
                named[name] = self._models_in(name)
        if not named.get(MODEL):
            raise _no_model()
        self._named = named
        self.model = named[MODEL][0]
        self.models = (self.model,)
        if len(named) > 1 or len(named[MODEL]) > 1:
            self.models = tuple(
                dict.fromkeys([*named[MODEL], *(model for models in named.values() for model in models)])
            )

    def _guarded(self) -> Sequence[str]:
        """The guarded names that it has. Raises BadRequest where one is written in other letters."""
        together = "".join(self._spans)
        if not (together.islower() and together.isascii() and together.isidentifier()):  # as a rule it is
            for name in self._spans:
                meant = _folded(name)
                if meant in _GUARDED and meant != name:
                    raise BadRequest(f"Write `{meant}` in exactly these letters.", param=meant)
        return [name for name in self._spans if name in _GUARDED]

    def _value(self, name: str) -> bytes:
        """The bytes of a field, b"" if there is none."""
        start, end = self._spans.get(name, (0, 0))
        return self._body[start:end]

    def _models_in(self, name: str) -> Sequence[str]:
        """The models that a field names: a string, or a list of strings."""
        models = _models(self._value(name))
        if models is None:
            raise BadRequest(f"`{name}` must be a model's id, or a list of such ids.", param=name)
        return models

    def _look_into_tools(self) -> None:
        """Tools choose models for themselves (Responses: `image_generation`), and refer to state, as input does."""
        found: list[str] = []
        for name in self._spans:
            if name in ("tools", "input"):
                for item in _telling_items(self._value(name)):
                    fields = _fields(item)
                    found += _models_chosen(fields, deep=_type(fields) not in _FUNCTIONS)
                    self.refers_to_state |= _refers_to_state(fields)
            elif name == "prompt":  # a text, or in Responses one that is kept
                self.refers_to_state |= self._value(name).startswith(b"{")
            elif name.lower() in HOLD_CHOICES:
                found += _models_within(self._value(name))
        self.models_of_tools = tuple(dict.fromkeys(found))
