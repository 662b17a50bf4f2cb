"""Parsing of responses: documented ones (tests/payloads/), and hostile ones."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.catalog import Model, Offer
from proxy.dialects import (
    DIALECTS,
    RESERVED_FIELDS,
    Dialect,
    InvalidEntry,
    Page,
    describe_body,
    entry_of,
    open_page,
    read_entry,
    require_own_id,
    unix_seconds,
)
from proxy.dialects.entry import DEFAULT_PERMISSIONS, Entry, Permission
from proxy.dialects.private import without_private
from proxy.errors import UpstreamError
from proxy.wire.openai import model_object
from proxy.wire.pangu import versions_page
from tests.paths import PAYLOADS

OPENAI = DIALECTS["openai"]
PANGU = DIALECTS["pangu"]
ASKED: Mapping[str, Mapping[str, str]] = {"openai": {}, "pangu": {"workspace_id": "w", "model_id": "0a1b"}}


def read(kind: str, body: bytes) -> list[Entry | str]:
    """All entries of a response in order, with the reason in place of a dropped one."""
    page = open_page(DIALECTS[kind], body)
    return [read_or_reason(DIALECTS[kind], raw, page) for raw in page.items]


def read_or_reason(dialect: Dialect, raw: msgspec.Raw, page: Page) -> Entry | str:
    try:
        entry = read_entry(dialect, raw, ASKED.get(dialect.kind, {}), page.long_numbers)
        if page.is_repaired:
            require_own_id(entry)
        return entry
    except InvalidEntry as reason:
        return str(reason)


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def entry_with(
    model_id: str,
    /,
    owner: str = "",
    created: int = 0,
    *,
    root: str = "",
    parent: str | None = None,
    permissions: Sequence[Permission] = DEFAULT_PERMISSIONS,
    raw: bytes = b"",
    written: str = "",
    **extra: Any,
) -> Entry:
    """An entry without default values; `extra` in the order of the response."""
    other = msgspec.json.encode(extra)
    names = tuple(extra.get("aliases", ()))
    return Entry(model_id, owner, created, root or model_id, parent, tuple(permissions), other, raw, written, names)


def refused(body: bytes, kind: str = "openai") -> str:
    with pytest.raises(UpstreamError) as caught:
        open_page(DIALECTS[kind], body)
    assert (caught.value.kind, caught.value.retryable) == ("invalid_response", False)
    return caught.value.reason


# Documented responses


NO_FLAGS = Permission(False, False, False, False, False, False, False)

EXPECTED: Mapping[str, Sequence[Entry | str]] = {
    "aihubmix_zh": [entry_with("gpt-3.5-turbo-16k", "OpenAI", 1626777600)],
    "aihubmix_ja": [entry_with("gpt-4o-mini", "OpenAI", 1626777600)],
    "aihubmix_catalog": [
        entry_with(
            "gpt-4o-mini",
            model_id="gpt-4o-mini",
            desc="Small and fast.",
            pricing={"input": 0.15, "output": 0.6},
            types="llm",
            features="tools,function_calling",
            input_modalities=["text", "image"],
            max_output=16384,
            context_length=128000,
            type="chat",
            max_output_tokens=16384,
            supports_tools=True,
        )
    ],
    "one_api": [
        entry_with("gpt-4o", "openai", 1626777600),
        entry_with("gpt-4o", "google gemini", 1626777600, permissions=[Permission(allow_view=False, is_blocking=True)]),
        entry_with("our-tune", "custom", 1626777600, parent="gpt-4o"),
    ],
    "new_api": [
        entry_with("claude-3-5-haiku-20241022", "claude", 1626777600, supported_endpoint_types=["anthropic", "openai"])
    ],
    "ctyun": [entry_with("测试模型名称1")],
    "openai": [
        entry_with("gpt-4o", "system", 1715367049, shutdown_date=None),
        entry_with(
            "gpt-3.5-turbo-16k", "openai-internal", 1683758102, shutdown_date="2026-09-28", shutdown_at=1790553600
        ),
        entry_with("ft:gpt-4o-mini-2024-07-18:acme::9xYzAbCd", "acme-inc", 1721400000),
    ],
    "azure_openai": [
        entry_with(
            "gpt-4o-2024-08-06",
            created=1722815000,
            status="succeeded",
            capabilities={
                "fine_tune": False,
                "inference": True,
                "completion": True,
                "chat_completion": True,
                "embeddings": False,
            },
            lifecycle_status="generally-available",
            deprecation={"inference": 1760486400},
            updated_at=1722815001,
            shutdown_at=1760486400,
            type="chat",
        )
    ],
    "groq": [
        entry_with(
            "deepseek-r1-distill-llama-70b",
            "DeepSeek / Meta",
            1737924940,
            active=True,
            context_window=131072,
            public_apps=None,
            max_completion_tokens=131072,
            context_length=131072,
            max_output_tokens=131072,
        ),
        entry_with(
            "qwen/qwen3-32b",
            "Alibaba Cloud",
            1748396646,
            active=True,
            context_window=131072,
            public_apps=None,
            max_completion_tokens=40960,
            context_length=131072,
            max_output_tokens=40960,
        ),
    ],
    "openrouter": [
        entry_with(
            "google/gemma-3-27b-it:free",
            created=1741756359,
            canonical_slug="google/gemma-3-27b-it",
            hugging_face_id="",
            name="Google: Gemma 3 27B (free)",
            context_length=96000,
            architecture={
                "modality": "text+image->text",
                "input_modalities": ["text", "image"],
                "output_modalities": ["text"],
                "tokenizer": "Gemini",
                "instruct_type": "gemma",
            },
            pricing={"prompt": "0", "completion": "0.0000001"},
            top_provider={"context_length": 96000, "max_completion_tokens": 8192, "is_moderated": False},
            per_request_limits=None,
            input_modalities=["text", "image"],
            output_modalities=["text"],
            max_output_tokens=8192,
        )
    ],
    "deepseek": [entry_with("deepseek-chat", "deepseek"), entry_with("deepseek-reasoner", "deepseek")],
    "mistral": [
        entry_with(
            model_id,
            "mistralai",
            1800000000,
            capabilities={"completion_chat": True, "vision": vision},
            name="mistral-large-2411",
            aliases=aliases,
            deprecation=deprecation,
            max_context_length=131072,
            type="base",
            **known,
        )
        for model_id, vision, aliases, deprecation, known in (
            ("mistral-large-2411", False, ["mistral-large-latest"], None, {"context_length": 131072}),
            ("mistral-large-latest", False, ["mistral-large-2411"], None, {"context_length": 131072}),
            (
                "mistral-large-latest",
                True,
                [],
                "2026-12-31T12:00:00Z",
                {"deprecated_at": 1798718400, "context_length": 131072, "input_modalities": ["text", "image"]},
            ),
        )
    ],
    "together": [
        entry_with(
            "meta-llama/Llama-3.3-70B-Instruct-Turbo",
            "Meta",
            1733466629,
            type="chat",
            running=False,
            display_name="Meta Llama 3.3 70B Instruct Turbo",
            organization="Meta",
            link="https://huggingface.co/meta-llama/Llama-3.3-70B-Instruct",
            license="llama3.3",
            context_length=131072,
            config={"chat_template": None, "stop": ["<|eot_id|>"]},
            pricing={"hourly": 0, "input": 0.88, "output": 0.88, "base": 0, "finetune": 0},
        ),
        entry_with(
            "togethercomputer/GPT-JT-6B-v1",
            created=1673378615,
            name="togethercomputer/GPT-JT-6B-v1",
            display_name="GPT-JT-Moderation (6B)",
        ),
    ],
    "github": [
        entry_with(
            "openai/gpt-4.1",
            "OpenAI",
            name="OpenAI GPT-4.1",
            publisher="OpenAI",
            summary="The smartest.",
            rate_limit_tier="high",
            supported_input_modalities=["text", "image"],
            supported_output_modalities=["text"],
            tags=["multipurpose"],
            input_modalities=["text", "image"],
            output_modalities=["text"],
        )
    ],
    "ollama_empty": [],
    "ollama": [entry_with("llama3.2:latest", "library", 1727000000)],
    "lmstudio": [entry_with("qwen2.5-7b-instruct", "organization_owner")],
    "lmstudio_v0": [
        entry_with(
            "qwen2-vl-7b-instruct",
            "mlx-community",
            type="chat",
            publisher="mlx-community",
            arch="qwen2_vl",
            compatibility_type="mlx",
            quantization="4bit",
            state="not-loaded",
            max_context_length=32768,
            context_length=32768,
            input_modalities=["text", "image"],
        )
    ],
    "vllm": [
        entry_with(
            "meta-llama/Llama-3.1-8B-Instruct",
            "vllm",
            1800000000,
            permissions=[Permission(allow_fine_tuning=True)],
            max_model_len=131072,
            context_length=131072,
        ),
        entry_with(
            "sql-lora",
            "vllm",
            1800000000,
            parent="meta-llama/Llama-3.1-8B-Instruct",
            permissions=[Permission(), Permission()],
            max_model_len=None,
        ),
    ],
    "llamacpp": [entry_with("../models/x.gguf", "llamacpp", 1735142223, meta=None)],
    "tags_only": [
        entry_with(
            "llama3.2:latest",
            name="llama3.2:latest",
            model="llama3.2:latest",
            modified_at="2024-05-01T10:00:00.123456789+08:00",
            size=2019393189,
            digest="a80c4f17acd5",
            details=None,
        )
    ],
    "sglang": [entry_with("Qwen/Qwen2.5-7B-Instruct", "sglang", 1800000000, max_model_len=32768, context_length=32768)],
    "tgi": [entry_with("HuggingFaceH4/zephyr-7b-beta", "HuggingFaceH4/zephyr-7b-beta")],
    "localai": [entry_with("gpt-4"), entry_with("stablediffusion")],
    "poe": [
        entry_with(
            "Claude-Sonnet-4.5",
            "Anthropic",
            1758868894,
            architecture={"input_modalities": ["text", "image"], "output_modalities": ["text"]},
            input_modalities=["text", "image"],
            output_modalities=["text"],
        )
    ],
    "maas": [entry_with("DeepSeek-V3", "system"), entry_with("Qwen3-32B")],
    "ppio": [
        entry_with(
            "deepseek/deepseek-r1/community",
            "unknown",
            1738927727,
            input_token_price_per_m=40000,
            output_token_price_per_m=160000,
            title="DeepSeek R1 (Community)",
            description="",
            context_size=64000,
            display_name="DeepSeek R1 (Community)",
            context_length=64000,
        ),
        entry_with(
            "qwen/qwen-2.5-72b-instruct",
            title="Qwen 2.5 72B",
            context_size=32000,
            status=1,
            display_name="Qwen 2.5 72B",
            context_length=32000,
        ),
    ],
    "siliconflow": [entry_with("Pro/deepseek-ai/DeepSeek-V3")],
    "qianfan": [entry_with("ernie-4.0-8k")],
    "volcengine": [
        entry_with(
            "doubao-1-5-pro-32k-250115",
            created=1737000000,
            name="doubao-1-5-pro-32k",
            version="250115",
            domain="LLM",
            status="Retiring",
            modalities={"input_modalities": ["text"], "output_modalities": ["text"]},
            token_limits={"context_window": 32768},
            type="chat",
            input_modalities=["text"],
            output_modalities=["text"],
            context_length=32768,
        )
    ],
    "moonshot": [
        entry_with(
            "kimi-k2-0905-preview",
            "moonshot",
            1700000000,
            permissions=[NO_FLAGS],
            context_length=262144,
            supports_image_in=False,
        )
    ],
    "nvidia_nim": [
        entry_with("01-ai/yi-large", "01-ai", 735790403),
        entry_with("nv-mistralai/mistral-nemo-12b-instruct", "nv-mistralai", 735790403),
    ],
    "cerebras": [entry_with("llama-3.3-70b", "Cerebras")],
    "sambanova": [
        entry_with(
            "Meta-Llama-3.3-70B-Instruct",
            "no-reply@sambanova.example",
            context_length=131072,
            max_completion_tokens=3072,
            pricing={"prompt": "0.0000006", "completion": "0.0000012"},
            max_output_tokens=3072,
        )
    ],
    "deepinfra": [
        entry_with("BAAI/bge-m3", "deepinfra", metadata=None),
        entry_with(
            "openai/gpt-oss-120b",
            "deepinfra",
            metadata={
                "context_length": 131072,
                "max_tokens": 131072,
                "pricing": {"input_tokens": 0.09, "output_tokens": 0.45},
                "tags": ["reasoning"],
            },
            context_length=131072,
            supports_reasoning=True,
        ),
    ],
    "hf_router": [
        entry_with(
            "moonshotai/Kimi-K2-Instruct-0905",
            "moonshotai",
            1756900000,
            architecture={"input_modalities": ["text"], "output_modalities": ["text"]},
            providers=[
                {
                    "provider": "novita",
                    "status": "live",
                    "context_length": 262144,
                    "pricing": {"input": 0.57, "output": 2.3},
                    "supports_tools": True,
                    "first_token_latency_ms": 812.5,
                }
            ],
            input_modalities=["text"],
            output_modalities=["text"],
            context_length=262144,
            supports_tools=True,
        )
    ],
    "hyperbolic": [
        entry_with(
            "Qwen/QwQ-32B",
            "Hyperbolic",
            1800000000,
            number_of_inference_nodes=None,
            supports_chat=True,
            input_price=None,
            context_length=None,
            type="chat",
        )
    ],
    "gemini_openai": [
        entry_with("gemini-2.5-flash", "google", written="models/gemini-2.5-flash", display_name="Gemini 2.5 Flash"),
        entry_with("embedding-001", "google", written="models/embedding-001"),
    ],
    "fireworks": [
        entry_with(
            "accounts/fireworks/models/deepseek-v3",
            "fireworks",
            1735576668,
            kind="HF_BASE_MODEL",
            supports_chat=True,
            supports_image_input=False,
            supports_tools=True,
            context_length=131072,
            type="chat",
        )
    ],
    "anthropic_look": [
        entry_with(
            "claude-opus-4-1-20250805",
            created=1754352000,
            type="model",
            display_name="Claude Opus 4.1",
        ),
        entry_with("claude-old", type="model", display_name="Claude Old"),
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_documented_response_is_parsed_in_order(name: str) -> None:
    assert read("openai", payload(name)) == EXPECTED[name]


def test_every_payload_has_an_expectation() -> None:
    elsewhere = {"pangu", "ctyun_error"}
    assert {path.stem for path in PAYLOADS.glob("*.json")} == {*EXPECTED, *elsewhere}


def test_pangu_version_has_the_requested_model_as_parent() -> None:
    page = open_page(PANGU, payload("pangu"))
    first, second, third = (bytes(raw) for raw in page.items)

    assert read("pangu", payload("pangu")) == [
        entry_with(
            "0f3c9a52-6f0e-4b7e-9a55-2d1f6a7b8c90",
            created=1734683400,
            parent="0a1b",
            raw=first,
            cap_white_list=["cap-a", "cap-b"],
            description="第一个版本",
            config={"llm_model_config": {"base_model_type": "Pangu-NLP-N2-Base"}},
            create_time="2024-12-20T08:30:00Z",
            display_name="盘古 v1.0_基线 版本",
        ),
        entry_with(
            "5b1d7e2f8a904c3db6e1f20a9c8d7e6f",
            created=1734661800,
            parent="0a1b",
            raw=second,
            cap_white_list=[],
            description="",
            config={"llm_model_config": {"base_model_type": "Pangu-NLP-N2-Base"}, "kept": [1, 2.5, {"deep": "盘"}]},
            create_time="1734661800000",
            display_name="v1.1",
        ),
        entry_with(
            "c0ffee00c0ffee00c0ffee00c0ffee00",
            parent="0a1b",
            raw=third,
            create_time="",
            config=None,
            display_name="no more than this",
        ),
    ]
    assert page.value("total") == 3


def test_pangu_version_keeps_its_exact_bytes() -> None:
    body = payload("pangu")
    natives = [entry.raw for entry in read("pangu", body) if isinstance(entry, Entry)]
    assert len(natives) == 3
    assert all(raw in body for raw in natives)
    assert b'"kept":[1,2.50,{"deep":"\\u76d8"}]' in natives[1]
    assert json.loads(versions_page(3, natives)) == json.loads(body)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"llm_model_config": {"model_path": "obs://canary", "kept": 1}}, id="as documented"),
        pytest.param({"llm_model_config": [{"model_path": "obs://canary", "kept": 1}]}, id="in an array"),
        pytest.param([{"llm_model_config": {"model_path": "obs://canary", "kept": 1}}], id="in an array of configs"),
        pytest.param({"llm_model_config": {"model_path": {"canary": "x"}, "kept": 1}}, id="an object"),
    ],
)
def test_account_fields_are_not_shown(config: object) -> None:
    payload = {"id": "v", "create_user": {"user_name": "canary"}, "config": config}
    [entry] = read("pangu", msgspec.json.encode({"versions": [payload]}))
    assert isinstance(entry, Entry)
    assert b"canary" not in entry.extra
    assert b"create_user" not in entry.extra
    assert b'"kept":1' in entry.extra
    assert b"canary" in entry.raw


# The fields


@pytest.mark.parametrize(
    ("payload", "entry"),
    [
        pytest.param({"id": "m"}, entry_with("m"), id="an id is enough"),
        pytest.param(
            {"id": "m", "model_id": "x", "name": "y"}, entry_with("m", model_id="x", name="y"), id="id before all"
        ),
        pytest.param(
            {"model_id": "m", "name": "y"}, entry_with("m", model_id="m", name="y"), id="model_id before name"
        ),
        pytest.param({"name": "m"}, entry_with("m", name="m"), id="name as the last choice"),
        pytest.param({"id": "m", "owned_by": None}, entry_with("m"), id="owner null"),
        pytest.param({"id": "m", "owned_by": 7}, entry_with("m"), id="owner a number"),
        pytest.param(
            {"id": "m", "owned_by": "", "publisher": "p"}, entry_with("m", "p", publisher="p"), id="empty owner"
        ),
        pytest.param({"id": "m", "author": "a"}, entry_with("m", "a", author="a"), id="author"),
        pytest.param({"id": "m", "created": None}, entry_with("m"), id="created null"),
        pytest.param({"id": "m", "created": "", "created_at": 5}, entry_with("m", created=5), id="created_at"),
        pytest.param({"id": "m", "createdAt": "1970-01-01T00:00:05Z"}, entry_with("m", created=5), id="createdAt"),
        pytest.param(
            {"id": "m", "created": 5, "releaseDate": "2024-05-01"},
            entry_with("m", created=5, releaseDate="2024-05-01"),
            id="the creation before the release",
        ),
        pytest.param(
            {"id": "m", "created": 5, "created_at": 1_900_000_000, "create_time": "now", "updated_at": 6},
            entry_with("m", created=5, updated_at=6),
            id="further times of the creation",
        ),
        pytest.param(
            {"id": "m", "displayName": "M 1"}, entry_with("m", displayName="M 1", display_name="M 1"), id="displayName"
        ),
        pytest.param({"id": "m", "root": None, "parent": ""}, entry_with("m"), id="root null, parent empty"),
        pytest.param({"id": "m", "root": 1, "parent": ["x"]}, entry_with("m"), id="root and parent no text"),
        pytest.param({"id": "m", "permission": {}}, entry_with("m"), id="permission an object"),
        pytest.param({"id": "m", "permission": [None, 1]}, entry_with("m"), id="permission of no objects"),
        pytest.param(
            {"id": "m", "permission": [{"allow_view": 0, "allow_sampling": False, "group": "g"}]},
            entry_with("m", permissions=[Permission(allow_sampling=False)]),
            id="flags only where they are booleans",
        ),
        pytest.param(
            {"id": "m", "ID": "x", "Owned_By": "y", "z": 1}, entry_with("m", z=1), id="reserved names in other case"
        ),
    ],
)
def test_field_is_read_from_the_first_path_with_a_value(payload: Mapping[str, object], entry: Entry) -> None:
    assert read("openai", msgspec.json.encode([payload])) == [entry]


@pytest.mark.parametrize(
    ("owner", "found"),
    [
        *((name, "a") for name in ("ownedBy", "creator", "developer", "company", "maker", "owner")),
        *((f"{name}.name", "a") for name in ("vendor", "organization", "creator", "owner")),
        ("owner.id", ""),
        ("provider", ""),
    ],
)
def test_an_owner_has_many_names(owner: str, found: str) -> None:
    name, _, inner = owner.partition(".")
    (entry,) = read("openai", msgspec.json.encode([{"id": "m", name: {inner: "a"} if inner else "a"}]))
    (other,) = read("openai", msgspec.json.encode([{"id": "m", "owned_by": "b", name: "a"}]))

    assert isinstance(entry, Entry)
    assert isinstance(other, Entry)
    assert (entry.owner, other.owner) == (found, "b")


@pytest.mark.parametrize(
    "name", ["createTime", "created_time", "creation_date", "created_on", "releaseDate", "published_at"]
)
def test_a_creation_time_has_many_names(name: str) -> None:
    (entry,) = read("openai", msgspec.json.encode([{"id": "m", name: "2024-05-01"}]))
    (other,) = read("openai", msgspec.json.encode([{"id": "m", "created": 1714521601, name: "2024-05-01"}]))

    assert isinstance(entry, Entry)
    assert isinstance(other, Entry)
    assert (entry.created, other.created) == (1714521600, 1714521601)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("is_deprecated", True, {"deprecated": True}),
        ("isDeprecated", False, {"deprecated": False}),
        ("deprecation_date", "2024-05-01", {"deprecated_at": 1714521600}),
        *(
            (name, "2024-05-01", {"shutdown_at": 1714521600})
            for name in ("expiration_date", "retirement_date", "retired_at", "sunset_date", "end_of_life_date")
        ),
        ("expiration_date", None, {}),
        ("is_deprecated", "soon", {}),
    ],
)
def test_the_end_of_a_model_has_many_names(name: str, value: object, shown: dict[str, object]) -> None:
    (entry,) = read("openai", msgspec.json.encode([{"id": "m", name: value}]))

    assert isinstance(entry, Entry)
    extra = msgspec.json.decode(entry.extra)
    assert {field: extra[field] for field in ("deprecated", "deprecated_at", "shutdown_at") if field in extra} == shown


def test_field_paths_are_dotted() -> None:
    dialect = Dialect(kind="x", id=("about.id",), owner=("about.by",), created=("about.times.made",))
    payload = {"about": {"id": "m", "by": "o", "times": {"made": 5}}}
    assert entry_of(dialect, payload, b"", {}) == entry_with("m", "o", 5, about=payload["about"])


def test_declared_model_is_read_unchanged() -> None:
    payload = {"id": "our-own-13b", "owned_by": "lab", "created": date(2024, 5, 1), "context_length": 32768}
    assert entry_of(DIALECTS["static"], payload, b"", {}) == entry_with(
        "our-own-13b", "lab", 1714521600, context_length=32768
    )
    with pytest.raises(InvalidEntry, match=r"^missing `id`$"):
        entry_of(DIALECTS["static"], {"name": "x"}, b"", {})


@pytest.mark.parametrize(
    ("id_json", "model_id"),
    [
        pytest.param('"gpt 4o (2024)"', "gpt 4o (2024)", id="spaces only"),
        pytest.param('" m "', " m ", id="leading and trailing spaces"),
        pytest.param('"a/b/c:d@e#f?g"', "a/b/c:d@e#f?g", id="slashes and other characters"),
        pytest.param('"ft:gpt-4o-mini:org::x"', "ft:gpt-4o-mini:org::x", id="a fine-tune"),
        pytest.param('"%2F%00%"', "%2F%00%", id="percent"),
        pytest.param('".."', "..", id="dots"),
        pytest.param('"../../etc/x.gguf"', "../../etc/x.gguf", id="a path upwards"),
        pytest.param('"All-Team-Models"', "All-Team-Models", id="similar to the name of a rule"),
        pytest.param('"gpt-4o?"', "gpt-4o?", id="a question mark"),
        pytest.param('"模型"', "模型", id="Chinese"),
        pytest.param('"\\u6a21\\u578b"', "模型", id="Chinese, escaped"),
        pytest.param('"\\ud83d\\ude00"', "😀", id="emoji, escaped"),
        pytest.param('"é"', "\u00e9", id="NFC"),
        pytest.param('"e\\u0301"', "e\u0301", id="NFD"),
        pytest.param('"\\u202eabc"', "\u202eabc", id="right to left"),
        pytest.param('"<script>\\"\\\\"', '<script>"\\', id="markup and quotes"),
        pytest.param(f'"{"x" * 256}"', "x" * 256, id="256 bytes"),
    ],
)
def test_ids_are_opaque(id_json: str, model_id: str) -> None:
    assert read("openai", f'[{{"id":{id_json}}}]'.encode()) == [entry_with(model_id)]


NOT_PORTABLE = "contains non-portable JSON"


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        pytest.param(b'{"x":1}', "missing `id` or `model_id` or `name`", id="no id"),
        pytest.param(b'{"id":null}', "id is not a string", id="id null"),
        pytest.param(b'{"id":null,"name":"n"}', "id is not a string", id="id null, with a name"),
        pytest.param(b'{"id":5}', "id is not a string", id="id an integer"),
        pytest.param(b'{"id":["a"]}', "id is not a string", id="id an array"),
        pytest.param(b'{"id":""}', "empty id", id="id empty"),
        pytest.param(b'{"id":"  "}', "blank id", id="id blank"),
        pytest.param(b'{"id":"a\\r\\nb"}', "id contains control characters", id="CR LF"),
        pytest.param(b'{"id":"a\\u0000"}', "id contains control characters", id="NUL"),
        pytest.param(b'{"id":"\\u001b[31m"}', "id contains control characters", id="escape"),
        pytest.param(b'{"id":"\\u0085"}', "id contains control characters", id="C1"),
        pytest.param(b'{"id":"%b"}' % (b"x" * 257), "id longer than 256 bytes", id="257 bytes"),
        pytest.param(('{"id":"' + "模" * 86 + '"}').encode(), "id longer than 256 bytes", id="258 bytes"),
        pytest.param(b'{"id":"*"}', "wildcard, not a model", id="a wildcard"),
        pytest.param(b'{"id":"openai/*"}', "wildcard, not a model", id="a wildcard of a vendor"),
        pytest.param(b'{"id":"models/gpt-*"}', "wildcard, not a model", id="a wildcard after a prefix"),
        *(
            pytest.param(b'{"id":"%b"}' % name, "name of an access rule, not a model", id=name.decode())
            for name in (b"all-team-models", b"all-proxy-models", b"all-org-models", b"no-default-models")
        ),
        pytest.param(b"null", "not an object", id="null"),
        pytest.param(b'""', "empty id", id="an empty string"),
        pytest.param(b'"a\\r\\nb"', "id contains control characters", id="a string with CR LF"),
        pytest.param(b"7", "not an object", id="a number"),
        pytest.param(b"[]", "not an object", id="an array"),
        pytest.param(b'{"id":"b","x":1e999}', NOT_PORTABLE, id="1e999"),
        pytest.param(b'{"id":"b","x":%b}' % (b"9" * 5000), NOT_PORTABLE, id="5,000 digits"),
        pytest.param(b'{"id":"b","x":[%b]}' % (b"9" * 400), NOT_PORTABLE, id="400 digits"),
        pytest.param(b'{"id":"b","created":-%b}' % (b"9" * 400), NOT_PORTABLE, id="created of 400 digits"),
        pytest.param(b'{"id":"b","x":%b1%b}' % (b"[" * 32, b"]" * 32), NOT_PORTABLE, id="33 levels of arrays"),
        pytest.param(b'{"id":"b","x":%b1%b}' % (b'{"a":' * 900, b"}" * 900), NOT_PORTABLE, id="900 of objects"),
    ],
)
def test_invalid_entry_is_dropped_without_affecting_others(entry: bytes, reason: str) -> None:
    assert read("openai", b'{"data":[{"id":"a"},%b,{"id":"c"}]}' % entry) == [entry_with("a"), reason, entry_with("c")]


@pytest.mark.parametrize(
    ("entry", "result"),
    [
        pytest.param(b'{"id":"b","x":NaN}', entry_with("b", x=None), id="NaN"),
        pytest.param(b'{"id":"b","x":[Infinity,-Infinity]}', entry_with("b", x=[None, None]), id="infinity"),
        pytest.param(b'{"id":"b","context_length":NaN}', entry_with("b", context_length=None), id="a fact"),
        pytest.param(b'{"id":"b","created":NaN}', entry_with("b"), id="a time"),
        pytest.param(b'{"id":NaN}', "id is not a string", id="an id that is no number"),
        pytest.param(
            b'{"id":"b","x":"\\ud83d and so on"}', entry_with("b", x="\ufffd and so on"), id="half a character"
        ),
        pytest.param(b'{"id":"b","x":"\\udc00"}', entry_with("b", x="\ufffd"), id="the other half"),
        pytest.param(
            b'{"id":"b","\\ud800":1}',
            Entry("b", root="b", extra='{"\ufffd":1}'.encode()),
            id="half a character in a name",
        ),
        pytest.param(b'{"id":"b\\ud800"}', "id contains invalid characters", id="half a character in an id"),
        pytest.param(b'{"id":"b","x":"caf\xe9"}', entry_with("b", x="caf\ufffd"), id="another encoding"),
        pytest.param(b'{"id":"b\xff"}', "id contains invalid characters", id="another encoding of an id"),
        pytest.param(b'{"id":"b","x":"1\n2\t3"}', entry_with("b", x="1\n2\t3"), id="lines and tabs"),
        pytest.param(b'{"id":"b\n"}', "id contains control characters", id="a line in an id"),
        pytest.param(b'"b\xff"', "id contains invalid characters", id="a text in another encoding"),
    ],
)
def test_value_that_json_does_not_have_affects_only_itself(entry: bytes, result: Entry | str) -> None:
    others = b'{"id":"a","y":"NaN \\\\ud800 \\ud83d\\ude00"}', b'{"id":"c"}'
    assert read("openai", b'{"data":[%b,%b,%b]}' % (others[0], entry, others[1])) == [
        entry_with("a", y="NaN \\ud800 \U0001f600"),
        result,
        entry_with("c"),
    ]


def test_invalid_value_next_to_the_list_does_not_affect_it() -> None:
    page = open_page(OPENAI, b'{"data":[{"id":"a"}],"total":NaN,"note":"\xff","has_more":true}')
    assert (len(page.items), page.value("total"), page.value("has_more")) == (1, None, True)


def test_entries_with_different_fields_are_parsed_by_their_own_plan() -> None:
    payload = [{"id": "a", "max_model_len": 5}, {"model_id": "b", "x": 1}, {"name": "c", "publisher": "p"}, {"id": "d"}]
    assert read("openai", msgspec.json.encode({"data": [*payload, payload[0]]})) == [
        entry_with("a", max_model_len=5, context_length=5),
        entry_with("b", model_id="b", x=1),
        entry_with("c", "p", name="c", publisher="p"),
        entry_with("d"),
        entry_with("a", max_model_len=5, context_length=5),
    ]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"[" * 31 + b"1" + b"]" * 31, id="32 levels"),
        pytest.param(b"[" + b"[1]," * 40 + b"1]", id="many parallel arrays"),
        pytest.param(b'"' + b"7" * 400 + b'"', id="400 digits in a string"),
        pytest.param(b"1" + b"0" * 308, id="the largest round number of a float"),
    ],
)
def test_unusual_valid_entry_is_unchanged(value: bytes) -> None:
    [entry] = read("openai", b'[{"id":"m","x":%b}]' % value)
    assert isinstance(entry, Entry)
    assert entry.extra == b'{"x":%b}' % value


def test_number_out_of_float_range_is_found_anywhere() -> None:
    for blanks in range(600):
        entry = b'{"id":"b","s":"%b","x":%b}' % (b" " * blanks, b"9" * 310)
        assert read("openai", b"[%b]" % entry) == [NOT_PORTABLE], f"{blanks} blanks before it"


def test_duplicate_entries_are_all_returned() -> None:
    body = b'[{"id":"m","created":1},{"id":"m","created":2}]'
    assert read("openai", body) == [entry_with("m", created=1), entry_with("m", created=2)]


def test_last_of_duplicate_fields_is_used() -> None:
    assert read("openai", b'[{"id":"a","x":1,"id":"b","x":2}]') == [entry_with("b", x=2)]


# Where the list is


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        pytest.param(b'[{"id":"a"}]', ["a"], id="a bare array"),
        pytest.param(b'{"data":[{"id":"a"}]}', ["a"], id="data"),
        pytest.param(b'{"models":[{"id":"a"}]}', ["a"], id="models"),
        pytest.param(b'{"models":[{"id":"b"}],"data":[{"id":"a"}]}', ["a"], id="data before models, never both"),
        pytest.param(b'{"models":[{"id":"b"}],"data":[]}', [], id="an empty data before models"),
        pytest.param(b'{"data":null,"models":[{"id":"a"}]}', ["a"], id="data null, with models"),
        pytest.param(b'{"data":{},"models":[{"id":"a"}]}', ["a"], id="data an object, with models"),
        pytest.param(b'{"object":"list","data":null}', [], id="data null"),
        pytest.param(b'{"models":null}', [], id="models null"),
        pytest.param(b"[]", [], id="an empty array"),
        pytest.param(b'{"data":[],"error":null}', [], id="error null"),
        pytest.param(b'{"code":0,"message":"success","data":null}', [], id="code 0"),
        pytest.param(b'{"code":"200","message":"success","data":null}', [], id="code 200"),
        pytest.param(b'{"code":20000,"message":"Ok","data":[]}', [], id="any code next to an array"),
        pytest.param(b'{"code":true,"data":null}', [], id="an invalid code"),
        pytest.param(b'{"code":"Success","data":null}', [], id="a code in words"),
        pytest.param(b'{"success":true,"data":[{"id":"a"}]}', ["a"], id="success"),
        pytest.param(b'{"error":"warn","data":[{"id":"a"}]}', ["a"], id="models with an error message"),
        pytest.param(b'{"base_resp":{"status_code":0},"data":[]}', [], id="base_resp 0"),
        pytest.param(b'{"data":{"models":[]}}', [], id="an empty array in data"),
        pytest.param(b'{"code":0,"data":{"list":[],"total":0}}', [], id="an empty page in data"),
        pytest.param(b'\xef\xbb\xbf{"data":[{"id":"a"}]}', ["a"], id="a byte order mark"),
        pytest.param(b' \r\n\t{"data": [ {"id" : "a"} ] }\n\n', ["a"], id="spaces everywhere"),
    ],
)
def test_list_is_found_in_every_supported_structure(body: bytes, ids: list[str]) -> None:
    assert [entry.id for entry in read("openai", body) if isinstance(entry, Entry)] == ids


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        pytest.param("openai", ["m-1", "m-2"], id="a bare array"),
        pytest.param("openai", {"data": ["m-1", "m-2"]}, id="data"),
        pytest.param("openai", {"models": ["m-1", {"id": "m-2"}]}, id="among objects"),
        pytest.param("cloudflare", {"result": ["m-1", "m-2"]}, id="at the path of the kind"),
    ],
)
def test_strings_are_ids(kind: str, body: object) -> None:
    entries = read(kind, msgspec.json.encode(body))
    assert entries == [entry_with("m-1"), entry_with("m-2")]


def test_prefix_of_the_kind_is_removed_from_a_string() -> None:
    [entry] = read("gemini", b'{"models":["models/m-1"]}')
    assert isinstance(entry, Entry)
    assert (entry.id, entry.written, entry.extra) == ("m-1", "models/m-1", b"{}")


def test_string_of_a_kind_with_native_endpoints_becomes_an_object_there() -> None:
    assert read("pangu", b'{"versions":["v-1"]}') == [entry_with("v-1", parent="0a1b", raw=b'{"id":"v-1"}')]


@pytest.mark.parametrize(
    ("kind", "body", "entries"),
    [
        pytest.param(
            "openai",
            {"models": {"m-1": {"created": 5, "owned_by": "o"}, "m-2": {}}},
            [entry_with("m-1", "o", 5), entry_with("m-2")],
            id="models",
        ),
        pytest.param("openai", {"data": {"m-1": {"note": "x"}}}, [entry_with("m-1", note="x")], id="data"),
        pytest.param(
            "openai",
            {"m-1": {"max_model_len": 8}, "m-2": {"owned_by": "o"}},
            [entry_with("m-1", max_model_len=8, context_length=8), entry_with("m-2", "o")],
            id="the top level, where each has a field of a model",
        ),
        pytest.param(
            "openai",
            {"data": {"0": {"id": "m-1"}, "2": {"id": "m-2"}}},
            [entry_with("m-1"), entry_with("m-2")],
            id="ids of their own (a filtered array in PHP)",
        ),
        pytest.param("openai", {"data": {"m-1": {"id": 7}}}, [entry_with("m-1")], id="ids that are numbers"),
        pytest.param("openai", {"data": [], "models": {"m-1": {}}}, [], id="an empty array before them"),
        pytest.param(
            "cohere",
            {"models": {"m-1": {}, "x": {"name": "m-2"}}},
            [entry_with("m-1", name="m-1"), entry_with("m-2", name="m-2")],
            id="at the id path of the kind",
        ),
    ],
)
def test_object_of_objects_is_models_by_id(kind: str, body: object, entries: list[Entry]) -> None:
    assert read(kind, msgspec.json.encode(body)) == entries


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"count": 1, "results": [{"id": "m"}]}, id="results"),
        pytest.param({"page": 1, "items": [{"id": "m"}]}, id="items"),
        pytest.param({"code": 0, "msg": "ok", "data": {"list": [{"id": "m"}], "total": 1}}, id="data.list"),
        pytest.param({"success": True, "data": {"models": [{"name": "m"}]}}, id="data.models"),
        pytest.param({"data": {"models": ["m"]}}, id="texts in data.models"),
        pytest.param({"data": {"models": {"m": {}}, "count": 1}}, id="models by id in data.models"),
        pytest.param({"success": True, "result": {"models": [{"id": "m"}]}}, id="result.models"),
        pytest.param({"result": {"models": {"m": {"id": "m"}}}}, id="models by id in result.models"),
        pytest.param({"status": 0, "result": {"data": [{"id": "m"}]}}, id="result.data"),
        pytest.param({"response": {"models": [{"id": "m"}]}}, id="response.models"),
        pytest.param({"data": {"records": [{"id": "m"}], "pages": 1}}, id="data.records"),
        pytest.param({"@odata.context": "$metadata", "value": [{"id": "m"}]}, id="value"),
        pytest.param({"content": [{"id": "m"}], "totalPages": 1}, id="content"),
        pytest.param({"model_list": [{"id": "m"}]}, id="model_list"),
        pytest.param({"available_models": ["m"]}, id="texts in available_models"),
    ],
)
def test_list_that_a_gateway_wraps_is_found(body: object) -> None:
    [found] = read("openai", msgspec.json.encode(body))
    assert isinstance(found, Entry)
    assert found.id == "m"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"results": [{"title": "a page"}]}, id="objects without an id"),
        pytest.param({"data": {"items": [1, 2]}}, id="numbers"),
        pytest.param({"list": ["m"]}, id="texts"),
        pytest.param({"result": []}, id="nothing"),
    ],
)
def test_wrapped_array_of_something_else_is_no_list(body: object) -> None:
    assert refused(msgspec.json.encode(body)).startswith("returned no model list")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"fault": {"faultstring": "Invalid key", "type": "x"}}, id="a fault"),
        pytest.param({"m-1": {"name": "x", "message": "no rights"}}, id="objects with messages"),
        pytest.param({"problem": {"text": "no rights"}}, id="objects without a field of a model"),
        pytest.param({"data": {"error": {"text": "no rights"}}}, id="an error in data"),
        pytest.param({"data": {"Errors": {}}}, id="other spellings"),
        pytest.param({"data": {"user": {"id": "u-1"}}}, id="an account"),
        pytest.param({"data": {"m-1": {}, "count": 1}}, id="not only objects"),
        pytest.param({"acme": {"id": "acme", "models": {"m-1": {}}}}, id="providers with their models"),
        pytest.param({"models": {}}, id="an empty object"),
    ],
)
def test_object_that_may_be_something_else_is_no_list(body: object) -> None:
    assert refused(msgspec.json.encode(body)).startswith("returned no model list")


def no_list(what: str) -> str:
    return f"returned no model list: expected an array at the top level or `data` or `models`, got {what}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "returned an unusable response (empty body)", id="nothing"),
        pytest.param(b" \n", "returned an unusable response (empty body)", id="spaces only"),
        pytest.param(b"\xef\xbb\xbf", "returned an unusable response (empty body)", id="a byte order mark alone"),
        pytest.param(
            b"<!DOCTYPE html><title>Login</title>",
            "returned an unusable response (an HTML page): Login; a proxy or portal requires a login",
            id="HTML",
        ),
        pytest.param(
            b"\n  <html>",
            "returned an unusable response (an HTML page): check base_url; often `/v1` is missing",
            id="HTML after blanks",
        ),
        pytest.param(b"null", no_list("null"), id="null"),
        pytest.param(b"7", no_list("a number"), id="a number"),
        pytest.param(b"true", no_list("a boolean"), id="a boolean"),
        pytest.param(b"{}", no_list("an empty object"), id="an empty object"),
        pytest.param(b'{"data":{}}', no_list("an object with `data`"), id="data an object"),
        pytest.param(b'{"data":"m"}', no_list("an object with `data`"), id="data a string"),
        pytest.param(
            b'{"result":[],"\\u001b[2J":1}',
            no_list("an object with `result`, `[2J`"),
            id="names are sanitized",
        ),
        pytest.param(
            b'{"detail":"Not Found"}',
            no_list("an object with `detail`") + "; message: Not Found",
            id="an object with a message",
        ),
        pytest.param(b'"Invalid token"', "returned an error with status 200: Invalid token", id="a bare string"),
        pytest.param(
            b'{"object":"error","data":null}', "returned an error with status 200: no message", id="no reason"
        ),
        pytest.param(
            b'{"error":"Unexpected endpoint or method. (GET /models)"}',
            "returned an error with status 200: Unexpected endpoint or method. (GET /models)",
            id="error a string",
        ),
        pytest.param(
            b'{"error":{"message":"no such group","code":"x"},"data":[]}',
            "returned an error with status 200: no such group",
            id="error an object",
        ),
        pytest.param(
            b'{"success":false,"message":"token expired"}',
            "returned an error with status 200: token expired",
            id="success",
        ),
        pytest.param(
            b'{"base_resp":{"status_code":1004,"status_msg":"login fail"}}',
            "returned an error with status 200: login fail",
            id="base_resp",
        ),
        pytest.param(
            b'{"success":false,"errors":[{"code":10000,"message":"Authentication error"}],"result":null}',
            "returned an error with status 200: Authentication error",
            id="errors",
        ),
        pytest.param(
            b'{"code":401,"msg":"no login","data":null}',
            "returned an error with status 200: no login",
            id="a code, data null",
        ),
        pytest.param(
            b'{"code":"-1","msg":"no login"}',
            "returned an error with status 200: no login",
            id="a code in a string, no data",
        ),
        pytest.param(
            b'{"error_code":"PANGU.0001","error_msg":"bad token"}',
            "returned an error with status 200: bad token",
            id="error_code",
        ),
        pytest.param(
            payload("ctyun_error"), "returned an error with status 200: AppKey不正确,请使用正确的AppKey", id="ctyun's"
        ),
    ],
)
def test_response_without_a_list_is_rejected_with_its_structure(body: bytes, reason: str) -> None:
    assert refused(body) == reason


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":[{"id":"a"},{"id', id="truncated"),
        pytest.param(b'{"id":"a"}\n{"id":"b"}\n', id="NDJSON"),
        pytest.param(b'{"data":[]} and more', id="trailing data"),
        pytest.param(b"{'data':[]}", id="other quotes"),
        pytest.param(b'{"data":[{"id":"a"},]}', id="a trailing comma"),
        pytest.param(b'{"data":[{"id":"a","x":012}]}', id="a leading zero"),
        pytest.param(b'{"data":[{"id":"a","x":NaN},{"id', id="truncated, after a NaN"),
        pytest.param(b'{"data":[{"id":"a","x":None}]}', id="another word"),
        pytest.param('{"data":[]}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"data":[%b1%b]}' % (b"[" * 100_000, b"]" * 100_000), id="100,000 arrays deep"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 objects deep"),
        pytest.param(b"\x1f\x8b\x08\x00\x00\x00\x00\x00", id="gzip"),
    ],
)
def test_invalid_json_is_rejected(body: bytes) -> None:
    assert refused(body).startswith("returned an unusable response (invalid JSON: ")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":[%b[]]}' % (b"[]," * 600_000), id="600,000 empty arrays"),
        pytest.param(b'{"data":[%b1]}' % (b"1," * 1_000_000), id="a million numbers"),
        pytest.param(b"[" * 1_100_000, id="brackets alone"),
    ],
)
def test_response_with_too_many_values_is_rejected_before_parsing(body: bytes) -> None:
    assert refused(body) == "returned an unusable response (more than 1,000,000 JSON values)"


def test_reason_never_contains_the_content_of_invalid_json() -> None:
    assert "canary" not in refused(b'{"data":[{"api_key":"sk-canary-in-a-body"')


def test_error_message_becomes_one_short_line() -> None:
    reason = refused(msgspec.json.encode({"error": "first\r\n\tsecond\x1b[2J " + "x" * 10_000}))
    assert reason == "returned an error with status 200: " + ("first second [2J " + "x" * 10_000)[:200]


def test_other_values_of_a_page_are_decoded_on_demand() -> None:
    page = open_page(OPENAI, b'{"data":[{"id":"a"}],"links":{"next":"/x"},"has_more":true,"n":null,"bad":1e999}')
    values = {path: page.value(path) for path in ("links.next", "links.prev", "links.next.x", "has_more", "n", "none")}
    assert values == {
        "links.next": "/x",
        "links.prev": None,
        "links.next.x": None,
        "has_more": True,
        "n": None,
        "none": None,
    }
    with pytest.raises(
        UpstreamError, match=r"^invalid_response: returned an unusable response \(non-portable JSON at `bad`\)$"
    ):
        page.value("bad")


def test_top_level_array_has_no_other_values() -> None:
    assert open_page(OPENAI, b'[{"id":"a"}]').value("links.next") is None


# Error messages


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(
            b'{"error":{"message":"Incorrect key","type":"x","param":null,"code":"invalid_api_key"}}',
            "Incorrect key",
            id="OpenAI",
        ),
        pytest.param(b'{"success":false,"message":"no rights"}', "no rights", id="One-API"),
        pytest.param(payload("ctyun_error"), "AppKey不正确,请使用正确的AppKey", id="ctyun"),
        pytest.param(
            b'{"error_code":"PANGU.3254","error_msg":"no workspace","solution_msg":"check it"}',
            "no workspace",
            id="Huawei",
        ),
        pytest.param(
            b'{"error":{"message":"The password is wrong","code":401,"title":"Unauthorized"}}',
            "The password is wrong",
            id="Huawei IAM",
        ),
        pytest.param(
            b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}',
            "invalid x-api-key",
            id="Anthropic",
        ),
        pytest.param(
            b'{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT","details":[{}]}}',
            "API key not valid",
            id="Google",
        ),
        pytest.param(b'[{"error":{"code":400,"message":"API key not valid"}}]', "API key not valid", id="in an array"),
        pytest.param(b'{"message":"Unauthorized","request_id":"r"}', "Unauthorized", id="Mistral"),
        pytest.param(
            b'{"detail":[{"type":"missing","loc":["q"],"msg":"Field required"}]}', "Field required", id="FastAPI"
        ),
        pytest.param(b'{"object":"error","message":{"detail":[{"msg":"Extra inputs"}]}}', "Extra inputs", id="nested"),
        pytest.param(b'{"code":"x","error":"Incorrect key"}', "Incorrect key", id="xAI"),
        pytest.param(b'{"error":"model not found"}', "model not found", id="Ollama"),
        pytest.param(b'{"object":"error","message":"bad","type":"x","param":null,"code":404}', "bad", id="vLLM, older"),
        pytest.param(
            b'{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}',
            "Loading model",
            id="llama.cpp",
        ),
        pytest.param(b'{"error":"Overloaded","error_type":"overloaded"}', "Overloaded", id="TGI"),
        pytest.param(b'{"code":401,"reason":"Unauthorized","message":"no token"}', "no token", id="GPUStack"),
        pytest.param(b'{"code":401,"reason":"Unauthorized"}', "Unauthorized", id="a reason alone"),
        pytest.param('{"error":{"code":"401","message":"令牌已过期"}}'.encode(), "令牌已过期", id="Zhipu"),
        pytest.param(b'{"code":"InvalidApiKey","message":"Invalid","request_id":"r"}', "Invalid", id="DashScope"),
        pytest.param(b'{"code":"InvalidApiKey"}', "InvalidApiKey", id="a code alone"),
        pytest.param(b'"Invalid token"', "Invalid token", id="SiliconFlow"),
        pytest.param(b"404 page not found\n", "404 page not found", id="plain text"),
        pytest.param(b'{"base_resp":{"status_code":1004,"status_msg":"login fail"}}', "login fail", id="MiniMax"),
        pytest.param(b'{"title":"Unauthenticated","detail":"no token","status":401}', "no token", id="Replicate"),
        pytest.param(
            b'{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}],"result":null}',
            "Invalid access token",
            id="Cloudflare",
        ),
        pytest.param(b'{"error":{"code":429,"message":"limit","metadata":{}}}', "limit", id="OpenRouter"),
        pytest.param(b'{"detail":"Invalid API Key"}', "Invalid API Key", id="Nebius"),
        pytest.param(b'\xef\xbb\xbf{"error":"e"}', "e", id="a byte order mark"),
        pytest.param(b'{"error":{"message":"a\\r\\n\\u001b[2J\\u0085b"}}', "a [2J b", id="control characters"),
        pytest.param(b"", "", id="nothing"),
        pytest.param(b"{}", "", id="an empty object"),
        pytest.param(b"null", "", id="null"),
        pytest.param(b"[1,null]", "", id="numbers"),
        pytest.param(b"<html><body>502 Bad Gateway</body></html>", "", id="HTML"),
        pytest.param(b"\xff\xfe\x00", "", id="not a string"),
        pytest.param(b"[" * 100_000, "[" * 200, id="deep brackets"),
        pytest.param(b'{"error":' * 100 + b'"e"' + b"}" * 100, "", id="too deep"),
    ],
)
def test_error_message_is_found_in_every_structure(body: bytes, reason: str) -> None:
    assert describe_body(body).text == reason


# Any input


NAMES = st.sampled_from(
    [*sorted(RESERVED_FIELDS),
     "data", "models", "versions", "model_id", "name", "publisher", "created_at", "create_time",
     "create_user", "config", "llm_model_config", "model_path", "display_name", "error", "message", "code", "success",
     "base_resp", "status_code", "allow_view", "total", "links", "next", "has_more", "Id", "ROOT"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=6,
)
ENTRIES = st.builds(
    lambda known, other: {**other, **known},
    st.fixed_dictionaries(
        {"id": st.text(min_size=1, max_size=20) | st.text("ab/:% 模", min_size=1) | JSON},
        optional={"created": JSON, "owned_by": JSON, "permission": JSON | st.lists(JSON), "config": JSON},
    ),
    st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=3),
)
LISTS = st.lists(ENTRIES, max_size=3) | st.lists(ENTRIES | JSON, max_size=3)
ANSWERS = st.one_of(
    JSON,
    LISTS,
    LISTS.map(lambda entries: {"data": entries, "versions": entries}),
    st.fixed_dictionaries({"data": LISTS, "versions": JSON}, optional={"error": JSON, "models": JSON, "total": JSON}),
)
KINDS = st.sampled_from(["openai", "pangu"])


def read_whatever_it_is(kind: str, body: bytes) -> list[Entry | str] | str:
    try:
        return read(kind, body)
    except UpstreamError as error:
        return str(error)


def check(entry: Entry | str, dialect: Dialect) -> None:
    """Assert the properties of every entry, for any input."""
    if isinstance(entry, str):
        return
    assert 0 < len(entry.id.encode()) <= 256
    assert entry.id.isprintable() or not any(ord(letter) < 0x20 for letter in entry.id)
    extra = strict(entry.extra)
    assert isinstance(extra, dict)
    assert not {name.casefold() for name in extra} & RESERVED_FIELDS
    assert entry.created == unix_seconds(entry.created)
    assert entry.permissions
    listed = strict(model_object(Model((Offer(entry.id, "p", entry.owner, entry),), entry.created)))
    assert listed == {**listed, **extra, "id": entry.id, "root": entry.root, "parent": entry.parent}
    if dialect.raw:
        assert strict(entry.raw)["id"] == entry.id
        assert "create_user" not in extra


def strict(text: bytes) -> Any:
    """Parse JSON with the standard library, without constants that are invalid JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@settings(max_examples=200, deadline=None)
