"""Bodies of calls, read without being rebuilt: which models they name, and the same bytes with other ids.

A body comes from outside and goes to a parser that is not ours. Whatever two parsers could read in two ways is
refused: a name that stands twice, a guarded name in other letters (Go's JSON reads `Model` as `model`), a form
with more than one meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from proxy.errors import BadRequest

T = TypeVar("T")

MODEL = "model"
CHOOSE_MODELS = frozenset({"models", "fallbacks", "fallback_models", "route"})
"""Fields that name further models: a model, or a list of models."""
CHOOSE_ELSEWHERE = frozenset(
    {
        "api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "model_list", "user_config",
        "context_window_fallbacks", "content_policy_fallbacks", "extra_body",
    }
)  # fmt: skip
"""Fields that choose a place, or models in words that are not ours (LiteLLM, and what is made of it)."""
REFER_TO_STATE = frozenset({"previous_response_id", "conversation", "container", "preset"})
"""Fields that name something which a provider keeps for its account."""
HOLD_CHOICES = frozenset({"plugins", "compound_custom", "provider_options", "provideroptions"})
"""Fields in which models may be chosen (OpenRouter, Groq, Vercel), in any letters."""
PLAIN = frozenset(
    {
        MODEL, "dimensions", "encoding_format", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "max_output_tokens", "max_tokens", "messages", "metadata", "n", "parallel_tool_calls", "presence_penalty",
        "reasoning_effort", "response_format", "seed", "stop", "stop_sequences", "stream", "stream_options", "system",
        "temperature", "tool_choice", "top_k", "top_logprobs", "top_p", "user",
    }
)  # fmt: skip
"""Fields of nearly all calls. None of them chooses a model or a place, or refers to state."""
_GUARDED = CHOOSE_MODELS | CHOOSE_ELSEWHERE | REFER_TO_STATE | {MODEL}

_LONGEST_ID = 1000
"""Characters of a model's id: it is repeated in refusals."""
_MOST_MEMBERS = 1000
_MOST_QUOTES = 250_000
_MOST_COMMAS = 500_000
_MOST_OBJECTS = 50_000
"""Not the length of a body but the number of its values makes it slow to read: beyond these, more than 100 ms."""
_LONG = 1024 * 1024

_BLANK = rb"[ \t\r\n]*+"
STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A string as JSON writes it."""
_NEXT_NAME = re.compile(rb"%b[{,]%b(%b)%b:%b" % (_BLANK, _BLANK, STRING, _BLANK, _BLANK))
_MODEL = re.compile(rb'"model"%b:%b' % (_BLANK, _BLANK))
_NEXT_ITEM = re.compile(rb"%b[\[,]%b" % (_BLANK, _BLANK))
_END = re.compile(rb"%b\{?%b\}%b" % (_BLANK, _BLANK, _BLANK))

_TELLING = (b"model", b"tore_id", b'"container"', b'"item_reference"', rb"\u")
"""What an item that chooses a model or refers to state has in it, in small letters: the name, or what may hide it.
(Without the s of `vector_store_ids`: there are two more letters that may stand for it.)"""
_CHOOSES_MODELS = re.compile(r"(?:.*_)?models?", re.DOTALL)
_FUNCTIONS = frozenset({"", "function", "custom"})
"""Types of tools whose models, if they have any, are parameters of the caller's own functions."""

_KEPT = frozenset({"file_id", "file_ids", "container_id"})
"""Names that stand for something kept, wherever they stand."""
_MAY_NAME_KEPT = re.compile(rb'(?i)"(?:file_id[^"]{0,4}"\s*:\s*["\[]|container_id"\s*:\s*["\[]|audio"\s*:\s*\{)')
_END_OF_TEXT = re.compile(STRING.removeprefix(b'"') + _BLANK + b"(:?)", re.DOTALL)
_CALLERS_OWN = frozenset(
    {
        "annotations", "arguments", "citations", "examples", "guided_json", "input_examples", "input_schema",
        "json_schema", "metadata", "outputSchema", "output_schema", "parameters", "results", "schema",
    }
)  # fmt: skip
"""Names of what is the caller's own, or only tells where something came from: no provider looks for files in it."""
_USES_OF_TOOLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})

