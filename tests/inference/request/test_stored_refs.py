"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import pytest

from proxy.cooperative import run_now
from proxy.errors import BadRequest
from proxy.inference.request.json_body import JsonBody


def gemini_file(uri: str) -> str:
    return f'"contents":[{{"parts":[{{"fileData":{{"fileUri":"{uri}"}}}}]}}]'


REFERENCES = [
    '"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["x"]}}]',
    '"tools":[{"type":"image_generation","input_image_mask":{"file_id":"x"}}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"FILE_ID":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file\\u005fid":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"file","file":{"file_id\\u0000":"x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"container_upload","file_id":"x"}]}]',
    '"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id" : "x"}}]}]',
    '"messages":[{"role":"assistant","audio":{"id":"x"}}],"audio":{"voice":"alloy"}',
    '"messages":[{"content":[{"type":"tool_use","Type":"x","input":{"file_id":"x"}}]}]',
    '"input":[{"role":"user","content":[{"type":"input_file","file_id":"x"}]}]',
    '"input":[{"role":"user","content":[{"type":"input_image","file_id":"x"}]}]',
    '"input":[{"type":"code_interpreter_call","container_id":"x"}]',
    '"attachments":[{"file_idſ":["x"]}]',
    '"type":"tool_use","input":[{"content":[{"file_id":"x"}]}]',
    *map(
        gemini_file,
        [
            "https://generativelanguage.googleapis.com/v1beta/files/x",
            "https:\\/\\/generativelanguage.googleapis.com\\/v1beta\\/files\\/x",
            "https://generativelanguage.googleapis.com:443/v1beta/files/x",
            "HTTPS://GenerativeLanguage.GoogleAPIs.com/v1beta/files/x",
            "https://generativelanguage.googleapis.com./v1beta/files/x",
            "https://us-central1-generativelanguage.googleapis.com/v1beta/files/x",
            "https://generativelanguage.mtls.googleapis.com/v1beta/files/x",
            "https://someone@generativelanguage.googleapis.com/v1beta/files/x",
            "https://generativelanguage%2Egoogleapis.com/v1beta/files/x",
            "https://example.com\\\\@generativelanguage.googleapis.com/v1beta/files/x",
            "https:generativelanguage.googleapis.com/v1beta/files/x",
            f"https://{'generativelanguage.' * 100}example.com/x",
            "//generativelanguage.googleapis.com/v1beta/files/x",
            "gs://bucket/x",
            "\\tgs://bucket/x",
            "files/x",
            " files/x",
            "/files/x",
            "v1beta/files/x",
            "x",
            "\\ud800",
        ],
    ),
    '"tools":[{"retrieval":{"vertexAiSearch":{"datastore":"projects/p"}}}]',
    '"tools":[{"retrieval":{"vertex_rag_store":{"rag_resources":[{"rag_corpus":"c"}]}}}]',
    '"tools":[{"retrieval":{"externalApi":{"endpoint":"https://x.example","apiAuth":{}}}}]',
    '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"gs://b/x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url" : "\\u0047s\\u003a//b/x"}}]}]',
    '"messages":[{"role":"user","content":[{"type":"image_url","image_url":"GS://b/x"}]}]',
    '"generationOutputConfig":{"outputUriPrefix":"gs://b/x/"}',
    '"generation_output_config":{"output_uri_prefix":"gs:\\/\\/b"}',
]
NO_REFERENCES = [
    '"previous_response_id":"","conversation":"","container":"","preset":"","agent_id":""',
    '"tools":[{"type":"shell","environment":{"skills":[{"type":"skill_reference","skill_id":"openai-spreadsheets"}]}}]',
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
    *map(
        gemini_file,
        [
            "",
            "https://www.youtube.com/watch?v=x",
            "https://storage.googleapis.com/public/x.png?X-Goog-Signature=x",
            "https://generativelanguage.googleapis.com.example.com/x",
            "http://example.com:8080/generativelanguage.googleapis.com/@x",
            "data:text/plain;base64,eA==",
        ],
    ),
    '"tools":[{"googleSearchRetrieval":{"dynamicRetrievalConfig":{"mode":"MODE_DYNAMIC"}},"url_context":{}}]',
    '"tools":[{"functionDeclarations":[{"name":"f","parameters":{"properties":{"external_api":{"type":"OBJECT"}}}}]}]',
    '"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"https://x.example/gs://b"}}]}]',
    '"messages":[{"role":"user","content":"gs://b/x"}]',
]


@pytest.mark.parametrize(
    ("field", "refers"), [*((field, True) for field in REFERENCES), *((field, False) for field in NO_REFERENCES)]
)
def test_references_to_stored_objects_are_recognized(field: str, refers: bool) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert (bool(body.references), body.models) == (refers, ("m",))