@given(KINDS, ANSWERS)
def test_any_json_is_parsed_or_rejected_and_entries_can_be_listed(kind: str, answer: object) -> None:
    body = json.dumps(answer).encode()
    entries = read_whatever_it_is(kind, body)
    for entry in entries if isinstance(entries, list) else ():
        check(entry, DIALECTS[kind])
    assert read_whatever_it_is(kind, body) == entries, "reading is a function"
    assert isinstance(describe_body(body).text, str)


@settings(max_examples=200, deadline=None)
@given(KINDS, st.binary() | st.text().map(str.encode))
def test_any_bytes_are_parsed_or_rejected(kind: str, body: bytes) -> None:
    read_whatever_it_is(kind, body)
    assert len(describe_body(body).text) <= 200


@settings(max_examples=200, deadline=None)
@given(
    KINDS,
    ANSWERS.map(lambda answer: json.dumps(answer).encode()),
    st.integers(0, 10_000),
    st.sampled_from(
        [b"", b"\xff", b"NaN", b"1e999", b"\\ud800", b"[", b"}", b"\x00", b'"', b"9" * 400, b"\xef\xbb\xbf"]
    ),
)
def test_any_json_with_invalid_parts_is_parsed_or_rejected(kind: str, body: bytes, place: int, bad: bytes) -> None:
    place %= len(body) + 1
    broken = body[:place] + bad + body[place + 1 :]
    entries = read_whatever_it_is(kind, broken)
    for entry in entries if isinstance(entries, list) else ():
        check(entry, DIALECTS[kind])
    describe_body(broken)


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, max_size=3))
def test_entries_do_not_affect_each_other(entries: list[dict[str, object]]) -> None:
    alone = [read("openai", json.dumps([entry]).encode())[0] for entry in entries]
    assert read("openai", json.dumps(entries).encode()) == alone


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.text(min_size=1, max_size=60))
def test_other_fields_pass_through(payload: dict[str, Any], model_id: str) -> None:
    payload = {**payload, "id": model_id}
    [entry] = read("openai", json.dumps([payload]).encode())
    # Private values are tested in test_private.py.
    if isinstance(entry, Entry) and without_private(payload, model_id) == payload:
        hidden = {*RESERVED_FIELDS, *DIALECTS["openai"].private}
        assert strict(entry.extra) == {
            name: value for name, value in payload.items() if name not in hidden and name.casefold() not in hidden
        }


