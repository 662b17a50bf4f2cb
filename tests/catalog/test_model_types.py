"""The type that follows from the name of a model, where the provider reports none."""

from __future__ import annotations

import json

import pytest

from proxy.catalog import Offer
from proxy.catalog.model_types import type_of_name
from proxy.catalog.offer_facts import facts_of
from proxy.dialects.entry import Entry
from proxy.dialects.known_facts import TYPE_NAMES

NAMES = {
    "chat": (
        "gpt-4o gpt-4o-mini gpt-3.5-turbo gpt-5 gpt-5.5-pro gpt-oss-120b chatgpt-4o-latest o1 o3-mini "
        "o4-mini-high claude-3-opus claude-opus-4-5 anthropic/claude-3.5-sonnet gemini-2.5-pro "
        "models/gemini-2.0-flash gemma-3-27b-it grok-4 command-r-plus command-a-03-2025 deepseek-chat "
        "deepseek-reasoner DeepSeek-V3 deepseek-r1 mistral-large-2411 open-mixtral-8x7b ministral-8b-latest "
        "magistral-medium devstral-small kimi-k2-0905-preview moonshot-v1-8k glm-4.6 MiniMax-M2 qwen-max "
        "qwen-plus Qwen/Qwen2.5-7B-Instruct qwen3-30b-a3b-thinking-2507 QwQ-32B "
        "meta-llama/Llama-3.3-70B-Instruct-Turbo llama3.1:8b-instruct nova-pro-v1:0 sonar sonar-reasoning-pro "
        "jamba-large ernie-4.5-turbo hunyuan-turbo doubao-1-5-pro-32k-250115 phi-4-mini-instruct"
    ),
    "embedding": (
        "text-embedding-3-small text-embedding-ada-002 gemini-embedding-001 embeddinggemma-300m BAAI/bge-m3 "
        "bge-large-en-v1.5 intfloat/multilingual-e5-large gte-qwen2-7b-instruct nomic-embed-text:latest "
        "mxbai-embed-large voyage-3-large embed-english-v3.0 jina-embeddings-v3 Qwen/Qwen3-Embedding-8B "
        "mistral-embed codestral-embed titan-embed-text-v2 all-minilm"
    ),
    "rerank": (
        "rerank-v3.5 bge-reranker-v2-m3 jina-reranker-v2-base-multilingual Qwen3-Reranker-4B "
        "cohere/rerank-english-v3.0"
    ),
    "moderation": (
        "omni-moderation-latest text-moderation-stable mistral-moderation-latest"
    ),
    "image": (
        "dall-e-3 gpt-image-1 chatgpt-image-latest imagen-4.0-generate-001 flux-1.1-pro "
        "black-forest-labs/FLUX.1-dev stable-diffusion-3.5-large sdxl-turbo cogview-4 qwen-image-edit "
        "nova-canvas-v1:0"
    ),
    "audio": (
        "whisper-1 whisper-large-v3-turbo tts-1 tts-1-hd gpt-4o-transcribe gpt-4o-mini-tts "
        "gemini-2.5-flash-preview-tts FunAudioLLM/CosyVoice2-0.5B qwen3-asr-flash parakeet-tdt-0.6b"
    ),
    "video": (
        "sora-2 sora-2-pro veo-3.1-generate-preview kling-v2 cogvideox-3 wan2.2-t2v-plus nova-reel-v1:0"
    ),
    "completion": (
        "gpt-3.5-turbo-instruct gpt-3.5-turbo-instruct-0914 davinci-002 babbage-002"
    ),
    "": (
        "m my-model gpt gpt-4o-audio-preview gpt-4o-realtime-preview gemini-2.5-flash-image "
        "gemini-2.0-flash-live-001 llama-guard-3-8b llama3.1:8b-base Qwen/Qwen2.5-7B unknown embedded-llama "
        "attstt claude codestral-latest mistral-ocr-latest acme/llm-1 gemma-fim"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("own_id", "type_"),
    [(own_id, type_) for type_, names in NAMES.items() for own_id in names.split()],
)
def test_type_of_a_name(own_id: str, type_: str) -> None:
    assert type_of_name(own_id) == type_


def test_types_of_names_are_known_types() -> None:
    assert {*NAMES} - {""} == {*TYPE_NAMES}


def test_a_long_name_has_no_type() -> None:
    assert type_of_name("gpt-4" + "o" * 300) == ""


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (b"{}", ("chat", "name")),
        (b'{"type":"image"}', ("image", "list")),
        (b'{"type":"surprise"}', ("chat", "name")),
        (b'{"type":null}', ("chat", "name")),
    ],
)
def test_the_name_counts_only_if_no_type_is_listed(extra: bytes, expected: tuple[str, str]) -> None:
    facts = facts_of(Offer("public", "p", "o", Entry("gpt-4o", extra=extra)))

    assert (facts.type, facts.type_source) == expected


def test_the_name_is_the_own_one() -> None:
    assert facts_of(Offer("gpt-4o", "p", "o", Entry("m"))).type == ""
    original = Offer("gpt-4o", "p", "o", Entry("gpt-4o"))
    assert facts_of(Offer("n", "p", "o", Entry("n"), alias_of=original)).type == "chat"


@pytest.mark.parametrize(
    ("own_id", "inputs", "outputs", "expected"),
    [
        ("m", ["text"], ["embedding"], ("embedding", "modalities")),
        ("m", ["text"], ["embeddings"], ("embedding", "modalities")),
        ("m", ["text"], ["image"], ("image", "modalities")),
        ("m", ["text"], ["speech"], ("audio", "modalities")),
        ("gpt-4o", ["text"], ["video"], ("video", "modalities")),
        ("m", ["text", "image"], ["text"], ("chat", "modalities")),
        ("bge-reranker-v2-m3", ["text"], ["text"], ("rerank", "name")),
        ("m", ["audio"], ["text"], ("", "")),
        ("m", None, ["text"], ("", "")),
        ("m", ["text"], ["text", "image"], ("", "")),
    ],
)
def test_without_a_listed_type_the_modalities_count(
    own_id: str, inputs: list[str] | None, outputs: list[str], expected: tuple[str, str]
) -> None:
    extra = json.dumps({"input_modalities": inputs, "output_modalities": outputs}).encode()
    facts = facts_of(Offer("public", "p", "o", Entry(own_id, extra=extra)))

    assert (facts.type, facts.type_source) == expected
