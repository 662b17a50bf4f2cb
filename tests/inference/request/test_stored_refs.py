"""References to files and other objects that a provider stores for its account."""

from __future__ import annotations

import pytest

from proxy.errors import BadRequest
from proxy.inference.request.json_body import JsonBody

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
]
NO_REFERENCES = [
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
]


@pytest.mark.parametrize(
    ("field", "refers"), [*((field, True) for field in REFERENCES), *((field, False) for field in NO_REFERENCES)]
)
def test_references_to_stored_objects_are_recognized(field: str, refers: bool) -> None:
    body = JsonBody(f'{{"model":"m",{field}}}'.encode())

    assert (body.refers_to_state, body.models) == (refers, ("m",))


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


@pytest.mark.parametrize("item", [b"0,", b'{"file_id":1},'], ids=["numbers", "objects"])
def test_a_list_with_references_and_too_many_values_is_rejected(item: bytes) -> None:
    with pytest.raises(BadRequest, match="contains too many values"):
        JsonBody(b'{"model":"m","input":[{"file_id":"x"},%b0]}' % (item * 600_000))


def test_references_are_found_at_any_depth_that_can_be_read() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"m","input":%b[{"file_id":"x"}]%b}' % (b"[" * levels, b"]" * levels)

    assert JsonBody(nested(20)).refers_to_state
    for levels in (30, 300, 5_000):
        with pytest.raises(BadRequest, match="is nested too deeply"):
            JsonBody(nested(levels))
