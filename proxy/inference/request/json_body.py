"""A JSON body: read the models it selects, and replace their ids in the original bytes."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Raw

from proxy.cooperative import Cooperative, run_now
from proxy.errors import BadRequest
from proxy.guards import GUARDED, MODEL, fold_name
from proxy.inference.request.body import SHORT, Body, Bytes, check_path_model, missing_model, search_in_steps
from proxy.inference.request.conversation import beginning_of, cache_key_of, first_messages_of
from proxy.inference.request.json_fields import Field
from proxy.inference.request.json_spans import MAX_NAME, TOO_MANY_VALUES, WHITESPACE, Span, decode_members
from proxy.inference.request.marks import UNTYPED_OBJECT, has_one_model_only
from proxy.inference.request.model_fields import ModelField, as_list, decode_models
from proxy.inference.request.selections import Selections
from proxy.inference.request.short_outline import outline_of
from proxy.inference.request.token_estimate import estimated_at_once, estimated_tokens

PLAIN = frozenset(
    {
        MODEL, "background", "betas", "chat_template_kwargs", "client_metadata", "context_management", "dimensions",
        "encoding_format", "frequency_penalty", "function_call", "functions", "include", "input", "instructions",
        "logit_bias", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls",
        "messages", "metadata", "min_p", "modalities", "n", "output_config", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "prompt_cache_retention", "provider", "reasoning", "reasoning_effort",
        "repetition_penalty", "response_format", "safety_identifier", "seed", "service_tier", "stop", "stop_sequences",
        "store", "stream", "stream_options", "system", "temperature", "text", "thinking", "tool_choice", "tools",
        "top_k", "top_logprobs", "top_p", "transforms", "truncation", "usage", "user", "verbosity",
    }
)  # fmt: skip
"""The fields of most calls. Of these, only `model`, and objects in `tools` and `input`, select models."""
_MAX_PLAIN = 1024 * 1024  # bytes of a body that is read on the fast path, in steps of at most a few milliseconds
_STEP = 256 * 1024  # bytes of a body that is read on the fast path without a yield
_MAX_MODELS = 2000
_ESCAPED = re.compile(rb"\\u00([2-7][0-9a-fA-F])")
"""Matches an escaped character of ASCII. Also one after an escaped backslash: ids contain no backslash."""
_ESCAPED_ID = re.compile(rb"\\u00(?:2[dD]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")
"""Matches an escaped character of most ids, which no client writes."""
_ESCAPE_LENGTH = len("\\u0000")
_MODEL_NAME = re.compile(rb'"model"%b:%b' % (WHITESPACE, WHITESPACE))


class JsonBody(Body):
    """A JSON object."""

    content_type = b"application/json"

    def __init__(self, body: bytes, *, path_model: str = "", default_model: str = "") -> None:
        """Read a body.

        `path_model`: the model that the path names; the body must name the same one or none. `default_model`: the model
        of a call that names none in the path or in the body. Raises BadRequest.
        """
        run_now(self._read(body, path_model, default_model))

    @classmethod
    def read(cls, body: bytes, *, path_model: str = "", default_model: str = "") -> Cooperative[JsonBody]:
        """Read a body in short steps. Otherwise as the constructor."""
        new = cls.__new__(cls)
        yield from new._read(body, path_model, default_model)
        return new

    def _read(self, body: bytes, path_model: str, default_model: str) -> Cooperative[None]:
        if body.startswith(BOM_UTF8):
            body = body[len(BOM_UTF8) :]  # .NET's UTF8 encoding writes it; not all providers ignore it (RFC 8259, 8.1)
        self._body = body
        self._model_fields: Sequence[ModelField] = ()
        self._beginning = b""
        self._unescaped: bytes | None = None
        try:
            has_one_model = len(body) <= _MAX_PLAIN and has_one_model_only(body)
            if has_one_model and len(body) > _STEP:
                yield
            if not (has_one_model and self._read_plain(body)):
                yield from self._check(path_model, default_model, has_one_model_only=has_one_model)
        except ValueError as error:
            raise BadRequest(f"The request body {error}.") from error
        check_path_model(path_model, self.model)

    def parts_with_ids(self, ids: Mapping[str, str]) -> Sequence[Bytes]:
        parts: list[Bytes] = []
        view, last = memoryview(self._body), 0
        for (start, end), models, prefix in self._model_fields:
            own_ids = ids[models] if isinstance(models, str) else [ids[model] for model in models]
            if own_ids != models:
                value = prefix + own_ids if isinstance(own_ids, str) else own_ids
                parts += (view[last:start], msgspec.json.encode(value))
                last = end
        return (*parts, view[last:]) if parts else (self._body,)

    @property
    def is_long(self) -> bool:
        return len(self._body) > SHORT

    def search(self, text: str) -> Cooperative[bool]:
        if self._unescaped is None:
            self._unescaped = yield from _unescaped(self._body)
        # A very long body is not unescaped: any text may be in one with escaped characters of ids.
        return not self._unescaped or (yield from search_in_steps(self._unescaped, text.encode()))

    def estimated_tokens(self) -> Cooperative[int]:
        return estimated_tokens(self._body)

    def estimated_at_once(self) -> int | None:
        return estimated_at_once(self._body)

    def discard(self) -> None:
        self._body = b""
        self._unescaped = None

    @property
    def cache_key(self) -> str:
        return cache_key_of(self._beginning or self._body)

    @property
    def first_messages(self) -> str:
        return first_messages_of(self._beginning or self._body)

    def _read_plain(self, body: bytes) -> bool:
        """Read a body with one mark of a model and no other; return False if it may have further guarded fields.

        The fast path for most bodies: their fields are not checked one by one.
        """
        values = _members_or_empty(body)
        model = decode_models(bytes(values.get(MODEL, b"")))
        name = _MODEL_NAME.search(body)
        if not isinstance(model, str) or name is None or not _is_plain(body, values):
            return False
        start = name.end()
        self._model_fields = (ModelField((start, start + len(values[MODEL])), model),)
        self.model, self.models = model, (model,)
        self.is_stream = self._requests_stream(bytes(values.get("stream", b"")))
        return True

    def _check(self, path_model: str, default_model: str, *, has_one_model_only: bool) -> Cooperative[None]:
        """Raises BadRequest and ValueError."""
        outline = outline_of(self._body, has_one_model_only=has_one_model_only)
        yield from outline.read()
        values = yield from outline.values_of(outline.start)
        absent_model = path_model or default_model
        if absent_model and self._is_null(values.get(MODEL)):
            self._body = _with_model(self._body, outline.start + 1, values, absent_model)
            yield from self._check(path_model, "", has_one_model_only=False)
            return
        check_names(values)
        selections = Selections(outline)
        yield from selections.read([Field(fold_name(name), *span) for name, span in values.items()])
        for model in selections.models.of_path:
            check_path_model(path_model, model)
        self._set_models(selections.models.all, values.get(MODEL))
        if len(self._body) > _MAX_PLAIN:
            self._beginning = beginning_of(self._body, values)
        self.references = selections.references
        self.is_stream = self._requests_stream(self._body[slice(*values.get("stream", (0, 0)))])

    @staticmethod
    def _requests_stream(value: bytes) -> bool:
        """Whether the value of `stream` requests a stream, b"" if there is none."""
        return value == b"true"

    def _is_null(self, span: Span | None) -> bool:
        return span is None or self._body.startswith(b"null", span[0])

    def _set_models(self, fields: Sequence[ModelField], span: Span | None) -> None:
        requested = [model for field in fields if field.span == span for model in as_list(field.models)]
        if not requested:
            raise missing_model()
        self._model_fields = fields
        further = (model for field in fields for model in as_list(field.models))
        self.models = tuple(dict.fromkeys([*requested, *further]))
        if len(self.models) > _MAX_MODELS:
            raise ValueError(TOO_MANY_VALUES)
        self.model = self.models[0]


def _unescaped(body: bytes) -> Cooperative[bytes]:
    """Return a body without escaped characters of ASCII; b"" for a very long one with escaped characters of ids."""
    if len(body) > _MAX_PLAIN:
        for start in range(0, len(body), SHORT):
            if _ESCAPED_ID.search(body, start, start + SHORT + _ESCAPE_LENGTH - 1):
                return b""
            yield
        return body
    pieces = []
    start = 0
    while start < len(body):
        end = start + SHORT
        last = body.rfind(b"\\", max(start + 1, end - _ESCAPE_LENGTH + 1), end)
        end = last if last >= 0 else end  # not within an escape
        pieces.append(_ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), body[start:end]))
        start = end
        if len(body) > SHORT:
            yield
    return b"".join(pieces)


def check_names(names: Iterable[str]) -> None:
    """Reject guarded names in other spellings, which some providers accept."""
    joined = "".join(names)
    if joined.islower() and joined.isascii() and joined.isidentifier():  # true for most bodies
        return
    for name in names:
        folded = fold_name(name)
        if folded in GUARDED and folded != name:
            message = f"Field names are case-sensitive: use `{folded}`, not `{name[:MAX_NAME]}`."
            raise BadRequest(message, param=folded)


def _with_model(body: bytes, start: int, values: Mapping[str, Span], model: str) -> bytes:
    """Return a body without a model with one: instead of `null`, or as the first field, at `start`."""
    view, value = memoryview(body), msgspec.json.encode(model)
    if MODEL in values:
        first, last = values[MODEL]
        return b"".join((view[:first], value, view[last:]))
    return b"".join((view[:start], b'"model":', value, b"," if values else b"", view[start:]))


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
    if not values.keys() <= PLAIN or ("input" in values and UNTYPED_OBJECT.search(bytes(values["input"]))):
        return False
    count = len(values)
    compact = 2 + count + (count - 1)  # braces, a colon in every field, a comma between fields
    spaced = compact + count + (count - 1)  # and a space after every colon and comma
    quotes = 2 * count
    return len(body) - sum(map(len, values.values())) - len("".join(values)) - quotes in (compact, spaced)