Span = tuple[int, int]
_as_members = msgspec.json.Decoder(dict[str, Raw]).decode
_as_items = msgspec.json.Decoder(list[Raw]).decode
_as_text = msgspec.json.Decoder(str).decode
_as_texts = msgspec.json.Decoder(list[str]).decode


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

    Raises ValueError where it is none, or where a name stands twice; its words go on after "the body".
    """
    values, plain = _read(body, _as_members)
    if len(values) > _MOST_MEMBERS:
        raise ValueError("has far too many fields")
    spans: dict[str, Span] = {}
    end = 0
    for _ in values:
        found = _NEXT_NAME.match(plain, end)
        if found is None:
            raise ValueError(_TWICE)
        name, start = _name(found[1]), found.end()
        # Of a name that stands twice only the last value is known. The first has other bytes, or else the name comes
        # again: no JSON value is the beginning of another one, but for numbers, behind which no name comes.
        if name in spans or not plain.startswith(values[name], start):
            raise ValueError(_TWICE)
        end = start + len(values[name])
        spans[name] = (start, end)
    if not _END.fullmatch(plain, end):
        raise ValueError(_TWICE)
    return spans


def _items(array: bytes) -> Iterator[bytes]:
    """The items of a JSON array. Raises ValueError."""
    if array.count(b",") > _MOST_COMMAS:
        raise ValueError(_TOO_MUCH)
    values, plain = _read(array, _as_items)
    end = 0
    for value in values:
        found = _NEXT_ITEM.match(plain, end)
        start = found.end() if found else end
        end = start + len(value)
        yield array[start:end]


def _read(body: bytes, decode: Callable[[bytes], T]) -> tuple[T, bytes]:
    """What is in it, and the bytes it was read from: as long as the body, and like it but for some letters.

    Programs that cut texts leave halves of characters (`\ud83d`), and most parsers take them. Here they are read as
    letters that stand in no name that matters.
    """
    plain = body
    try:
        try:
            return decode(body), body
        except ValueError:
            plain = body.replace(rb"\ud", rb"\uc").replace(rb"\uD", rb"\uC")
            if plain == body:
                raise
        return decode(plain), plain
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON object") from error


_TWICE = "names a field twice"
_TOO_MUCH = "has far too many values"


def _name(encoded: bytes) -> str:
    return encoded[1:-1].decode() if b"\\" not in encoded else _as_text(encoded)


def _folded(name: str) -> str:
    """What a name may be to a parser that takes all letters alike, or ends a text at a zero."""
    return name.partition("\0")[0].casefold()


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
            if len(body) > _LONG and body.count(b'"') - body.count(rb"\"") > _MOST_QUOTES:
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


def _models(value: bytes) -> Sequence[str] | None:
    """The ids in a string or a list of strings; None where it is neither, or where one cannot be an id."""
    try:
        models = _as_texts(value) if value.startswith(b"[") else [_as_text(value)]
    except ValueError:
        return None
    return models if all(0 < len(model) <= _LONGEST_ID for model in models) else None


def _telling_items(value: bytes) -> Iterator[bytes]:
    """Objects in a list that may choose models or refer to state; as a rule there are none. Raises ValueError."""
    if value.startswith(b"[") and _is_telling(value):
        yield from (item for item in _items(value) if item.startswith(b"{") and _is_telling(item))


def _is_telling(value: bytes) -> bool:
    value = value.lower()
    return any(sign in value for sign in _TELLING)


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


def _names_kept(body: bytes) -> bool:
    """Whether the body names files or other things that a provider keeps. Raises ValueError."""
    if not _MAY_NAME_KEPT.search(body) and not _escapes_a_name(body):
        return False
    if body.count(b",") > _MOST_COMMAS:
        raise ValueError(_TOO_MUCH)
    try:
        said = json.loads(
            body.decode(errors="replace"),
            strict=False,
            object_pairs_hook=partial(_counted, count(1)),
            parse_int=float,  # no number is too long for it
        )
    except RecursionError as error:
        raise ValueError(_TOO_MUCH) from error
    return any(_holds_kept(value, outermost=value is said) for value in _objects(said))


def _counted(objects: Iterator[int], pairs: list[tuple[str, Any]]) -> _Pairs:
    if next(objects) > _MOST_OBJECTS:
        raise ValueError(_TOO_MUCH)
    return _Pairs(pairs)


def _escapes_a_name(body: bytes) -> bool:
    """Whether a name in the body has an escape in it: then it may be any name."""
    at = body.find(rb"\u")
    while at >= 0:
        end = _END_OF_TEXT.match(body, at)
        if end is None or end[1]:
            return True
        at = body.find(rb"\u", end.end())
    return False


class _Pairs(list[tuple[str, Any]]):
    """A JSON object, with names that stand twice."""

    def named(self, name: str) -> list[Any]:
        """All values under a name as any parser may read it."""
        return [value for given, value in self if _folded(given) == name]


def _objects(said: _Pairs) -> Iterator[_Pairs]:
    """An object and all objects in it, but for what is the caller's own."""
    waiting: list[Any] = [said]
    while waiting:
        value = waiting.pop()
        if isinstance(value, _Pairs):
            yield value
            types = value.named("type") if value is not said else []
            uses_tool = bool(types) and all(isinstance(each, str) and each in _USES_OF_TOOLS for each in types)
            waiting += [
                inner
                for name, inner in value
                if isinstance(inner, list) and not (uses_tool and name == "input") and name not in _CALLERS_OWN
            ]
        else:
            waiting += [item for item in value if isinstance(item, list)]


