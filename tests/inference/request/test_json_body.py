"""JSON bodies: the selected models, the same bytes with other ids, and rejected bodies."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.guards import GUARDED, SELECT_MODELS, SELECT_UPSTREAM, fold_name
from proxy.inference.request.json_body import JsonBody
from tests.inference.request.json_texts import (
    fields,
    has_duplicates,
    has_lone_surrogates,
    pairs_of,
    strings,
    values,
    whitespace,
    without_surrogates,
)
from tests.untraced import untraced


def prefix_models(body: bytes, models: tuple[str, ...] = ("m",)) -> bytes:
    """The body with `x/` before each of its models."""
    return JsonBody(body).with_ids({model: f"x/{model}" for model in models})


@given(st.lists(fields(values), max_size=4), st.lists(fields(values), max_size=4), whitespace, strings(st.just("m")))
def test_a_renamed_body_differs_in_the_model_only(before: list[str], after: list[str], blank: str, model: str) -> None:
    name = f'{blank}"model"{blank}:{blank}'
    head = "{" + ",".join([*before, name])
    tail = "".join("," + field for field in after) + blank + "}"
    body = (head + model + tail).encode()
    pairs = pairs_of(body)
    names = [name for name, _ in (pairs_of(without_surrogates(body)) if has_lone_surrogates(pairs) else pairs)]
    # Hypothesis also draws names from constants in the code. Guarded fields have tests of their own.
    assume(not any(fold_name(name) in GUARDED and name != "model" for name in names))
    if len(set(names)) < len(names):
        with pytest.raises(BadRequest, match="contains a duplicate field: `"):
            JsonBody(body)
        return
    # An inner object with escaped names is read, because these can be any names, and must have no duplicates either.
    assume(b"\\u00" not in body or not any(has_duplicates(value) for _, value in pairs))

    assert prefix_models(body) == (head + '"x/m"' + tail).encode()
    assert JsonBody(body).with_ids({"m": "m"}) == body


@pytest.mark.parametrize(
    ("body", "models", "wanted"),
    [
        pytest.param(b'{"model":"m"}', ("m",), b'{"model":"x/m"}', id="a string"),
        pytest.param(b'{"model":["m","n"]}', ("m", "n"), b'{"model":["x/m","x/n"]}', id="a list"),
        pytest.param(b'{"mod\\u0065l":"\\u006d"}', ("m",), b'{"mod\\u0065l":"x/m"}', id="escaped characters"),
        pytest.param(b'{"model":"a\\/b"}', ("a/b",), b'{"model":"x/a/b"}', id="an escaped slash"),
        pytest.param(
            b'{"model":"a\\ud83d\\ude00"}', ("a😀",), '{"model":"x/a😀"}'.encode(), id="a surrogate pair"
        ),
        pytest.param(b'{"model":"a\\\\ud800"}', ("a\\ud800",), b'{"model":"x/a\\\\ud800"}', id="an escaped backslash"),
        pytest.param(
            b'{"fallbacks":["n"], "model":"m" ,"models":["m","o"],"route":"n"}',
            ("m", "n", "o"),
            b'{"fallbacks":["x/n"], "model":"x/m" ,"models":["x/m","x/o"],"route":"x/n"}',
            id="several fields",
        ),
        pytest.param(b'{"models":null,"model":"m","route":null}', ("m",), b'{"models":null,"model":"x/m","route":null}',
                     id="null fields"),
        pytest.param(b'{"models":[],"model":"m"}', ("m",), b'{"models":[],"model":"x/m"}', id="an empty list"),
        pytest.param(b'{"x":"\\ud800","model":"m"}', ("m",), b'{"x":"\\ud800","model":"x/m"}', id="a lone surrogate"),
        pytest.param(b'{"x":"\xff","model":"m"}', ("m",), b'{"x":"\xff","model":"x/m"}', id="invalid UTF-8"),
    ],
)  # fmt: skip
def test_a_body_has_all_its_models_renamed(body: bytes, models: tuple[str, ...], wanted: bytes) -> None:
    read = JsonBody(body)

    assert (read.model, sorted(read.models)) == (read.models[0], sorted(models))
    assert prefix_models(body, models) == wanted


def test_a_byte_order_mark_is_removed() -> None:
    body = JsonBody(b'\xef\xbb\xbf{"model":"m","n":1}')

    assert (body.with_ids({"m": "m"}), body.with_ids({"m": "n"})) == (b'{"model":"m","n":1}', b'{"model":"n","n":1}')


def test_an_id_is_encoded_as_json() -> None:
    body = JsonBody(b'{"model":"m"}').with_ids({"m": 'a"b\\c\n模型😀'})

    assert json.loads(body) == {"model": 'a"b\\c\n模型😀'}


DUPLICATES = [
    b'{"model":"m","model":"m"}',
    b'{"model":"m","model":"n"}',
    b'{"model":"m","x":1,"model":"m"}',
    b'{"model":"m","mod\\u0065l":"n"}',
    b'{"mod\\u0065l":"n","model":"m"}',
    b'{"model":"m","x":12,"x":1}',
    b'{"model":"m","x":1,"x":12}',
    b'{"model":"m","x":1,"x":1.5}',
    b'{"model":"m","x":{"model":"n"},"x":{"model":"n"}}',
    b'{"model":"m","":1,"":1}',
    '{"model":"m","x\U00010000":1,"x\\ud800\\udc00":1}'.encode(),
    b'{"model":"m","a\\ud800":1,"a\\ud800":2}',
    b'{"x":"\\"model\\":\\"n\\"","model":"m","model":"n"}',
]


@pytest.mark.parametrize("body", DUPLICATES)
def test_a_duplicate_field_is_rejected(body: bytes) -> None:
    with pytest.raises(BadRequest, match="The request body contains a duplicate field: `"):
        JsonBody(body)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        pytest.param(b'{"model":"m","model":"n"}', "model", id="values that differ"),
        pytest.param(b'{"model":"m","x":1,"x":1}', "x", id="equal values"),
        pytest.param(b'{"model":"m","x":12,"x":1}', "x", id="a number and its prefix"),
        pytest.param(b'{"x":12,"model":"m","x":1}', "x", id="a number and its prefix, apart"),
        pytest.param(b'{"x":1,"model":"m","x":1}', "x", id="equal values, apart"),
        pytest.param(b'{"model":"m","tools":[{"model":"n","Model":"n"}]}', "model", id="in a tool"),
        pytest.param(b'{"model":"m","%b":1,"%b":1}' % (b"y" * 200, b"y" * 200), "y" * 100, id="a long name"),
    ],
)
def test_the_message_contains_the_name_of_the_duplicate_field(body: bytes, name: str) -> None:
    with pytest.raises(BadRequest) as rejected:
        JsonBody(body)

    assert rejected.value.message == f"The request body contains a duplicate field: `{name}`."


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")], ids=["compact", "spaced"])
def test_a_duplicate_of_a_common_field_is_rejected_in_common_layouts(separators: tuple[str, str]) -> None:
    comma, colon = separators
    fields = [f'"model"{colon}"m"', f'"n"{colon}1', f'"n"{colon}22', f'"stream"{colon}true']
    with pytest.raises(BadRequest, match="The request body contains a duplicate field: `"):
        JsonBody(f"{{{comma.join(fields)}}}".encode())


@pytest.mark.parametrize(
    "name",
    ["Model", "MODEL", "mOdel", "MODELſ", "modelſ", "FALLBACKS", "fallbac\u212as", "ba\u017fe_url", "API_\u212aEY",
     "model\0", "model\0x", "models\0", "Previous_Response_Id"],
)  # fmt: skip
@pytest.mark.parametrize("escaped", [False, True], ids=["unescaped", "escaped"])
def test_a_guarded_name_in_another_spelling_is_rejected(name: str, escaped: bool) -> None:
    other = json.dumps(name) if escaped or "\0" in name else f'"{name}"'
    body = f'{{"model":"m",{other}:"n"}}'.encode()
    with pytest.raises(BadRequest, match="Field names are case-sensitive: use `"):
        JsonBody(body)


@pytest.mark.parametrize("body", [b"[]", b'"model"', b"null", b'["model"]'])
def test_a_body_other_than_a_json_object_is_rejected(body: bytes) -> None:
    assert rejection(body) == "The request body must be a JSON object with a `model` field."


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "unexpected end of input"),
        (b" ", "unexpected end of input"),
        (b'{"model":"m"', "unexpected end of input"),
        (b'{"model":"m",}', "trailing comma in object (byte 13)"),
        (b'{"model":"m"}{}', "trailing characters (byte 14)"),
        (b'{"model":"m"}//', "trailing characters (byte 14)"),
        (b'\xef\xbb\xbf\xef\xbb\xbf{"model":"m"}', "invalid character (byte 0)"),
        (b' \xef\xbb\xbf{"model":"m"}', "invalid character (byte 1)"),
        ('{"model":"m"}'.encode("utf-16"), "invalid character (byte 0)"),
        (b'{"model":"m","x":NaN}', "invalid character (byte 17)"),
        (b'{"model":"m","x":Infinity}', "invalid character (byte 17)"),
        (b"{'model':'m'}", "object keys must be strings (byte 1)"),
        (b'{"model":"m","x":"\\x"}', "invalid escaped character (byte 19)"),
        (b'{"model":"m","x":01}', "invalid number (byte 18)"),
    ],
)
def test_a_body_that_is_not_json_is_rejected_with_the_reason(body: bytes, reason: str) -> None:
    assert rejection(body) == f"The request body is not valid JSON: {reason}."


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b'{"model":"m","mod\xc1\xa5l":"n"}', "is not valid UTF-8", id="an overlong encoding"),
        pytest.param(b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is nested too deeply", id="deep nesting"),
    ],
)
def test_a_body_that_cannot_be_decoded_is_rejected_with_the_reason(body: bytes, problem: str) -> None:
    assert rejection(body) == f"The request body {problem}."


def rejection(body: bytes) -> str:
    with pytest.raises(BadRequest) as rejected:
        JsonBody(body)
    return rejected.value.message


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":[]}', b'{"models":["m"]}', b'{"x":{"model":1}}'])
def test_a_body_without_a_model_is_rejected_with_that_reason(body: bytes) -> None:
    with pytest.raises(BadRequest, match="must have a `model` field") as rejected:
        JsonBody(body)

    assert rejected.value.param == "model"


@pytest.mark.parametrize("named", ["path_model", "default_model"])
@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        pytest.param(b"{}", b'{"model":"x/m"}', id="an empty object"),
        pytest.param(b' {"input": "a"}', b' {"model":"x/m","input": "a"}', id="other fields"),
        pytest.param(b'{"models":["m"],"model": null }', b'{"models":["x/m"],"model": "x/m" }', id="null"),
        pytest.param(b'{"x":{"model":"n"}}', b'{"model":"x/m","x":{"model":"n"}}', id="a model in another object"),
    ],
)
def test_a_body_without_a_model_gets_that_of_the_path_or_the_default(named: str, body: bytes, wanted: bytes) -> None:
    assert JsonBody(body, **{named: "m"}).with_ids({"m": "x/m"}) == wanted
    assert JsonBody(body, **{named: "m"}).models == ("m",)


PATH_BODIES = [b'{"model":"m","input":"a"}', b'{"model":"m","x":1}', b'{"mod\\u0065l":"m"}']


@pytest.mark.parametrize("body", PATH_BODIES, ids=["plain", "another field", "escaped"])
def test_a_body_may_name_the_model_of_the_path_again(body: bytes) -> None:
    assert JsonBody(body, path_model="m", default_model="d").with_ids({"m": "m"}) == body
    assert JsonBody(body, default_model="d").model == "m"


@pytest.mark.parametrize("body", [*PATH_BODIES, b'{"model":["m"]}'], ids=["plain", "another field", "escaped", "list"])
def test_a_body_with_another_model_than_the_path_is_rejected(body: bytes) -> None:
    with pytest.raises(BadRequest) as rejected:
        JsonBody(body, path_model="p")

    assert rejected.value.message == (
        "The path and the request body must name the same model: the path names `p`, the body names `m`."
    )
    assert rejected.value.param == "model"


def test_the_model_of_the_path_takes_precedence_over_the_default() -> None:
    assert JsonBody(b"{}", path_model="p", default_model="d").model == "p"


@pytest.mark.parametrize("name", ["model", *sorted(SELECT_MODELS)])
@pytest.mark.parametrize(
    "value",
    [b"1", b'""', b"{}", b'{"model":"m"}', b'["m",1]', b'[["m"]]', b'[""]', b'"\\ud800"',
     b'"m\xff"', b'"' + b"m" * 1001 + b'"'],
)  # fmt: skip
def test_a_field_that_selects_models_accepts_ids_only(name: str, value: bytes) -> None:
    first = b"" if name == "model" else b'"model":"m",'
    with pytest.raises(BadRequest) as rejected:
        JsonBody(b"{" + first + b'"' + name.encode() + b'":' + value + b"}")

    assert rejected.value.param == name
    assert len(rejected.value.message) < 200


@pytest.mark.parametrize("value", [b"{}", b'{"model":1}', b'{"model":["m"]}', b'{"id":1}', b'{"m":["n"]}'])
def test_an_object_in_a_list_of_models_must_name_one(value: bytes) -> None:
    with pytest.raises(BadRequest, match="An object in a list of models must have a `model` field with an id"):
        JsonBody(b'{"model":"m","fallbacks":["m",' + value + b"]}")


@pytest.mark.parametrize("name", sorted(SELECT_UPSTREAM))
def test_a_field_that_selects_an_upstream_is_rejected_unless_it_is_null(name: str) -> None:
    with pytest.raises(BadRequest, match=f"`{name}` is not allowed: the proxy selects the upstream"):
        JsonBody(b'{"model":"m","%b":"http://127.0.0.1/canary"}' % name.encode())

    assert JsonBody(b'{"model":"m","%b":null}' % name.encode()).models == ("m",)


MIB = 1024 * 1024


@contextmanager
def at_most_twenty_seconds() -> Iterator[None]:
    """Fail if the block needs more CPU time. Bodies of 31 MiB take up to 0.9 s, and took minutes without the limits."""
    began = time.process_time()
    try:
        with untraced():
            yield
    finally:
        assert time.process_time() - began < 20


TOO_MANY = {
    "fields": b",".join(b'"%x":1' % number for number in range(600_000)),
    "1001 fields": b",".join(b'"%x":1' % number for number in range(1001)),
    "models": b'"models":[' + b'"m",' * (4 * MIB) + b'"m"]',
    "lists in the input": b'"input":[{"file_id":"x"},' + b"[]," * (4 * MIB) + b"[]]",
    "tools": b'"tools":[{"model":"m"},' + b"{}," * (4 * MIB) + b"{}]",
}


@pytest.mark.parametrize("fields", TOO_MANY.values(), ids=TOO_MANY)
def test_a_body_with_too_many_values_is_rejected_within_seconds(fields: bytes) -> None:
    with pytest.raises(BadRequest, match=r"contains (too many values|more than 1000 fields)"), at_most_twenty_seconds():
        JsonBody(b'{"model":"m",' + fields + b"}")


@pytest.mark.parametrize(
    "field",
    [b'"x":"' + b"a" * (30 * MIB) + b'"', b'"x":"' + rb"\"" * (15 * MIB) + b'"',
     b'"x":"' + rb"\ud800" * (5 * MIB) + b'"',
     b'"x":[' + b"[]," * (10 * MIB) + b"[]]", b'"input":[' + b"1," * (10 * MIB) + b"1]"],
    ids=["text", "quotes", "lone surrogates", "lists", "numbers"],
)  # fmt: skip
def test_a_huge_body_is_read_within_seconds(field: bytes) -> None:
    with at_most_twenty_seconds():
        body = JsonBody(b'{"model":"m",' + field + b"}")

    assert body.model == "m"


HOSTILE = {
    "objects around a model": b'"tools":[{"type":"x",' + b'"a":{' * 400 + b'"model":"n","t":"' + b"a" * (8 * MIB)
    + b'"' + b"}" * 400 + b"}]",
    "lists around a file": b'"input":' + b"[" * 400 + b'{"file_id":"x","t":"' + b"a" * (8 * MIB) + b'"}' + b"]" * 400,
    "lists around an object without a type": b'"input":' + b"[" * 22 + b'"' + b"{" * (8 * MIB) + b'",{"a":1}'
    + b"]" * 22,
    "lists of models beside a table": b'"x":"' + b"," * (8 * MIB) + b'","tools":['
    + b'{"type":"x","models":[{"model":"m"}]},' * 10_000 + b"{}]",
    "fields of many objects": b'"extra_body":{' + b",".join(
        b'"%x":{' % outer + b",".join(b'"%x":1' % inner for inner in range(900)) + b"}" for outer in range(900)) + b"}",
    "fallbacks of fallbacks": b'"fallbacks":' + b'[{"model":"m","fallbacks":' * 3000 + b"[]" + b"}]" * 3000,
    "models to rename": b'"models":[' + b'"m",' * 100_000 + b'{"model":"m"}]',
    "escaped backslashes": b'"x":"' + rb"\\\u0041" * MIB + b'"',
    "escaped letters": b'"x":"' + rb"\u0041" * MIB + b'"',
    "names in another spelling": b'"tools":[' + '{"\u017f":1},'.encode() * 40_000 + b"{}]",
}  # fmt: skip


@pytest.mark.parametrize("field", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_is_read_or_rejected_within_seconds(field: bytes) -> None:
    with at_most_twenty_seconds():
        problem = problem_of(b'{"model":"m",' + field + b"}")

    assert problem in ("", "contains too many values", "is nested too deeply")


def problem_of(body: bytes) -> str:
    """Why a body is rejected, "" if it is not."""
    try:
        JsonBody(body).with_ids({"m": "x", "n": "y"})
    except BadRequest as rejected:
        return rejected.message.removeprefix("The request body ").removesuffix(".")
    return ""


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4))
def test_a_renamed_body_is_decoded_alike_by_msgspec_and_python(others: dict[str, str]) -> None:
    body = json.dumps({"model": "m", "messages": [others]}).encode()

    assert msgspec.json.decode(prefix_models(body)) == {"model": "x/m", "messages": [others]}


@pytest.mark.parametrize(
    ("fields", "is_stream"),
    [
        ('"stream":true', True),
        ('"stream": true, "n": 1', True),
        ('"extra_body":{},"stream":true', True),
        ('"stream":false', False),
        ('"stream":null,"extra_body":{}', False),
        ('"stream":"true"', False),
        ('"n":1', False),
    ],
)
def test_a_body_requests_a_stream_with_true(fields: str, is_stream: bool) -> None:
    assert JsonBody(f'{{"model":"m",{fields}}}'.encode()).is_stream is is_stream
