"""Find, at any depth of a JSON request, the models that it selects and whether it references stored state.

Only objects with a mark (a name that may select or reference something) are read, and only in fields that a provider
reads: names in schemas and in the arguments of tools are the caller's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from proxy.cooperative import Cooperative, run_now
from proxy.errors import BadRequest
from proxy.guards import (
    BATCH,
    CALLER_DATA,
    CALLER_NAMES,
    CALLER_TOOLS,
    CONTAIN_MODELS,
    CONTAINER,
    CONTINUE,
    COUNTED,
    EXTRA_BODY,
    FUNCTION_RESPONSES,
    MODEL,
    NOT_MODELS,
    PLACE,
    REFERENCE_STATE,
    SELECT_ANYWHERE,
    SELECT_MODELS,
    SELECT_UPSTREAM,
    TOOL_CALLS,
    names_models,
)
from proxy.inference.request.json_fields import Field, fields_of, is_null, text_of, texts_of, without_duplicates
from proxy.inference.request.json_outline import Outline
from proxy.inference.request.json_spans import MAX_NAME, TOO_MANY_VALUES
from proxy.inference.request.model_fields import ModelFields, invalid_models
from proxy.inference.request.stored_refs import UNKNOWN, item_references, own_ids, state_references

_MAX_OBJECTS = 50_000
"""Time depends on the number of objects that are read, not on the length: these take about 0.3 s."""
_MAX_FIELDS = 150_000
"""Fields of all these objects."""
_MAX_DEPTH = 64
"""Arrays and objects."""
_MAX_ALTERNATIVES = 500
"""Items in a list of models that are not all short ids."""
_ITERATION = 512  # bytes whose check takes as long as looking at one item
_OBJECT = 16 * 1024  # bytes whose check takes as long as reading one object with few fields

_Reader = Callable[["Selections", Sequence[Field]], None]
"""A method of `Selections` that reads the fields of one object, and schedules the objects in it."""


class Selections:
    """The models that a request selects, and whether it references stored state."""

    def __init__(self, outline: Outline) -> None:
        self.models = ModelFields(outline.text)
        self.references: set[str] = set()
        """Ids of the stored objects that the request references, as in `Body`."""
        self._outline = outline
        self._text = outline.text
        self._marks = outline.marks
        self._pending: list[tuple[_Reader, int, int]] = []
        self._depth = 0
        self._objects = 0
        self._fields = 0

    def read(self, outermost: Sequence[Field], *, has_model_in_path: bool = False) -> Cooperative[None]:
        """Read a request with these fields. Raises BadRequest, and ValueError as `Outline` does."""
        if has_model_in_path:
            self._read_counted_request(outermost)
        else:
            self._read_request(outermost, is_outermost=True)
        while self._pending:
            reader, start, self._depth = self._pending.pop()
            yield from self._read(reader, start)
        self.models.all.sort()

    def _read(self, reader: _Reader, start: int) -> Cooperative[None]:
        if self._depth > _MAX_DEPTH:
            raise ValueError("is nested too deeply")
        if self._text.startswith(b"{", start):
            fields = yield from fields_of(self._outline, start)
            self._fields += len(fields)
            if self._fields > _MAX_FIELDS:
                raise ValueError(TOO_MANY_VALUES)
            reader(self, fields)
        else:
            for inner in (yield from self._outline.containers_in(start)):
                self._read_later(reader, inner, self._outline.end_of(inner))
                if self._outline.spend(_ITERATION):
                    yield
        if self._outline.spend(_OBJECT):
            yield

    def _read_later(self, reader: _Reader, start: int, end: int) -> None:
        """Schedule the objects in a value, unless they cannot contain anything that the reader extracts."""
        if self._text.startswith((b"{", b"["), start) and self._is_relevant(reader, start, end):
            self._objects += 1
            if self._objects > _MAX_OBJECTS:
                raise ValueError(TOO_MANY_VALUES)
            self._pending.append((reader, start, self._depth + 1))

    def _is_relevant(self, reader: _Reader, start: int, end: int) -> bool:
        if reader is Selections._read_data:
            return self._marks.has_reference(start, end)
        if reader is Selections._read_item:
            return self._marks.has_any(start, end) or self._marks.has_untyped(start, end)
        return reader not in (Selections._read_tool, Selections._read_options) or self._marks.has_any(start, end)

    # Requests

    def _read_request(self, fields: Sequence[Field], *, is_outermost: bool = False) -> None:
        self._read_references(fields, is_outermost=is_outermost)
        for field in fields:
            self._read_request_field(field, Selections._read_data)

    def _read_extra_body(self, fields: Sequence[Field]) -> None:
        """Read `extra_body` or an object in it: gateways merge it into the request, whole or by provider."""
        self._read_references(fields)
        for field in fields:
            if PLACE.fullmatch(field.name) and not is_null(self._text, field):
                raise _selects_upstream(field.name)
            self._read_request_field(field, Selections._read_extra_body)

    def _read_counted_request(self, fields: Sequence[Field]) -> None:
        """Read a request whose model providers also read from the path (Gemini)."""
        for field in fields:
            if field.name == MODEL and not is_null(self._text, field):
                self.models.select_of_path(field)
        self._read_request([field for field in fields if field.name != MODEL])

    def _read_batch_item(self, fields: Sequence[Field]) -> None:
        for field in fields:
            if field.name == "params":
                self._read_later(Selections._read_request, field.start, field.end)
        self._read_counted_request([field for field in fields if field.name != "params"])

    def _read_alternative(self, fields: Sequence[Field]) -> None:
        """Read an object in a list of models: a model, and fields that replace those of the request (LiteLLM)."""
        named = [field for field in fields if field.name == MODEL] or [field for field in fields if field.name == "id"]
        if not named or not all(self._text.startswith(b'"', field.start) for field in named):
            raise BadRequest("An object in a list of models must have a `model` field with an id.", param="models")
        for field in named:
            self.models.select(field)
        self._read_request([field for field in fields if field not in named])

    def _read_request_field(self, field: Field, others: _Reader) -> None:
        """Read a field of a request; `others` reads the objects in fields without a meaning of their own."""
        name, start, end = field
        if is_null(self._text, field) or name in CALLER_DATA:
            return
        if name in SELECT_UPSTREAM:
            raise _selects_upstream(name)
        if name == MODEL:
            self.models.select(field)
        elif name in SELECT_MODELS:
            self._select_alternatives(field)
        elif name in CONTINUE:
            self._read_identified(field, Selections._read_conversation)
        elif name in REFERENCE_STATE - {"agent"}:
            if not self._is_empty(field):
                self.references.add(UNKNOWN)
        elif name in ("agent", "prompt"):  # a string, or in Responses an object that references a stored one
            if self._text.startswith(b"{", start):
                self.references.add(UNKNOWN)
        else:
            if name == CONTAINER:
                self._read_container(field)
            self._read_later(_READERS.get(name, others), start, end)

    # Tools, items of `input`, and others

    def _read_tool(self, fields: Sequence[Field]) -> None:
        self._read_tool_references(without_duplicates(fields))
        of_caller = CALLER_TOOLS.issuperset(texts_of(self._text, fields, "type"))
        for field in fields:
            if field.name == MODEL and not is_null(self._text, field):
                self.models.select(field, param="tools")
            elif field.name == "tools":
                self._read_later(Selections._read_tool, field.start, field.end)
            elif not of_caller:
                self._read_option(field)
            elif field.name not in CALLER_DATA:
                self._read_later(Selections._read_data, field.start, field.end)

    def _read_options(self, fields: Sequence[Field]) -> None:
        """Read an object from which the provider reads models under many names."""
        self._read_tool_references(without_duplicates(fields))
        for field in fields:
            if field.name == "tools":
                self._read_later(Selections._read_tool, field.start, field.end)
            else:
                self._read_option(field)

    def _read_option(self, field: Field) -> None:
        if names_models(field.name) and self._text.startswith((b'"', b"["), field.start):
            self._select_alternatives(field)
        elif field.name == MODEL and not is_null(self._text, field) and not self._text.startswith(b"{", field.start):
            raise invalid_models(field.name, "tools")
        elif field.name not in CALLER_NAMES:
            self._read_later(Selections._read_options, field.start, field.end)

    def _read_item(self, fields: Sequence[Field]) -> None:
        """Read an item of `input`: no provider reads a model from it, but from the tools that some types contain."""
        self._read_tool_references(fields)
        self.references.update(item_references(self._text, fields))
        tools = [field for field in fields if field.name == "tools"]
        for field in tools:
            self._read_later(Selections._read_tool, field.start, field.end)
        self._read_objects([field for field in fields if field not in tools])

    def _read_data(self, fields: Sequence[Field]) -> None:
        """Read an object from which the provider reads only references."""
        self._read_references(fields)
        self._read_objects(fields)

    def _read_objects(self, fields: Sequence[Field]) -> None:
        types = texts_of(self._text, fields, "type")
        is_tool_call = bool(types) and TOOL_CALLS.issuperset(types)
        for field in fields:
            if field.name in FUNCTION_RESPONSES:
                self._read_later(Selections._read_function_response, field.start, field.end)
            elif field.name not in CALLER_DATA and not (is_tool_call and field.name == "input"):
                self._read_later(Selections._read_data, field.start, field.end)

    def _read_function_response(self, fields: Sequence[Field]) -> None:
        """Read what a function has returned (Gemini): `response` is the caller's data, `parts` can refer to files."""
        self._read_data([field for field in fields if field.name != "response"])

    # Stored state

    def _read_references(self, fields: Sequence[Field], *, is_outermost: bool = False) -> None:
        """Read the references to stored objects in the fields of one object."""
        self.references.update(state_references(self._text, fields))
        for field in fields:
            if field.name in SELECT_ANYWHERE and not is_null(self._text, field):
                raise _selects_upstream(field.name)
        if is_outermost:
            return  # `audio` has the settings of the response; in a message, an earlier response
        for field in fields:
            if field.name == "audio" and self._text.startswith(b"{", field.start):
                self._read_later(Selections._read_stored, field.start, field.end)

    def _read_tool_references(self, fields: Sequence[Field]) -> None:
        self._read_references(fields)
        for field in fields:
            if field.name == CONTAINER:
                self._read_container(field)

    def _read_container(self, field: Field) -> None:
        """Read the id in `container`; an object without an id is a new one, with the given skills."""
        if self._text.startswith((b'"', b"{"), field.start):
            self._read_identified(field, Selections._read_stored)

    def _read_identified(self, field: Field, reader: _Reader) -> None:
        """Read a reference: an id, or an object with an id, which the reader reads."""
        if self._text.startswith(b"{", field.start):
            self._read_later(reader, field.start, field.end)
        elif not self._is_empty(field):
            self.references.add(text_of(self._text, field))

    def _is_empty(self, field: Field) -> bool:
        """Whether a value is "", which clients send for a field that is not set."""
        return self._text.startswith(b'""', field.start)

    def _read_stored(self, fields: Sequence[Field]) -> None:
        self.references.update(own_ids(self._text, fields))

    def _read_conversation(self, fields: Sequence[Field]) -> None:
        self.references.update([*own_ids(self._text, fields)] or [UNKNOWN])

    # Models

    def _select_alternatives(self, field: Field) -> None:
        """Read a model, or a list of models and of objects with a model."""
        name, start, _ = field
        models = self.models.models_in(field)
        if isinstance(models, str) and models in NOT_MODELS.get(name, ()):
            return
        if models is not None or not self._text.startswith(b"[", start):
            self.models.select(field)
            return
        for first, last in run_now(self._outline.items_in(start, _MAX_ALTERNATIVES)):
            item = Field(name, first, last)
            if self._text.startswith(b"{", item.start):
                self._read_later(Selections._read_alternative, item.start, item.end)
            elif self._text.startswith(b'"', item.start):
                self.models.select(item)
            else:
                raise invalid_models(name, name)


_READERS: Mapping[str, _Reader] = {
    EXTRA_BODY: Selections._read_extra_body,
    **dict.fromkeys(COUNTED, Selections._read_counted_request),
    BATCH: Selections._read_batch_item,
    "tools": Selections._read_tool,
    "input": Selections._read_item,
    **dict.fromkeys(CONTAIN_MODELS, Selections._read_options),
}
"""Field of a request -> reads the objects in it."""


def _selects_upstream(name: str) -> BadRequest:
    return BadRequest(f"`{name[:MAX_NAME]}` is not allowed: the proxy selects the upstream.", param=name[:MAX_NAME])