def _holds_kept(value: _Pairs, *, outermost: bool) -> bool:
    for name, inner in value:
        if inner and _folded(name) in _KEPT and isinstance(inner, str | list) and not isinstance(inner, _Pairs):
            return True
    # An earlier answer that was spoken. (Outermost `audio` says how the next one is to be spoken.)
    spoken = [] if outermost else value.named("audio")
    return any(isinstance(audio, _Pairs) and any(audio.named("id")) for audio in spoken)


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


def _no_model() -> BadRequest:
    return BadRequest("The body names no `model`. Name one that GET /v1/models lists.", param=MODEL)


_BOUNDARY = re.compile(
    # RFC 2046's characters and those of tokens, which clients take too; no blank at the end.
    rb'(?i)multipart/form-data(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*;[ \t]*boundary='
    rb"(?:\"([!#-'*+.0-9A-Z^-z|~/:=?(), -]{0,69}[!#-'*+.0-9A-Z^-z|~/:=?(),-])\"|([!#-'*+.0-9A-Z^-z|~/:=?()-]{1,70}))"
    rb'(?:[ \t]*;[ \t]*charset="?utf-8"?)?[ \t]*;?'
)
_TOKEN = rb"[!#$&+.0-9A-Z^-z|~-]++"
_DISPOSITION = re.compile(
    # .NET writes names without quotes; Go and curl write quotes in the names of files with a backslash.
    rb'(?i)content-disposition:[ \t]*form-data[ \t]*;[ \t]*name=(?:"([^"\\\x00-\x1f\x7f]*)"|(%b))'
    rb'([ \t]*;[ \t]*filename=(?:"(?:[^"\\\r\n\x00]|\\[^\r\n\x00])*+"|%b))?'
    rb"([ \t]*;[ \t]*filename\*=[^\s;\"\x00]*+)?[ \t]*" % (_TOKEN, _TOKEN)
)
_A_NAME = re.compile(rb"(?i)\bname[ \t]*\*?[ \t]*=")
_PART_HEADER = re.compile(
    rb"(?i)(?:(?:content-type|content-length|mime-version)[ \t]*:(?![ \t]*multipart/)[^\r\n\x00]*"
    rb"|content-transfer-encoding[ \t]*:[ \t]*(?:binary|8bit|7bit)[ \t]*)"
)
_OTHER_CHARSET = re.compile(rb'(?i)charset(?![ \t]*=[ \t]*"?(?:utf-8|us-ascii)"?[ \t]*(?:;|$))')
_ENDS = re.compile(rb"--[ \t]*(?:\r\n)?")
_LONGEST_PART_HEAD = 8 * 1024
_MOST_PARTS = 1000
_IN_FORMS = _GUARDED | {"_charset_"}
"""`_charset_` changes how a form's texts are read (HTML)."""


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
        fields = [part for part in _parts(body, b"--" + boundary) if _field(part.name) in _IN_FORMS]
        if not fields:
            raise _no_model()
        if [part.name for part in fields] != [MODEL]:
            names = ", ".join(sorted({part.name[:40] for part in fields}))
            raise BadRequest(
                f"The form must name one `model`, once, and nothing that chooses otherwise; found {names}."
            )
        self._span = fields[0].span
        self.model = _text_of(fields[0], body)
        self.models = (self.model,)

    def with_ids(self, ids: Mapping[str, str]) -> bytes:
        if ids[self.model] == self.model:
            return self._body
        start, end = self._span
        return self._body[:start] + ids[self.model].encode() + self._body[end:]


