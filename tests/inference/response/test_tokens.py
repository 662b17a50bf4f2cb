"""Token counts that responses and streams report."""

from __future__ import annotations

import pytest

from proxy.inference.response.rename import rename_model
from proxy.telemetry import Tokens
from tests.inference.response.streams import OWN, PUBLIC, event, rename_stream


@pytest.mark.parametrize(
    ("response", "tokens"),
    [
        pytest.param('{"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}', Tokens(3, 4), id="chat"),
        pytest.param('{"usage":{"prompt_tokens":3,"total_tokens":3}}', Tokens(3), id="embeddings"),
        pytest.param('{"usage":{"total_tokens":5000}}', Tokens(5000), id="embeddings with only a total"),
        pytest.param('{"usage":{"prompt_tokens":0,"total_tokens":5000}}', Tokens(5000), id="a total and zeros"),
        pytest.param('{"usage":{"completion_tokens":4,"total_tokens":7}}', Tokens(0, 4), id="a total and the output"),
        pytest.param('{"usage":{"input_tokens":3,"output_tokens":4}}', Tokens(3, 4), id="responses, messages"),
        pytest.param('{"response":{"usage":{"input_tokens":3,"output_tokens":4}}}', Tokens(3, 4), id="wrapped"),
        pytest.param('{"message":{"usage":{"input_tokens":3}},"usage":{"output_tokens":4}}', Tokens(3, 4), id="both"),
        pytest.param(
            '{"usage":{"input_tokens":3,"cache_creation_input_tokens":50,"cache_read_input_tokens":700,"output_tokens":4}}',
            Tokens(753, 4),
            id="a prompt cache, whose tokens are not in those of the input",
        ),
        pytest.param(
            '{"usage":{"input_tokens":3,"cache_creation_input_tokens":null,"cache_read_input_tokens":-7}}',
            Tokens(3),
            id="no prompt cache",
        ),
        pytest.param(
            '{"usage":{"prompt_tokens":753,"cache_read_input_tokens":700,"completion_tokens":4}}',
            Tokens(753, 4),
            id="a prompt cache, whose tokens are in those of the prompt",
        ),
        pytest.param('{"usage":{"prompt_tokens":100000000}}', Tokens(100_000_000), id="many"),
        pytest.param('{"usage":{"prompt_tokens":100000001,"completion_tokens":4}}', Tokens(), id="too many to be true"),
        pytest.param('{"usage" : {"prompt_tokens":3}}', Tokens(3), id="whitespace"),
        pytest.param('{"usage":null}', Tokens(), id="null"),
        pytest.param('{"usage":{"prompt_tokens":null,"completion_tokens":4}}', Tokens(0, 4), id="half null"),
        pytest.param('{"usage":{"prompt_tokens":-3,"completion_tokens":4}}', Tokens(0, 4), id="negative"),
        pytest.param('{"usage":{"prompt_tokens":3.0,"completion_tokens":4}}', Tokens(3, 4), id="a whole float"),
        pytest.param('{"usage":{"prompt_tokens":3.5}}', Tokens(), id="a float"),
        pytest.param('{"usage":{"prompt_tokens":"3"}}', Tokens(3), id="a string"),
        pytest.param('{"usage":{"prompt_tokens":1' + "0" * 400 + "}}", Tokens(), id="401 digits"),
        pytest.param('{"usage":{"prompt_tokens":1e300}}', Tokens(), id="a huge float"),
        pytest.param('{"usage":[{"prompt_tokens":3}]}', Tokens(), id="a list"),
        pytest.param('{"choices":[{"usage":{"prompt_tokens":3}}]}', Tokens(), id="elsewhere"),
        pytest.param('{"content":"\\"usage\\":{\\"prompt_tokens\\":3}"}', Tokens(), id="in a string"),
        pytest.param('{"usage":{"prompt_tokens":3}', Tokens(), id="invalid"),
        pytest.param('{"usage":{"x":' + "[" * 100_000, Tokens(), id="deeply nested"),
    ],
)
def test_usage_is_counted_where_a_response_reports_it(response: str, tokens: Tokens) -> None:
    assert rename_model(response.encode(), OWN, PUBLIC)[1] == tokens
    assert rename_stream([event(response)])[1] == tokens


def test_counts_of_a_stream_are_running_totals() -> None:
    events = [
        '{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}',
        '{"type":"message_delta","usage":{"output_tokens":5}}',
        '{"type":"message_delta","usage":{"input_tokens":9,"output_tokens":8}}',
    ]

    assert rename_stream([event(data) for data in events])[1] == Tokens(9, 8)


def test_the_output_at_the_start_of_a_message_is_a_placeholder() -> None:
    start = '{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}'

    assert rename_model(start.encode(), OWN, PUBLIC)[1] == Tokens(9)
    assert rename_stream([event(start), event('{"type":"message_delta","delta":{}}')])[1] == Tokens(9)
