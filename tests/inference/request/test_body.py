"""Bodies of calls: which models they name, the same bytes with other ids, and what cannot be read in two ways."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BadRequest
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.guards import REFERENCE_STATE, SELECT_MODELS, SELECT_UPSTREAM
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.json_spans import member_spans

TYPE = b"multipart/form-data; boundary=B"
SECOND = 'Content-Disposition: form-data; name="model"'


def with_x(body: bytes, models: tuple[str, ...] = ("m",)) -> bytes:
    """A body whose models all became others."""
    return JsonBody(body).with_ids({model: f"x/{model}" for model in models})


def in_order(text: bytes) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    return found


def has_half_letters(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def other_letters(body: bytes) -> bytes:
    return body.replace(rb"\ud", rb"\uc").replace(rb"\uD", rb"\uC")


# JSON as others write it: any blanks, letters written as they are or escaped, numbers in any form.
blanks = st.text(" \t\r\n", max_size=2)


def written(text: str, escapes: list[bool]) -> str:
    """A string of JSON in which some letters are escaped."""
    out = []
    for letter, escape in zip(text, escapes, strict=True):
        half_or_whole = letter.encode("utf-16-be", "surrogatepass")
        units = [half_or_whole[at : at + 2].hex() for at in range(0, len(half_or_whole), 2)]
        out.append("".join(f"\\u{unit}" for unit in units) if escape or letter in '"\\' or letter < " " else letter)
    return '"' + "".join(out) + '"'


@st.composite
def strings(draw: st.DrawFn, letters: st.SearchStrategy[str] | None = None) -> str:
    text = draw(letters if letters is not None else st.text(max_size=6))
    return written(text, draw(st.lists(st.booleans(), min_size=len(text), max_size=len(text))))


@st.composite
def joined(draw: st.DrawFn, items: st.SearchStrategy[str], ends: str) -> str:
    inside = ",".join(draw(blanks) + item + draw(blanks) for item in draw(st.lists(items, max_size=4)))
    return ends[0] + (inside or draw(blanks)) + ends[1]


@st.composite
def fields(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    return draw(strings()) + draw(blanks) + ":" + draw(blanks) + draw(values)


numbers = st.sampled_from(["0", "-0", "1", "12", "123", "1.5", "1e5", "-1.25E-3", "123456789012345678901234567890"])
halves = st.sampled_from([r'"\ud800"', r'"a\uDC00b"', r'"\ud83d\ude00\ud83d"', r'"\\ud800"'])
values = st.recursive(
    st.one_of(st.sampled_from(["null", "true", "false"]), numbers, strings(), halves),
    lambda inner: st.one_of(joined(inner, "[]"), joined(fields(inner), "{}")),
    max_leaves=6,
)
objects = joined(fields(values), "{}")


@given(objects, blanks, blanks)
def test_members_are_what_another_parser_finds_or_a_name_stands_twice(text: str, before: str, after: str) -> None:
    body = (before + text + after).encode()
    pairs = in_order(body)
    if has_half_letters(pairs):  # then names are read with other letters
        pairs = [(name, value) for (name, _), (_, value) in zip(in_order(other_letters(body)), pairs, strict=True)]
    if len({name for name, _ in pairs}) < len(pairs):
        with pytest.raises(ValueError, match="names a field twice"):
            member_spans(body)
        return
    spans = member_spans(body)
    found = [(name, json.loads(body[start:end], object_pairs_hook=list)) for name, (start, end) in spans.items()]

    assert found == pairs


@given(st.lists(fields(values), max_size=4), st.lists(fields(values), max_size=4), blanks, strings(st.just("m")))
def test_nothing_changes_but_the_model(before: list[str], after: list[str], blank: str, model: str) -> None:
    name = f'{blank}"model"{blank}:{blank}'
    head = "{" + ",".join([*before, name])
    tail = "".join("," + field for field in after) + blank + "}"
    body = (head + model + tail).encode()
    pairs = in_order(body)
    names = [name for name, _ in (in_order(other_letters(body)) if has_half_letters(pairs) else pairs)]
    if len(set(names)) < len(names):
        with pytest.raises(BadRequest, match="twice"):
            JsonBody(body)
        return

    assert with_x(body) == (head + '"x/m"' + tail).encode()
    assert JsonBody(body).with_ids({"m": "m"}) == body


@pytest.mark.parametrize(
    ("body", "models", "wanted"),
    [
        pytest.param(b'{"model":"m"}', ("m",), b'{"model":"x/m"}', id="a string"),
        pytest.param(b'{"model":["m","n"]}', ("m", "n"), b'{"model":["x/m","x/n"]}', id="a list"),
        pytest.param(b'{"mod\\u0065l":"\\u006d"}', ("m",), b'{"mod\\u0065l":"x/m"}', id="escaped letters"),
        pytest.param(b'{"model":"a\\/b"}', ("a/b",), b'{"model":"x/a/b"}', id="an escaped slash"),
        pytest.param(
            b'{"model":"a\\ud83d\\ude00"}', ("a😀",), '{"model":"x/a😀"}'.encode(), id="a letter in two halves"
        ),
        pytest.param(b'{"model":"a\\\\ud800"}', ("a\\ud800",), b'{"model":"x/a\\\\ud800"}', id="no letter at all"),
        pytest.param(
            b'{"fallbacks":["n"], "model":"m" ,"models":["m","o"],"route":"n"}',
            ("m", "n", "o"),
            b'{"fallbacks":["x/n"], "model":"x/m" ,"models":["x/m","x/o"],"route":"x/n"}',
            id="several fields",
        ),
        pytest.param(b'{"models":null,"model":"m","route":null}', ("m",), b'{"models":null,"model":"x/m","route":null}',
                     id="fields that say nothing"),
        pytest.param(b'{"models":[],"model":"m"}', ("m",), b'{"models":[],"model":"x/m"}', id="an empty list"),
        pytest.param(b'{"x":"\\ud800","model":"m"}', ("m",), b'{"x":"\\ud800","model":"x/m"}', id="half a letter"),
        pytest.param(b'{"x":"\xff","model":"m"}', ("m",), b'{"x":"\xff","model":"x/m"}', id="bytes that are no text"),
    ],
)  # fmt: skip
def test_all_models_of_a_body_are_found_and_renamed(body: bytes, models: tuple[str, ...], wanted: bytes) -> None:
    read = JsonBody(body)

    assert (read.model, sorted(read.models), read.models_of_tools) == (read.models[0], sorted(models), ())
    assert with_x(body, models) == wanted


def test_an_id_is_written_as_json_whatever_is_in_it() -> None:
    body = JsonBody(b'{"model":"m"}').with_ids({"m": 'a"b\\c\n模型😀'})

    assert json.loads(body) == {"model": 'a"b\\c\n模型😀'}


TWICE = [
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
    b'{"model":"m","a\\ud800":1,"a\\ud800":2}',
    b'{"x":"\\"model\\":\\"n\\"","model":"m","model":"n"}',
]


@pytest.mark.parametrize("body", TWICE)
def test_a_name_that_stands_twice_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="The body names a field twice"):
        JsonBody(body)


@pytest.mark.parametrize(
    "name",
    ["Model", "MODEL", "mOdel", "MODELſ", "modelſ", "FALLBACKS", "fallbac\u212as", "ba\u017fe_url", "API_\u212aEY",
     "model\0", "model\0x", "models\0", "Previous_Response_Id"],
)  # fmt: skip
@pytest.mark.parametrize("escaped", [False, True], ids=["as it is", "escaped"])
def test_a_guarded_name_in_other_letters_is_refused(name: str, escaped: bool) -> None:
    other = json.dumps(name) if escaped or "\0" in name else f'"{name}"'
    body = f'{{"model":"m",{other}:"n"}}'.encode()
    with pytest.raises(BadRequest, match="in exactly these letters"):
        JsonBody(body)


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"[]", b'"model"', b"null", b'["model"]', b'{"model":"m"', b'{"model":"m",}', b'{"model":"m"}{}',
     b'\xef\xbb\xbf{"model":"m"}', '{"model":"m"}'.encode("utf-16"), b'{"model":"m","x":NaN}',
     b'{"model":"m","x":Infinity}', b"{'model':'m'}", b'{"model":"m"}//', b'{"model":"m","mod\xc1\xa5l":"n"}',
     b'{"model":"m","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
     b'{"model":"m","x":"\\x"}', b'{"model":"m","x":01}'],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match="The body is no JSON object"):
        JsonBody(body)


@pytest.mark.parametrize("body", [b"{}", b'{"model":null}', b'{"model":[]}', b'{"models":["m"]}', b'{"x":{"model":1}}'])
def test_a_body_without_a_model_is_refused_in_words_that_say_so(body: bytes) -> None:
    with pytest.raises(BadRequest, match="names no `model`") as refused:
        JsonBody(body)

    assert refused.value.param == "model"


@pytest.mark.parametrize("name", ["model", *sorted(SELECT_MODELS)])
@pytest.mark.parametrize(
    "value",
    [b"1", b'""', b"{}", b'{"model":"m"}', b'["m",1]', b'[["m"]]', b'[{"model":"m"}]', b'[""]', b'"\\ud800"',
     b'"m\xff"', b'"' + b"m" * 1001 + b'"'],
)  # fmt: skip
def test_a_field_that_chooses_models_names_ids_and_nothing_else(name: str, value: bytes) -> None:
    first = b"" if name == "model" else b'"model":"m",'
    with pytest.raises(BadRequest) as refused:
        JsonBody(b"{" + first + b'"' + name.encode() + b'":' + value + b"}")

    assert refused.value.param == name
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("name", sorted(SELECT_UPSTREAM))
def test_a_field_that_chooses_a_place_is_refused_unless_it_says_nothing(name: str) -> None:
    with pytest.raises(BadRequest, match="is not possible here"):
        JsonBody(b'{"model":"m","%b":"http://127.0.0.1/canary"}' % name.encode())

    assert JsonBody(b'{"model":"m","%b":null}' % name.encode()).models == ("m",)


STATE = [f'"{name}":"x"' for name in sorted(REFERENCE_STATE)] + [
    '"conversation":{"id":"x"}',
    '"prompt":{"id":"pmpt_x"}',
    '"input":[{"type":"item_reference","id":"x"}]',
    '"input":[{"type":"item\\u005freference","id":"x"}]',
    '"tools":[{"type":"file_search","vector_store_ids":["x"]}]',
    '"tools":[{"type":"file_search","vector_\\u0073tore_ids":["x"]}]',
    '"tools":[{"type":"file_search","Vector_ſtore_idſ":["x"]}]',
    '"tools":[{"type":"code_interpreter","container":"x"}]',
    '"tools":[{"type":"code_interpreter","Container":"x","y":"\\ud800"}]',
    '"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["x"]}}]',
    '"tools":[{"type":"image_generation","input_image_mask":{"file_id":"x"}}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"FILE_ID":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"x","file_id":null}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file\\u005fid":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_id\\u0000":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"x"}]}]',
    '"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id" : "x"}}]}]',
    '"messages":[{"role":"assistant","audio":{"id":"x"}}],"audio":{"voice":"alloy"}',
    '"messages":[{"content":[{"type":"tool_use","type":"x","input":{"file_id":"x"}}]}]',
    '"input":[{"role":"user","content":[{"type":"input_file","file_id":"x"}]}]',
    '"input":[{"role":"user","content":[{"type":"input_image","file_id":"x"}]}]',
    '"input":[{"type":"code_interpreter_call","container_id":"x"}]',
    '"attachments":[{"file_idſ":["x"]}]',
    '"type":"tool_use","input":[{"content":[{"file_id":"x"}]}]',
]
NO_STATE = [
    '"messages":[{"role":"user","content":"\\"file_id\\": \\"x\\""}]',
    '"messages":[{"role":"user","content":"\\u00e9 \\"file_id\\": \\"x\\""}],"file_id":null',
    '"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"read","input":{"file_id":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:","filename":"file_id"}}]}]',
    '"messages":[{"role":"assistant","audio":null,"refusal":"file_id"}],"audio":{"voice":"alloy","format":"wav"}',
    '"tools":[{"type":"function","function":{"name":"f","parameters":{"default":{"file_id":"x"}}}}]',
    '"tools":[{"name":"f","input_schema":{"properties":{"file_id":{"type":"string"}},"required":["file_id"]}}]',
    '"input":[{"content":[{"type":"output_text","annotations":[{"type":"file_citation","file_id":"x"}]}]}]',
    '"metadata":{"file_id":"x"}',
    '"tools":[{"name":"f","input_schema":{"properties":{"audio":{}}},"input_examples":[{"file_id":"x"}]}]',
    '"guided_json":{"properties":{"file_id":{"type":"string"},"audio":{}}}',
    '"tools":[{"x":{"properties":{"file_id":{"type":"string"},"audio":{}}}}]',
    '"input":[{"type":"file_search_call","results":[{"file_id":"x","text":"t"}]}]',
    f'"audio":{{"voice":"alloy"}},"x":{"1" * 5000}',
    '"input":[{"type":"x","file_id":"","file_ids":[]}]',
    '"previous_response_id":null',
    '"prompt":"a text"',
    '"prompt":["a text"]',
    '"input":"item_reference"',
    '"input":[{"role":"user","content":"\\u00e9 \\"container\\": \\"x\\""}]',
    '"input":["\\u00e9","model"]',
    '"input":[1,2,3]',
    '"input":[{"content":"a model","x":"\\ud800"}]',
    '"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]',
    '"tools":[{"type":"file_search","vector_store_ids":[]}]',
    '"tools":null',
]


@pytest.mark.parametrize(
    ("field", "refers"), [*((field, True) for field in STATE), *((field, False) for field in NO_STATE)]
)
def test_what_a_provider_keeps_for_its_account_is_recognised(field: str, refers: bool) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert (body.refers_to_state, body.models_of_tools) == (refers, ())


@pytest.mark.parametrize(
    "value", [b"[%b0]" % (b"0," * 600_000), b"[%b0]" % (b"{}," * 60_000)], ids=["numbers", "objects"]
)
def test_what_may_name_files_and_is_slow_to_read_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest, match="far too many values"):
        JsonBody(b'{"model":"m","file_id":"x","input":%b}' % value)


def test_files_are_found_at_any_depth_that_can_be_read() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"m","input":%b[{"file_id":"x"}]%b}' % (b"[" * levels, b"]" * levels)

    assert JsonBody(nested(300)).refers_to_state
    with pytest.raises(BadRequest):
        JsonBody(nested(5_000))


@pytest.mark.parametrize(
    ("field", "models"),
    [
        pytest.param('"tools":[{"type":"image_generation","model":"n"}]', ("n",), id="a tool"),
        pytest.param('"tools":[{"type":"image_generation","Model":"n"}]', ("n",), id="in other letters"),
        pytest.param('"tools":[{"type":"image_generation","mod\\u0065l":"n"}]', ("n",), id="escaped"),
        pytest.param('"tools":[{"model":"n","x":"\\ud800"},{"model":"a\\ud83d\\ude00"}]', ("n", "a😀"), id="halves"),
        pytest.param('"tools":[{"type":"y","parameters":{"model":"n"}}]', ("n",), id="deep in a tool"),
        pytest.param('"tools":[{"type":"y","p":[{"judge_model":"n","models":["o"]}]}]', ("n", "o"), id="deeper"),
        pytest.param('"tools":[{"type":"y","model":null}]', (), id="none"),
        pytest.param('"plugins":[{"id":"auto","allowed_models":["n","o"]}]', ("n", "o"), id="OpenRouter"),
        pytest.param('"providerOptions":{"gateway":{"models":["n"]}}', ("n",), id="Vercel"),
        pytest.param('"compound_custom":{"models":{"answering_model":"n"}}', ("n",), id="Groq"),
        pytest.param(
            '"tools":[{"type":"function","function":{"parameters":{"properties":{"model":{"enum":["n"]}}}}}]', (),
            id="a function's parameter",
        ),
        pytest.param('"tools":[{"name":"f","input_schema":{"default":{"model":"n"}}}]', (), id="Anthropic's schema"),
    ],
)  # fmt: skip
def test_models_that_tools_choose_are_found(field: str, models: tuple[str, ...]) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert (body.models, body.models_of_tools) == (("m",), models)


@pytest.mark.parametrize(
    "field",
    ['"tools":[{"model":"n","model":"o"}]', '"tools":[{"model":"n","Model":"o"}]', '"tools":[{"model":1}]',
     '"tools":[{"model":{}}]', '"plugins":[{"model":"n","mod\\u0065l":"o"}]'],
)  # fmt: skip
def test_a_tool_that_can_be_read_in_two_ways_is_refused(field: str) -> None:
    with pytest.raises(BadRequest):
        JsonBody(f'{{"model":"m",{field}}}'.encode())


MIB = 1024 * 1024
BOMBS = {
    "fields": b",".join(b'"%x":1' % number for number in range(600_000)),
    "a few more fields than anybody has": b",".join(b'"%x":1' % number for number in range(1001)),
    "models": b'"models":[' + b'"m",' * (4 * MIB) + b'"m"]',
    "lists in the input": b'"input":["model",' + b"[]," * (4 * MIB) + b"[]]",
    "tools": b'"tools":[{"model":"m"},' + b"{}," * (4 * MIB) + b"{}]",
}


@pytest.mark.parametrize("fields", BOMBS.values(), ids=BOMBS)
def test_a_body_that_would_be_slow_to_read_is_refused_at_once(fields: bytes) -> None:
    began = time.process_time()
    with pytest.raises(BadRequest, match="far too many"):
        JsonBody(b'{"model":"m",' + fields + b"}")

    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "field",
    [b'"x":"' + b"a" * (30 * MIB) + b'"', b'"x":"' + rb"\"" * (15 * MIB) + b'"',
     b'"x":"' + rb"\ud800" * (5 * MIB) + b'"',
     b'"x":[' + b"[]," * (10 * MIB) + b"[]]", b'"input":[' + b"1," * (10 * MIB) + b"1]"],
    ids=["text", "quotes", "halves of letters", "lists", "numbers"],
)  # fmt: skip
def test_a_huge_body_is_read_in_a_fraction_of_a_second(field: bytes) -> None:
    began = time.process_time()
    body = JsonBody(b'{"model":"m",' + field + b"}")
    took = time.process_time() - began

    assert (body.model, took < 1) == ("m", True)


def form(*fields: str, boundary: str = "B", end: str = "\r\n") -> bytes:
    """A form of whole fields: head, blank line, content."""
    parts = "".join(f"--{boundary}\r\n{field}\r\n" for field in fields)
    return f"{parts}--{boundary}--{end}".encode("latin-1")


def field(content: str, head: str = 'Content-Disposition: form-data; name="model"') -> str:
    return f"{head}\r\n\r\n{content}"


SOUND = (
    'Content-Disposition: form-data; name="file"; filename="a.mp3"\r\nContent-Type: audio/mpeg\r\n\r\nx\0\r\n\n--y\r\n'
)

HEADS = {
    "curl, browsers, httpx, node": 'Content-Disposition: form-data; name="model"',
    "okhttp": 'Content-Disposition: form-data; name="model"\r\nContent-Length: 1',
    ".NET": "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model",
    "Dart": 'content-disposition: form-data; name="model"\r\ncontent-type: text/plain; charset=utf-8\r\n'
    "content-transfer-encoding: binary",
    "Apache": 'Content-Disposition: form-data; name="model"\r\nContent-Type: text/plain; charset=US-ASCII\r\n'
    "Content-Transfer-Encoding: 8bit",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("end", ["\r\n", ""], ids=["with a line end", "without"])
def test_a_form_is_read_as_clients_write_it_and_nothing_changes_but_the_model(head: str, first: bool, end: str) -> None:
    fields = [field("m", head), SOUND]
    renamed = [field("x/m", head), SOUND]
    body = FormBody(form(*fields[:: 1 if first else -1], end=end), TYPE)

    assert (body.model, body.models) == ("m", ("m",))
    assert body.with_ids({"m": "x/m"}) == form(*renamed[:: 1 if first else -1], end=end)
    assert body.with_ids({"m": "m"}) == form(*fields[:: 1 if first else -1], end=end)


FILES = {
    "quotes as HTML writes them": 'filename="a%22b.mp3"',
    "quotes as Go writes them": r'filename="a\"b\\.mp3"',
    "a semicolon": 'filename="a; b=c.mp3"',
    "UTF-8": 'filename="\xc3\xa9.mp3"',
    "a Windows path": r'filename="C:\a.mp3"',
    ".NET": "filename=a.mp3; filename*=utf-8''a.mp3",
    "only the other name": "filename*=utf-8''%e2%82%ac.mp3",
}


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_files_may_have_any_name(file: str) -> None:
    body = form(f'Content-Disposition: form-data; name="file"; {file}\r\n\r\nx', field("m"))

    assert FormBody(body, TYPE).with_ids({"m": "n"}) == body.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nn\r\n")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=B", "B"),
        ('Multipart/Form-Data;boundary="B"', "B"),
        ("multipart/form-data;charset=UTF-8;boundary=B", "B"),
        ("multipart/form-data; boundary=B; charset=utf-8", "B"),
        ('multipart/form-data; boundary="a b"', "a b"),
        (
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
        ("multipart/form-data; boundary=dart-http-boundary-'()+_./:=?", "dart-http-boundary-'()+_./:=?"),
    ],
)
def test_the_boundary_is_sent_on_in_one_form(content_type: str, boundary: str) -> None:
    body = FormBody(form(field("m"), boundary=boundary), content_type.encode())

    assert (body.model, body.content_type) == ("m", f'multipart/form-data; boundary="{boundary}"'.encode())


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/mixed; boundary=B", "multipart/form-data; boundary=",
     'multipart/form-data; boundary=""',
     "multipart/form-data; boundary=B; boundary=C",
     'multipart/form-data; boundary="B "', 'multipart/form-data; boundary="B\\""',
     "multipart/form-data; boundary=B; x=y", "multipart/form-data; charset=utf-7; boundary=B",
     'multipart/form-data; boundary="\xff"', 'multipart/form-data; boundary="B\0"',
     "multipart/form-data; boundary=" + "B" * 71],
)  # fmt: skip
def test_a_boundary_with_more_than_one_meaning_is_refused(content_type: str) -> None:
    with pytest.raises(BadRequest, match="content-type of a form"):
        FormBody(form(field("m")), content_type.encode("latin-1"))


def hostile_forms() -> Iterator[tuple[str, bytes]]:
    model, other = field("m"), field("n")
    harmless = field("x", 'Content-Disposition: form-data; name="x"')
    hidden = 'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    yield "nothing", b""
    yield "no model", form(SOUND)
    yield "an empty model", form(field(""))
    yield "two models", form(model, other)
    yield "the same twice", form(model, model)
    for name in ("model[]", "model[0]", "Model", "MODEL", " model", "model.0", "models", "models[]", "fallbacks",
                 "route", "api_base", "previous_response_id", "_charset_", "mod%65l", "extra_body[model]"):  # fmt: skip
        yield f"also {name}", form(model, field("n", f'Content-Disposition: form-data; name="{name}"'))
    yield "a name with a zero", form(model, field("n", 'Content-Disposition: form-data; name="model\0"'))
    yield "name*", form(model, field("n", "Content-Disposition: form-data; name*=utf-8''model"))
    yield "name and name*", form(model, field("n", "Content-Disposition: form-data; name=\"x\"; name*=utf-8''model"))
    yield "two names", form(model, field("n", 'Content-Disposition: form-data; name="x"; name="model"'))
    yield (
        "a name in a file's name",
        form(model, field("n", 'Content-Disposition: form-data; name="x"; filename="; name=model"')),
    )
    yield (
        "a name behind a backslash",
        form(model, field("n", 'Content-Disposition: form-data; name="x"; filename="\\"; name=model; y=\\""')),
    )
    yield "an escaped name", form(model, field("n", 'Content-Disposition: form-data; name="mode\\l"'))
    yield "no form-data", form(model, field("n", 'Content-Disposition: attachment; name="x"'))
    yield "two dispositions", form(model, field("n", 'Content-Disposition: form-data; name="x"\r\n' + SECOND))
    yield "no disposition", form(model, field("n", "Content-Type: text/plain"))
    yield "no head", form(model, "\r\nn")
    yield "no blank line", form(model, 'Content-Disposition: form-data; name="x"')
    yield "a folded head", form(model, field("n", 'Content-Disposition: form-data; name="x"\r\n ; name="model"'))
    yield "a folded head of another line", form(model, field("n", 'Content-Disposition: form-data;\r\n name="model"'))
    yield (
        "a bare line feed in a head",
        form(model, field("n", "Content-Type: a\n" + SECOND + '\r\nContent-Disposition: form-data; name="x"')),
    )
    yield (
        "a long head",
        form(model, field("n", 'Content-Disposition: form-data; name="x"\r\nContent-Type: ' + "a" * 9000)),
    )
    yield "base64", form(field("bQ==", SECOND + "\r\nContent-Transfer-Encoding: base64"))
    yield "quoted-printable", form(field("=6d", SECOND + "\r\nContent-Transfer-Encoding: quoted-printable"))
    yield "a compressed field", form(field("m", SECOND + "\r\nContent-Encoding: gzip"))
    yield "another character set", form(field("+AG0-", SECOND + "\r\nContent-Type: text/plain; charset=utf-7"))
    yield "two character sets", form(field("m", SECOND + "\r\nContent-Type: a; charset=utf-8; charset=utf-7"))
    yield (
        "a form in the form",
        form(
            model, field("n", 'Content-Disposition: form-data; name="x"\r\nContent-Type: multipart/mixed; boundary=C')
        ),
    )
    yield "a model that is a file", form(field("m", SECOND + '; filename="m"'))
    yield "a model that is no text", form(field("\xff"))
    yield "a model that is a book", form(field("m" * 2000))
    yield "something in front", b"x\r\n" + form(model)
    yield "a line end in front", b"\r\n" + form(model)
    yield "something behind", form(model) + b"x"
    yield "another form behind", form(model) + form(other)
    yield "no end", form(model).replace(b"--B--", b"--B")
    yield "cut off", form(model)[:-6]
    yield "blanks behind a boundary", form(model, SOUND).replace(b"--B\r\n", b"--B \r\n")
    for name, line_end in (("line feed", "\n"), ("carriage return", "\r"), ("nothing", "")):
        yield f"the boundary in a field after a {name}", form(model, hidden + f"a{line_end}--B\r\n{harmless}")
        yield f"the end in a field after a {name}", form(hidden + f"a{line_end}--B--\r\n", model)
    yield "bare line feeds only", form(model, other).replace(b"\r\n", b"\n")
    yield "a longer boundary in a field", form(model, hidden + "a\r\n--BB\r\n" + other)
    yield "far too many fields", form(model, *['Content-Disposition: form-data; name="x"\r\n\r\n'] * 1001)


HOSTILE = dict(hostile_forms())


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_form_with_more_than_one_meaning_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        FormBody(body, TYPE)


@pytest.mark.parametrize("name", ["a.mp3", 'a"b;c.mp3', "é 模型.mp3", "a\\b.mp3"])
def test_what_a_real_client_writes_is_taken(name: str) -> None:
    sound = bytes(range(256)) + b"\r\n--\r\n"
    request = httpx.Request("POST", "http://p/", data={"model": "m", "language": "de"}, files={"file": (name, sound)})
    body = request.read()

    read = FormBody(body, request.headers["content-type"].encode())

    assert (read.model, sound in body) == ("m", True)
    assert read.with_ids({"m": "n"}) == body.replace(b'name="model"\r\n\r\nm\r\n', b'name="model"\r\n\r\nn\r\n')


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=5), max_size=4))
def test_msgspec_and_python_agree_on_what_is_sent_on(others: dict[str, str]) -> None:
    body = json.dumps({"model": "m", "messages": [others]}).encode()

    assert msgspec.json.decode(with_x(body)) == {"model": "x/m", "messages": [others]}