class _Part(NamedTuple):
    """A field of a form."""

    name: str
    span: Span
    """Where in the body its content begins and ends."""
    is_text: bool
    """Whether every reader takes it for a text in UTF-8: no file, no other character set."""


def _parts(body: bytes, delimiter: bytes) -> Iterator[_Part]:
    """The fields of a form. Raises BadRequest.

    Readers differ in what a line is, so the boundary may stand nowhere but where a field really ends.
    """
    if not body.startswith(delimiter) or body.count(delimiter) > _MOST_PARTS:
        raise BadRequest("The form does not begin with its boundary, or has far too many fields.")
    at = len(delimiter)
    while not _ENDS.fullmatch(body, at):
        head_ends = body.find(b"\r\n\r\n", at, at + _LONGEST_PART_HEAD)
        begins, ends = head_ends + 4, body.find(delimiter, at) - 2
        if not body.startswith(b"\r\n", at) or not at < head_ends < begins <= ends or body[ends : ends + 2] != b"\r\n":
            raise BadRequest("The form cannot be read: a field has no head or no end, or the boundary stands in it.")
        yield _part(body[at + 2 : head_ends], (begins, ends))
        at = ends + 2 + len(delimiter)


def _part(head: bytes, span: Span) -> _Part:
    lines = head.split(b"\r\n")
    named = [said for line in lines if (said := _DISPOSITION.fullmatch(line)) and len(_A_NAME.findall(line)) == 1]
    others = [line for line in lines if not _DISPOSITION.fullmatch(line)]
    if len(named) != 1 or len(others) != len(lines) - 1 or not all(_PART_HEADER.fullmatch(line) for line in others):
        raise BadRequest('The form cannot be read: each field needs `Content-Disposition: form-data; name="..."`.')
    quoted, token, file, also_file = named[0].groups()
    name = (token if quoted is None else quoted).decode("utf-8", "replace")
    return _Part(name, span, not (file or also_file or any(_OTHER_CHARSET.search(line) for line in others)))


def _text_of(part: _Part, body: bytes) -> str:
    """The id that a form's `model` names. Raises BadRequest."""
    start, end = part.span
    try:
        model = body[start:end].decode() if part.is_text and end - start <= _LONGEST_ID else ""
    except UnicodeDecodeError:
        model = ""
    if not model:
        raise BadRequest("The form's `model` must be a model's id: a text in UTF-8, no file.", param=MODEL)
    return model


def _field(name: str) -> str:
    """What a field's name may mean to whoever reads the form: `models[0]` is `models`."""
    return _folded(re.split(r"[\[.]", unquote(name), maxsplit=1)[0].strip())
