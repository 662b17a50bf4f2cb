"""The estimated tokens of requests."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cooperative import run_now
from proxy.inference.request.body import NoBody
from proxy.inference.request.form_body import FormBody
from proxy.inference.request.json_body import JsonBody
from proxy.inference.request.token_estimate import MAX_SPLIT, MEDIA_TOKENS, estimated_tokens


def estimate(body: Any) -> int:
    return run_now(estimated_tokens(body if isinstance(body, bytes) else msgspec.json.encode(body)))


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": [*parts]}]}


NAMES = st.sampled_from(
    ["content", "text", "url", "data", "role", "a name", "type", "input", "arguments", "response", "url_citation"]
)
VALUES = st.text(max_size=40) | st.sampled_from(["text", "url_citation", "web_search_result"])
CITATION = {"end_index": 2, "start_index": 1, "title": "a title", "url": "https://example.com"}
IMAGE_PART = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
IMAGE = "data:image/png;base64," + "A" * 10_000


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        pytest.param({"model": "a-long-id", "messages": [{"role": "user", "content": "12345678"}]}, 2, id="a message"),
        pytest.param({"input": ["1234", "12345678"]}, 3, id="an array"),
        pytest.param({"prompt": "12345"}, 2, id="rounded up"),
        pytest.param({"system": [{"type": "text", "text": "1234"}], "messages": []}, 1, id="a system prompt"),
        pytest.param({"prompt": "ÄÖÜß€"}, 2, id="characters, not bytes"),
        pytest.param(b'{"prompt": "\\u00c4\\u00d6\\n\\"a"}', 2, id="escaped characters"),
        pytest.param(b'{"prompt": "\\ud800aa"}', 2, id="a single surrogate"),
        pytest.param(b'{"prompt" : "abcd", "user": "someone"}', 1, id="blanks before a colon"),
        pytest.param(b'{"prompt": "a\\\\"}', 1, id="an escaped backslash at the end"),
        pytest.param(b'{"\\u0070romp\\u0074": "12345678"}', 2, id="an escaped name"),
        pytest.param(b'{"messages":[{"content":[{"im\\u0061ge_url":"u"}]}]}', MEDIA_TOKENS, id="an escaped image"),
        pytest.param({"prompt": [1, 20, 300]}, 3, id="tokens"),
        pytest.param({"input": [[1, 20], [300]], "user": "u", "n": 7}, 3, id="lists of tokens"),
        pytest.param({"prompt": None, "temperature": 0.5, "logit_bias": {"5": 1}}, 0, id="other numbers"),
        pytest.param(user({"type": "image_url", "image_url": {"url": IMAGE}}), MEDIA_TOKENS, id="an image"),
        pytest.param(
            {"input": [{"type": "input_image", "image_url": IMAGE}]}, MEDIA_TOKENS, id="an image of responses"
        ),
        pytest.param(
            user({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}),
            MEDIA_TOKENS,
            id="an image of messages",
        ),
        pytest.param(
            user({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}), MEDIA_TOKENS, id="audio"
        ),
        pytest.param(user({"type": "file", "file": {"file_id": "f"}}), MEDIA_TOKENS, id="a file"),
        pytest.param(
            user({"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "u"}}), 1001, id="both"
        ),
        pytest.param({"contents": [{"parts": [{"text": "1234"}, {"inlineData": {"data": "AA"}}]}]}, 1001, id="Gemini"),
        pytest.param({"messages": [{"content": "1234", "images": ["AA", "BB"]}]}, 2001, id="Ollama"),
        pytest.param(
            user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 8000}}),
            2000,
            id="a text document of messages",
        ),
        pytest.param(
            user({"text": "1234", "type": "text"}, {"input_audio": {"data": "AAAA"}, "type": "input_audio"}),
            1001,
            id="audio after a text, with sorted members",
        ),
        pytest.param(
            user(
                {"type": "tool_use", "name": "f", "input": {"code": "x" * 4000, "url": [{"data": "1234"}]}}, IMAGE_PART
            ),
            2001,
            id="arguments of messages, and an image",
        ),
        pytest.param(
            {
                "messages": [{"tool_calls": [{"function": {"name": "f", "arguments": {"a": "1234", "b": {}}}}]}],
                "user": "u",
            },
            1,
            id="arguments of Ollama",
        ),
        pytest.param(
            {"parts": [{"functionCall": {"name": "f", "args": {}}}, {"functionResponse": {"response": {"a": "1234"}}}]},
            1,
            id="a call of a tool of Gemini, and its result",
        ),
        pytest.param(
            {
                "messages": [
                    {"content": "1234", "annotations": [{"type": "url_citation", "url_citation": CITATION}] * 20},
                    {"content": [IMAGE_PART]},
                ]
            },
            1001,
            id="sources of chat completions, and an image",
        ),
        pytest.param(
            {
                "input": [
                    {"type": "output_text", "text": "1234", "annotations": [{"type": "url_citation", **CITATION}] * 20}
                ]
            },
            1,
            id="sources of responses",
        ),
        pytest.param(
            user({"type": "web_search_tool_result", "content": [{"type": "web_search_result", **CITATION}]}),
            0,
            id="sources of messages",
        ),
        pytest.param(b"{}", 0, id="nothing"),
    ],
)
def test_texts_cost_a_quarter_of_their_characters_and_media_1000(body: Any, tokens: int) -> None:
    assert estimate(body) == tokens


@given(st.lists(st.text()))
def test_every_text_counts(texts: list[str]) -> None:
    characters = sum(map(len, texts))
    assert estimate({"input": texts}) == -(-characters // 4)


@given(st.recursive(VALUES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=30))
def test_short_and_long_bodies_have_the_same_estimate(value: Any) -> None:
    for body in (msgspec.json.encode({"input": value}), json.dumps({"input": value}).encode()):
        padding = b" " * MAX_SPLIT
        assert run_now(estimated_tokens(body)) == run_now(estimated_tokens(padding + body))


TEXTS = st.text(max_size=40)
CONVERSATIONS = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["user", "system"]),
                    "content": TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS})),
                },
                optional={"name": TEXTS, "refusal": st.none() | TEXTS},
            ),
            max_size=5,
        ),
    },
    optional={
        "stream": st.booleans(),
        "stream_options": st.just({"include_usage": True}),
        "temperature": st.floats(0, 2),
        "max_tokens": st.integers(0, 9),
        "user": TEXTS,
        "instructions": TEXTS,
        "stop": st.lists(TEXTS),
    },
)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"%b","content":"a"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"%b"}],"messages":[]}',
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"%b","text":"a"}]}]}',
    ],
)
def test_a_member_that_occurs_twice_hides_no_text(body: bytes) -> None:
    assert estimate(body % (b"a" * 1000)) >= 250


@given(CONVERSATIONS, st.booleans())
def test_a_conversation_of_texts_has_the_estimate_of_other_bodies(value: Any, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    with_more = body[:-1] + b', "parallel_tool_calls": true}'
    assert estimate(body) == estimate(with_more)


@given(st.binary())
def test_bytes_of_any_kind_have_an_estimate(body: bytes) -> None:
    assert estimate(body) >= 0


def test_a_long_body_is_read_in_steps() -> None:
    steps = sum(1 for _ in estimated_tokens(msgspec.json.encode({"input": ["a"] * 10_000 + ["b" * 1_000_000] * 3})))
    assert steps >= 13


MIB = 1024 * 1024


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"input":"%b"}' % (b"a" * MIB), id="text"),
        pytest.param(b'{"input":"%b"}' % (b'\\"' * (MIB // 2)), id="escaped quotes"),
        pytest.param(b'{"input":"%b"}' % (b"\\\\" * (MIB // 2)), id="backslashes"),
        pytest.param(b'{"input":"%b"}' % (b"\\u0041" * (MIB // 6)), id="escaped letters"),
        pytest.param(b'{"file_data":"%b"}' % (b"A" * MIB), id="a file"),
        pytest.param(b'{"input":["%b"]}' % b'","'.join([b"a" * 65_000] * 16), id="texts that are nearly long"),
        pytest.param(b'{"input":["%b"]}' % b'","'.join([b"a" * 65_000 + b'\\"'] * 16), id="such texts with escapes"),
        pytest.param(b'{"input":[%b1]}' % (b"1024," * (MIB // 5)), id="numbers"),
        pytest.param(b'{"input":%b1%b}' % (b"[" * MIB, b"]" * MIB), id="brackets"),
        pytest.param(b'{"input"%b:1}' % (b" " * MIB), id="blanks before a colon"),
        pytest.param(b'{"input":%b[1]}' % (b" " * MIB), id="blanks after a colon"),
        pytest.param(b'{"input":"' + b"a" * MIB, id="no end"),
    ],
)
def test_no_value_is_too_long_for_a_step(body: bytes) -> None:
    steps = sum(1 for _ in estimated_tokens(body))
    assert len(body) // (256 * 1024) - 1 <= steps < len(body) // 1024


@given(
    st.lists(st.text(max_size=60) | st.text('"\\\U0001f600é', max_size=60), max_size=5),
    st.booleans(),
    st.integers(16, 60),
)
def test_texts_in_pieces_have_the_same_estimate(texts: list[str], ascii_only: bool, piece: int) -> None:
    body = json.dumps({"prompt": [1, 2, 3], "input": texts, "url": texts}, ensure_ascii=ascii_only).encode()
    padded = b" " * MAX_SPLIT + body
    with (
        patch("proxy.inference.request.token_estimate.PIECE", piece),
        patch("proxy.inference.request.long_strings.PIECE", piece),
    ):
        assert run_now(estimated_tokens(padded)) == run_now(estimated_tokens(body))


def form(*fields: tuple[str, bytes]) -> FormBody:
    parts = (b"--x\r\nContent-Disposition: form-data; name=%b\r\n\r\n%b\r\n" % (n.encode(), v) for n, v in fields)
    return FormBody(b"".join(parts) + b"--x--\r\n", b"multipart/form-data; boundary=x")


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ([], 0),
        ([('"file"; filename="a.wav"', b"RIFF")], 1000),
        ([(f'"image[]"; filename="{number}.png"', b"AAA") for number in range(5)] + [('"prompt"', b"p" * 4000)], 6000),
        ([('"prompt"', "ÄÖÜß€".encode()), ('"language"', b"English"), ('"image_url"', b"https://example.com/a")], 1002),
    ],
)
def test_a_form_counts_its_files_and_the_texts_for_the_model(fields: list[tuple[str, bytes]], tokens: int) -> None:
    assert run_now(form(('"model"', b"m"), *fields).estimated_tokens()) == tokens


def test_a_long_text_of_a_form_is_read_in_steps() -> None:
    steps = sum(1 for _ in form(('"model"', b"m"), ('"prompt"', b"p" * 1_000_000)).estimated_tokens())
    assert steps == 4


def test_a_request_without_a_body_counts_as_nothing() -> None:
    assert run_now(NoBody("m").estimated_tokens()) == 0
    assert run_now(JsonBody(b'{"model":"m","prompt":"1234"}').estimated_tokens()) == 1