# Metadata


KNOWN = Dialect(
    kind="x",
    owner=(),
    created=(),
    extra={
        "display_name": ("title",),
        "type": ("types",),
        "context_length": ("window", "limits.window"),
        "input_modalities": ("in",),
        "deprecated": ("old",),
        "shutdown_at": ("ends",),
        "pricing.prompt": ("price.in",),
        "pricing.completion": ("price.out",),
    },
    price_per=1_000_000,
)


@pytest.mark.parametrize(
    ("payload", "known"),
    [
        pytest.param({"title": "T"}, {"display_name": "T"}, id="a name"),
        pytest.param({"title": ""}, {"title": ""}, id="no name"),
        pytest.param({"types": "llm"}, {"type": "chat"}, id="a type"),
        pytest.param({"types": "Base"}, {"type": "Base"}, id="an unknown type"),
        pytest.param({"types": "llm,image"}, {"types": "llm,image"}, id="several types are none"),
        pytest.param({"window": 4096}, {"context_length": 4096}, id="a number"),
        pytest.param({"window": 4096.0}, {"context_length": 4096}, id="a whole float (Cohere)"),
        pytest.param({"window": "4096"}, {"context_length": 4096}, id="a numeral"),
        pytest.param({"window": 0}, {"window": 0}, id="zero is unknown"),
        pytest.param({"window": True}, {"window": True}, id="true is not a number"),
        pytest.param({"window": 0.5}, {"window": 0.5}, id="a partial token"),
        pytest.param({"window": "4k"}, {"window": "4k"}, id="not numeric"),
        pytest.param(
            {"window": None, "limits": {"window": 8}},
            {"window": None, "limits": {}, "context_length": 8},
            id="the first with a value",
        ),
        pytest.param(
            {"window": 4, "limits": {"window": 8}},
            {"limits": {"window": 8}, "context_length": 4},
            id="the other is kept",
        ),
        pytest.param({"in": "text, image"}, {"input_modalities": ["text", "image"]}, id="joined with commas"),
        pytest.param({"in": ["text", 7]}, {"in": ["text", 7]}, id="not names"),
        pytest.param({"old": False}, {"deprecated": False}, id="a flag"),
        pytest.param({"old": "no"}, {"old": "no"}, id="not a flag"),
        pytest.param({"ends": "2026-09-28"}, {"shutdown_at": 1790553600}, id="a date"),
        pytest.param({"ends": None}, {"ends": None}, id="not a date"),
        pytest.param(
            {"price": {"in": 0.15, "out": "0.60"}},
            {"price": {}, "pricing": {"prompt": "0.00000015", "completion": "0.0000006"}},
            id="prices",
        ),
        pytest.param({"price": {"in": 0}}, {"price": {}, "pricing": {"prompt": "0"}}, id="zero"),
        pytest.param(
            {"price": {"in": 0}, "pricing.prompt": "x"},
            {"price": {}, "pricing.prompt": "x", "pricing": {"prompt": "0"}},
            id="next to a field with a dot",
        ),
        pytest.param(
            {"price": {"in": 1e-7}}, {"price": {}, "pricing": {"prompt": "0.0000000000001"}}, id="a small float"
        ),
        pytest.param({"price": {"in": "1e999999"}}, {"price": {"in": "1e999999"}}, id="a price of a megabyte"),
        pytest.param({"price": {"in": -1}}, {"price": {"in": -1}}, id="negative (OpenRouter)"),
        pytest.param({"price": {"in": "free"}}, {"price": {"in": "free"}}, id="not a price"),
        pytest.param(
            {"pricing": {"image": "1"}, "price": {"in": 1}},
            {"pricing": {"image": "1", "prompt": "0.000001"}, "price": {}},
            id="next to other prices",
        ),
        pytest.param(
            {"Display_Name": "x", "title": "T"},
            {"Display_Name": "x", "display_name": "T"},
            id="other case is another field",
        ),
    ],
)
def test_metadata_is_shown_under_standard_names_without_guessing(
    payload: Mapping[str, object], known: Mapping[str, object]
) -> None:
    entry = entry_of(KNOWN, {"id": "m", **payload}, b"", {})
    assert json.loads(entry.extra) == known


def test_entries_of_one_owner_share_its_text() -> None:
    entries = [read_entry(OPENAI, b'{"id": "m-%d", "owned_by": "acme"}' % number, {}) for number in range(2)]

    assert [entry.owner for entry in entries] == ["acme", "acme"]
    assert entries[0].owner is entries[1].owner


def test_fields_of_an_entry_occupy_no_more_than_their_size() -> None:
    raw = json.dumps({"id": "m", "description": "x" * 300}).encode()
    dialect = Dialect("new")

    def read_often() -> list[bytes]:
        return [read_entry(dialect, raw, {}).extra for _ in range(100)]

    read_often()  # fills the caches of the dialect and of Python
    tracemalloc.start()
    try:
        extras = read_often()
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()

    assert used / len(extras) < len(extras[0]) + 64  # the header of an object, and its place in the array
