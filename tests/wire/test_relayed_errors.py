"""Errors of providers in the format of another API: clients of the path must be able to read them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from proxy.errors import RelayedError
from proxy.wire import anthropic, format_of, gemini, ollama

OPENAI = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
ANTHROPIC = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}, "request_id": "r"}
GEMINI = {"error": {"code": 400, "message": "too long", "status": "INVALID_ARGUMENT"}}
OLLAMA = {"error": "too long"}
FASTAPI = {"detail": "too long"}
BEDROCK = {"message": "too long"}


def relayed(path: str, payload: object, status: int = 400) -> Any:
    error = RelayedError(status, "too long", body=msgspec.json.encode(payload))
    return msgspec.json.decode(format_of(path).relayed_error(error))


@pytest.mark.parametrize("payload", [OPENAI, ANTHROPIC, GEMINI, OLLAMA, FASTAPI, BEDROCK])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/rerank"])
def test_openais_clients_read_any_object(path: str, payload: object) -> None:
    assert relayed(path, payload) == payload


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_an_error_for_anthropics_clients_has_a_type(path: str) -> None:
    own = {"type": "error", "error": {"type": "invalid_request_error", "message": "too long"}}

    assert relayed(path, ANTHROPIC) == ANTHROPIC
    assert relayed(path, OPENAI) == {"type": "error", **OPENAI}
    assert relayed(path, GEMINI) == {"type": "error", "error": {**GEMINI["error"], "type": "invalid_request_error"}}
    assert [relayed(path, payload) for payload in (OLLAMA, FASTAPI, BEDROCK)] == [own] * 3


def test_the_type_of_an_error_for_anthropics_clients_is_that_of_the_status() -> None:
    assert [relayed("/v1/messages", GEMINI, status)["error"]["type"] for status in (404, 429, 502)] == [
        "not_found_error",
        "rate_limit_error",
        "api_error",
    ]


def test_an_error_for_ollamas_clients_is_a_text() -> None:
    assert [relayed("/api/chat", payload) for payload in (OPENAI, ANTHROPIC, GEMINI, OLLAMA, FASTAPI, BEDROCK)] == [
        OLLAMA
    ] * 6


def test_an_error_for_googles_clients_is_an_object() -> None:
    path = "/v1beta/models/m:generateContent"

    assert [relayed(path, payload) for payload in (GEMINI, OPENAI)] == [GEMINI, OPENAI]
    assert {relayed(path, payload)["error"]["message"] for payload in (OLLAMA, FASTAPI, BEDROCK)} == {"too long"}


@pytest.mark.parametrize("row", [anthropic.FORMAT, gemini.FORMAT, ollama.FORMAT])
def test_an_object_that_cannot_be_decoded_is_replaced(row: Any) -> None:
    error = RelayedError(400, "too long", body=b"{")

    assert row.relayed_error(error) == row.error(error)