IDS = [
    ('"previous_response_id":"r"', {"r"}),
    ('"previous_response_id":"\\u0072"', {"r"}),
    ('"previous_response_id":null', set()),
    ('"previous_response_id":["r"]', {""}),
    ('"conversation":"c"', {"c"}),
    ('"conversation":{"id":"c"}', {"c"}),
    ('"conversation":{"id":"c","ID":"d"}', {"c", "d"}),
    ('"conversation":{"id":7}', {""}),
    ('"conversation":{}', {""}),
    ('"extra_body":{"previous_response_id":"r"}', {"r"}),
    ('"input":[{"type":"item_reference","id":"i"},{"id":"j"},{"type":null,"id":"k"}]', {"i", "j", "k"}),
    ('"input":[{"type":"item_reference","id":"i","Id":"j"}]', {"i", "j"}),
    ('"input":[{"type":"item_reference","id":{"id":"i"}}]', {""}),
    ('"input":[{"type":"item_reference"}]', {""}),
    ('"input":[{"type":"message","role":"assistant","id":"i","content":"x"}]', set()),
    ('"input":[{"type":"code_interpreter_call","id":"i","container_id":"c"}]', {"c"}),
    ('"tools":[{"type":"code_interpreter","container":"c"}]', {"c"}),
    ('"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f","g"]}}]', {"f", "g"}),
    ('"tools":[{"type":"code_interpreter","container":{"type":"auto","file_ids":["f",{"id":"g"}]}}]', {""}),
    ('"tools":[{"type":"file_search","vector_store_ids":["v"]}]', {""}),
    ('"container":"c"', {"c"}),
    ('"container":"c\\ud83d"', {"\ufffd"}),  # half of a surrogate pair
    ('"container":"c\\ud83d\\ude00"', {"c\U0001f600"}),
    ('"container":{"id":"c","skills":[]}', {"c"}),
    ('"container":{"skills":[]}', set()),
    ('"container":7', set()),
    ('"messages":[{"content":[{"type":"container_upload","file_id":"f"}]}]', {"f"}),
    ('"messages":[{"content":[{"type":"file","file":{"file_id":7}}]}]', set()),
    ('"messages":[{"role":"assistant","audio":{"id":"a"}}]', {"a"}),
    ('"preset":"p"', {""}),
    ('"previous_response_id":" "', {" "}),
    ('"tools":[{"environment":{"skills":[{"type":"skill_reference","skill_id":"skill_1"}]}}]', {""}),
    ('"prompt":{"id":"p"}', {""}),
    ('"prompt":"p"', set()),
    ('"agent":{"name":"a"}', {""}),
    ('"previous_response_id":"r","input":[{"type":"input_file","file_id":"f"}],"lora_path":"l"', {"r", "f", ""}),
]


@pytest.mark.parametrize(("field", "ids"), IDS)
def test_the_ids_of_referenced_objects_are_read(field: str, ids: set[str]) -> None:
    assert JsonBody(f'{{"model":"m",{field}}}'.encode()).references == ids


@pytest.mark.parametrize(
    ("field", "is_there"),
    [
        ('"metadata":{"a":"resp_1"}', True),
        ('"x":"a resp_12"', True),
        ('"request_id":"resp\\u005f\\u0031"', True),
        ('"request_id":"\\\\u0072\\u0072esp_1"', True),
        ('"input":"resp 1"', False),
    ],
)
def test_an_id_that_a_body_may_contain_is_found_also_if_it_is_escaped(field: str, is_there: bool) -> None:
    assert run_now(JsonBody(f'{{"model":"m",{field}}}'.encode()).search("resp_1")) is is_there


PIECE = 64 * 1024


@pytest.mark.parametrize("before", [*range(PIECE - 34, PIECE), *range(4 * PIECE - 30, 4 * PIECE)])
@pytest.mark.parametrize("text", [b"resp_1", rb"resp\u005f1", rb"\u0072esp\u005f\u0031", rb"\\u0072esp_1"])
def test_an_id_in_a_long_body_is_found_wherever_it_is(text: bytes, before: int) -> None:
    start = b'{"model":"m","input":"'
    body = start + b"x" * (before - len(start)) + text + b"x" * 300_000 + b'"}'
    assert run_now(JsonBody(body).search("resp_1"))
    assert not run_now(JsonBody(body).search("resp_2"))


@pytest.mark.parametrize(
    ("text", "is_there"), [(b"", False), (b"resp_1", True), (b"\\u0041", True), (b"\\u00e9", False)]
)
def test_every_id_may_be_in_a_very_long_body_with_escaped_characters_of_ids(text: bytes, is_there: bool) -> None:
    for before in (0, PIECE - 25, 700_000):
        body = b'{"model":"m","input":"%b"}' % (b"x" * before + text + b"x" * (1_200_000 - before))
        assert run_now(JsonBody(body).search("resp_1")) is is_there


@pytest.mark.parametrize(
    "content",
    [
        '[{"type":"file","file":{"file_id":"x","file_id":null}}]',
        '[{"type":"tool_use","type":"x","input":{"file_id":"x"}}]',
    ],
    ids=["the reference", "the type"],
)
def test_a_duplicate_field_in_an_object_with_a_reference_is_rejected(content: str) -> None:
    with pytest.raises(BadRequest, match="contains a duplicate field"):
        JsonBody(f'{{"model":"m","messages":[{{"content":{content}}}]}}'.encode())


def test_a_list_with_too_many_objects_with_references_is_rejected() -> None:
    with pytest.raises(BadRequest, match="contains too many values"):
        JsonBody(b'{"model":"m","input":[{"file_id":"x"},%b0]}' % (b'{"file_id":1},' * 600_000))


def test_a_reference_among_many_numbers_is_found() -> None:
    body = JsonBody(b'{"model":"m","input":[%b{"file_id":"x"},%b0]}' % (b"0," * 600_000, b"-1.5e3, " * 600_000))

    assert body.references == {"x"}


def test_references_are_found_at_any_depth_that_can_be_read() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"m","input":%b[{"file_id":"x"}]%b}' % (b"[" * levels, b"]" * levels)

    assert JsonBody(nested(60)).references
    for levels in (70, 300, 5_000):
        with pytest.raises(BadRequest, match="is nested too deeply"):
            JsonBody(nested(levels))
