"""Bodies of calls, read without being rebuilt: which models they name, and the same bytes with other ids.

A body comes from outside and goes to a parser that is not ours. Whatever two parsers could read in two ways is
refused: a name that stands twice, a guarded name in other letters (Go's JSON reads `Model` as `model`), a form
with more than one meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from proxy.errors import BadRequest

MODEL = "model"
CHOOSE_MODELS = frozenset({"models", "fallbacks", "fallback_models", "route"})
"""Fields that name further models: a model, or a list of models."""
CHOOSE_ELSEWHERE = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "model_list", "user_config",
        "context_window_fallbacks", "content_policy_fallbacks",
    }
)  # fmt: skip
"""Fields that choose a place, or models in words that are not ours (LiteLLM, and what is made of it)."""
REFER_TO_STATE = frozenset({"previous_response_id", "conversation", "container"})
"""Fields that name something which a provider keeps for its account."""
_GUARDED = CHOOSE_MODELS | CHOOSE_ELSEWHERE | REFER_TO_STATE | {MODEL}

_BLANK = rb"[ \t\r\n]*+"
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string as JSON writes it."""
_NEXT_NAME = re.compile(rb"%b[{,]%b(%b)%b:%b" % (_BLANK, _BLANK, STRING, _BLANK, _BLANK))
_END = re.compile(rb"%b\{?%b\}%b" % (_BLANK, _BLANK, _BLANK))
_HALF_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
# What may make a tool choose a model or refer to state, or may hide that.
_TELLING = re.compile(rb'(?i)"model|"vector_store_ids|"container|item_reference|\\u')
_BOUNDARY = re.compile(
    rb'(?i)multipart/form-data[ \t]*;[ \t]*boundary=(?:"([^"\\]{1,70})"|([!#-\'*+.0-9A-Z^-~/:=?()-]{1,70}))[ \t]*;?'
)
_DISPOSITION = re.compile(
    rb'(?i)content-disposition:[ \t]*form-data[ \t]*;[ \t]*name="([^"\\\r\n]*)"'
    rb'(?:[ \t]*;[ \t]*filename="[^"\r\n]*")?(?:[ \t]*;[ \t]*filename\*=[^\s;"]*)?[ \t]*'
)
_PART_HEADER = re.compile(rb"(?i)(?:content-type|content-length|mime-version)[ \t]*:[^\r\n]*")
_LONGEST_PART_HEAD = 8 * 1024
_MOST_PARTS = 1000

Span = tuple[int, int]
_members = msgspec.json.Decoder(dict[str, Raw]).decode


class Body:
    """A call's body."""

    content_type: bytes
    model: str
    """The first model it names."""
    models: tuple[str, ...]
    """All models it names."""
    models_of_tools: tuple[str, ...] = ()
    """Further ones that cannot be renamed: the provider must know them by the ids that the caller uses."""
    refers_to_state = False
    """Whether it names something that a provider keeps for its account."""

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        """The same bytes, with other ids for its models."""
        raise NotImplementedError


def members(body: bytes) -> dict[str, Span]:
    """The members of a JSON object: name -> where in the body its value begins and ends.

    Raises ValueError where it is none, or where a name stands twice.
    """
    values, plain = _decoded(body)
    spans: dict[str, Span] = {}
    end = 0
    for _ in range(len(values)):
        found = _NEXT_NAME.match(plain, end)
        # Of a name that stands twice only the last value is known. The first has other bytes, or else the name comes
        # again: no JSON value is the beginning of another one, but for numbers, behind which no name comes.
        name = _text(found[1]) if found else ""
        if found is None or name in spans or not plain.startswith(values[name], found.end()):
            raise ValueError("a name stands twice")
        end = found.end() + memoryview(values[name]).nbytes
        spans[name] = (found.end(), end)
    if not _END.fullmatch(plain, end):
        raise ValueError("a name stands twice")
    return spans


def _decoded(body: bytes) -> tuple[Mapping[str, Raw], bytes]:
    """The members, and the bytes they were read from: as long as the body, and like it but for halves of characters.

    Programs that cut texts leave such halves; most parsers take them.
    """
    try:
        return _members(body), body
    except (msgspec.DecodeError, UnicodeDecodeError):
        plain = _HALF_CHARACTER.sub(rb"\\u0020", body)
    return _members(plain), plain


def _text(encoded: bytes) -> str:
    if b"\\" not in encoded:
        return encoded[1:-1].decode()
    return msgspec.json.decode(encoded, type=str)


