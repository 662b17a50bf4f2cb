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

    assert (body.refers_to_state, body.models_of_tools) == (refers, ())


@pytest.mark.parametrize(
    "value", [b"[%b0]" % (b"0," * 600_000), b"[%b0]" % (b"{}," * 60_000)], ids=["numbers", "objects"]
)
def test_a_body_with_references_and_too_many_values_is_rejected(value: bytes) -> None:
    with pytest.raises(BadRequest, match="contains too many values"):
        JsonBody(b'{"model":"m","file_id":"x","input":%b}' % value)


def test_references_are_found_at_any_depth_that_can_be_decoded() -> None:
    def nested(levels: int) -> bytes:
        return b'{"model":"m","input":%b[{"file_id":"x"}]%b}' % (b"[" * levels, b"]" * levels)

    assert JsonBody(nested(300)).refers_to_state
    with pytest.raises(BadRequest):
        JsonBody(nested(5_000))