class JsonBody(Body):
    """A JSON object."""

    content_type = b"application/json"

    def __init__(self, body: bytes) -> None:
        """Raises BadRequest."""
        self._body = body
        try:
            self._spans = members(body)
        except (ValueError, RecursionError) as error:
            words = "names a field twice" if "twice" in str(error) else "is no JSON object"
            raise BadRequest(f"The body {words}. Send one JSON object that names a `model`.") from error
        self._check_names()
        self._named = {name: self._models_in(name) for name in self._spans if name == MODEL or name in CHOOSE_MODELS}
        if not self._named.get(MODEL):
            raise _no_model()
        tools = self._tools()
        self.models = tuple(dict.fromkeys([*self._named[MODEL], *(m for named in self._named.values() for m in named)]))
        self.model = self.models[0]
        self.models_of_tools = tuple(_models_of(tools))
        self.refers_to_state = any(self._given(name) for name in REFER_TO_STATE) or self._items_refer_to_state(tools)

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        body, moved = self._body, 0
        for name in sorted(self._named, key=self._spans.__getitem__):
            models = self._named[name]
            if all(ids[model] == model for model in models):
                continue
            start, end = self._spans[name]
            is_list = self._body[start : start + 1] == b"["
            value = msgspec.json.encode([ids[model] for model in models] if is_list else ids[models[0]])
            body = body[: start + moved] + value + body[end + moved :]
            moved += len(value) - (end - start)
        return body

    def _check_names(self) -> None:
        for name in self._spans:
            if name in CHOOSE_ELSEWHERE and self._given(name):
                raise BadRequest(f"`{name}` is not possible here: where a call goes is the proxy's choice.", param=name)
            if name not in _GUARDED and name.casefold() in _GUARDED:
                raise BadRequest(f"Write `{name.casefold()}` in exactly these letters.", param=name.casefold())

    def _given(self, name: str) -> bool:
        return name in self._spans and self._value(name) != b"null"

    def _value(self, name: str) -> bytes:
        start, end = self._spans[name]
        return self._body[start:end]

    def _models_in(self, name: str) -> Sequence[str]:
        """The models that a field names: a string, or a list of strings."""
        if not self._given(name):
            return ()
        value = _plain(self._value(name))
        models = [value] if isinstance(value, str) else value
        if not isinstance(models, list) or not all(isinstance(model, str) and model for model in models):
            raise BadRequest(f"`{name}` must be a model's id, or a list of such ids.", param=name)
        return models

    def _tools(self) -> Sequence[Mapping[str, Any]]:
        """The tools and input items, where one of them may choose a model or refer to state; as a rule none does."""
        found: list[Mapping[str, Any]] = []
        for name in ("tools", "input"):
            value = self._value(name) if name in self._spans else b""
            if value.startswith(b"[") and _TELLING.search(value):
                items = _plain(value)
                found += [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        return found

    def _items_refer_to_state(self, items: Sequence[Mapping[str, Any]]) -> bool:
        return any(
            item.get("type") == "item_reference"
            or item.get("vector_store_ids")
            or isinstance(item.get("container"), str)
            for item in items
        )


def _models_of(tools: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Models that tools choose for themselves (Responses: `image_generation`)."""
    for tool in tools:
        for name, value in tool.items():
            if name.casefold() == MODEL and value is not None:
                if not isinstance(value, str):
                    raise BadRequest("The `model` of a tool must be a model's id.", param="tools")
                yield value


def _plain(value: bytes) -> Any:
    try:
        return msgspec.json.decode(_HALF_CHARACTER.sub(rb"\\u0020", value))
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is no JSON object that can be read.") from error


def _no_model() -> BadRequest:
    return BadRequest("The body names no `model`. Name one that GET /v1/models lists.", param=MODEL)


class FormBody(Body):
    """A form (multipart/form-data, RFC 7578), taken only as clients write it: every field with one plain name."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        """Raises BadRequest."""
        said = _BOUNDARY.fullmatch(content_type.strip())
        if said is None:
            raise BadRequest(
                "The content-type of a form must be multipart/form-data with one boundary and nothing else."
            )
        boundary = said[1] or said[2]
        self.content_type = b'multipart/form-data; boundary="%b"' % boundary
        self._body = body
        fields = [(name, span) for name, span in _parts(body, b"--" + boundary) if _field(name) in _GUARDED]
        if not fields:
            raise _no_model()
        if [name for name, _ in fields] != [MODEL]:
            names = ", ".join(sorted({name[:40] for name, _ in fields}))
            raise BadRequest(
                f"The form must name one `model`, once, and nothing that chooses otherwise; found {names}."
            )
        ((_, self._span),) = fields
        try:
            self.model = body[slice(*self._span)].decode()
        except UnicodeDecodeError as error:
            raise BadRequest("The form's `model` is not UTF-8.", param=MODEL) from error
        if not self.model:
            raise _no_model()
        self.models = (self.model,)

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        start, end = self._span
        return (
            self._body
            if ids[self.model] == self.model
            else (self._body[:start] + ids[self.model].encode() + self._body[end:])
        )


def _parts(body: bytes, delimiter: bytes) -> Iterator[tuple[str, Span]]:
    """The fields of a form: name -> where in the body its content begins and ends. Raises BadRequest."""
    if not body.startswith(delimiter) or body.count(b"\r\n" + delimiter) > _MOST_PARTS:
        raise BadRequest("The form does not begin with its boundary, or has far too many fields.")
    at = len(delimiter)
    while not re.compile(rb"--[ \t]*(?:\r\n)?").fullmatch(body, at):
        head_ends = body.find(b"\r\n\r\n", at, at + _LONGEST_PART_HEAD)
        end = body.find(b"\r\n" + delimiter, at)
        if body[at : at + 2] != b"\r\n" or not at < head_ends < end:
            raise BadRequest("The form cannot be read: a field has no head, or no end.")
        yield _name_of(body[at + 2 : head_ends]), (head_ends + 4, end)
        at = end + 2 + len(delimiter)


def _name_of(head: bytes) -> str:
    lines = head.split(b"\r\n")
    names = [named[1] for line in lines if (named := _DISPOSITION.fullmatch(line))]
    others = [line for line in lines if not _DISPOSITION.fullmatch(line)]
    if len(names) != 1 or not all(_PART_HEADER.fullmatch(line) for line in others):
        raise BadRequest('The form cannot be read: each field needs `Content-Disposition: form-data; name="..."`.')
    return names[0].decode("utf-8", "replace")


def _field(name: str) -> str:
    """What a field's name may mean to whoever reads the form: `models[0]` is `models`."""
    return re.split(r"[\[.]", name, maxsplit=1)[0].strip().casefold()
