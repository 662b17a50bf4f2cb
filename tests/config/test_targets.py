"""The URL, credential and model id of calls, for each kind of provider."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy.calls import Api
from proxy.config import Provider, Target
from proxy.dialects import DIALECTS, Auth
from tests.fakes import config_of

BASE = "https://p.example"
BEARER = Auth()
BOTH: tuple[Api, ...] = ("openai", "anthropic")
OWN: Mapping[str, tuple[Api, ...]] = {"gemini": (*BOTH, "gemini"), "ollama": (*BOTH, "ollama")}
GOOGLE = Target(f"{BASE}/v1beta", Auth("header", "x-goog-api-key"), "{id}", speaks=OWN["gemini"], version="/v1beta")
LIST = {"path": "/catalog", "auth": {"header": "X-Odd-Key"}}


def provider(**settings: Any) -> Provider:
    given = {"name": "p", "api_key": "sk-canary-target", **settings}
    return config_of(json.dumps({"providers": [given]})).providers[0]


OF_KINDS: Mapping[str, tuple[Mapping[str, Any], Target | None]] = {
    "openai": ({}, Target(f"{BASE}/v1", BEARER, "{id}")),
    "anthropic": ({}, Target(f"{BASE}/v1", Auth("header", "x-api-key"), "{id}")),
    "gemini": ({}, Target(f"{BASE}/v1beta/openai", BEARER, "{id}", speaks=OWN["gemini"], gemini=GOOGLE)),
    "vertex": (
        {"project": "p1", "location": "eu"},
        Target(f"{BASE}/v1beta1/projects/p1/locations/eu/endpoints/openapi", BEARER, "google/{id}"),
    ),
    "cohere": ({}, Target(f"{BASE}/compatibility/v1", BEARER, "{id}", BASE)),
    "ollama": ({}, Target(f"{BASE}/v1", BEARER, "{id}", speaks=OWN["ollama"])),
    "lmstudio": ({}, Target(f"{BASE}/v1", BEARER, "{id}")),
    "azure": ({}, Target(f"{BASE}/openai/v1", Auth("header", "api-key"), "{id}")),
    "fireworks": ({}, Target(f"{BASE}/inference/v1", BEARER, "{id}")),
    "github": ({}, Target(f"{BASE}/inference", BEARER, "{id}")),
    "replicate": ({}, None),
    "cloudflare": ({"account_id": "a1"}, Target(f"{BASE}/client/v4/accounts/a1/ai/v1", BEARER, "{id}")),
    "dashscope": ({}, Target(f"{BASE}/compatible-mode/v1", BEARER, "{id}")),
    "gpustack": ({}, Target(f"{BASE}/v1", BEARER, "{id}")),
    "pangu": ({"workspace_id": "w", "model_ids": ["m"]}, None),
    "bedrock": ({"region": "us-east-1"}, None),
    "static": ({"base_url": None, "api_key": None, "models": [{"id": "m"}]}, None),
    "custom": ({"list": LIST}, None),
}


def of_kind(kind: str, **settings: Any) -> Provider:
    given = {"kind": kind, "base_url": BASE, "api_key": "sk-canary-target", **OF_KINDS[kind][0], **settings}
    return provider(**{name: value for name, value in given.items() if value is not None})


@pytest.mark.parametrize("kind", OF_KINDS)
def test_each_kind_has_its_call_url(kind: str) -> None:
    assert of_kind(kind).target == OF_KINDS[kind][1]


@pytest.mark.parametrize("kind", OF_KINDS)
def test_call_url_can_be_overridden_for_every_kind(kind: str) -> None:
    given, row = OF_KINDS[kind][1], DIALECTS[kind]
    auth = LIST_AUTH if kind == "custom" else given.auth if given else row.call_auth or row.auth
    call_id = given.call_id if given else "{id}"
    elsewhere = of_kind(kind, call={"base_url": "https://other.example/x/"})
    otherwise = of_kind(kind, call={"base_url": "https://other.example/x", "auth": {"header": "X-Other"}})

    speaks = OWN.get(kind, BOTH)
    assert elsewhere.target == Target("https://other.example/x", auth, call_id, speaks=speaks)
    assert otherwise.target == Target("https://other.example/x", Auth("header", "X-Other"), call_id, speaks=speaks)


LIST_AUTH = Auth("header", "X-Odd-Key")


@pytest.mark.parametrize(
    ("target", "path", "url"),
    [
        (Target(f"{BASE}/api/v1", BEARER, "{id}"), "/v1/chat/completions", f"{BASE}/api/v1/chat/completions"),
        (Target(f"{BASE}/inference", BEARER, "{id}"), "/v1/chat/completions", f"{BASE}/inference/chat/completions"),
        (Target(f"{BASE}/api/v1", BEARER, "{id}"), "/v2/rerank", f"{BASE}/api/v2/rerank"),
        (Target(f"{BASE}/v1beta2", BEARER, "{id}"), "/tokenize", f"{BASE}/tokenize"),
        (Target(f"{BASE}/inference", BEARER, "{id}"), "/v2/rerank", f"{BASE}/inference/v2/rerank"),
        (Target(f"{BASE}/compatibility/v1", BEARER, "{id}", BASE), "/v2/rerank", f"{BASE}/v2/rerank"),
        (
            Target(f"{BASE}/compatibility/v1", BEARER, "{id}", BASE),
            "/v1/embeddings",
            f"{BASE}/compatibility/v1/embeddings",
        ),
    ],
)
def test_a_path_without_v1_is_called_below_the_base_url_without_its_version(
    target: Target, path: str, url: str
) -> None:
    assert target.url(path) == url


def test_models_can_be_called_through_every_api_unless_the_provider_supports_fewer() -> None:
    targets = [provider(base_url=BASE, **speaks).target for speaks in ({}, {"speaks": ["anthropic"]})]

    assert [target and target.speaks for target in targets] == [("openai", "anthropic"), ("anthropic",)]


@pytest.mark.parametrize("kind", [kind for kind, (_, target) in OF_KINDS.items() if target])
def test_the_models_of_a_kind_with_an_api_of_its_own_can_be_called_through_it(kind: str) -> None:
    assert of_kind(kind).speaks == OWN.get(kind, BOTH)
    assert of_kind(kind, speaks=["openai"]).speaks == ("openai",)


@pytest.mark.parametrize("kind", OF_KINDS)
def test_calls_can_be_disabled_for_every_kind(kind: str) -> None:
    assert of_kind(kind, call=False).target is None


@pytest.mark.parametrize("settings", [{"project": None}, {"location": None}, {"project": None, "location": None}])
def test_vertex_without_project_and_location_is_not_callable(settings: Mapping[str, None]) -> None:
    assert of_kind("vertex", **settings).target is None


def test_vertex_call_id_has_the_publisher() -> None:
    target = of_kind("vertex", publisher="anthropic").target

    assert target is not None
    assert target.call_id == "anthropic/{id}"


@pytest.mark.parametrize(
    ("kind", "base_url", "wanted"),
    [
        ("openai", "https://p.example/api/v3/models/", "https://p.example/api/v3"),
        ("openai", "http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("cohere", "https://p.example:8443/v1", "https://p.example:8443/compatibility/v1"),
        ("dashscope", "https://p.example/api/v1", "https://p.example/compatible-mode/v1"),
        ("ollama", "http://127.0.0.1:11434/sub", "http://127.0.0.1:11434/sub/v1"),
        ("gemini", "https://p.example/v1beta/", "https://p.example/v1beta/openai"),
    ],
)
def test_call_url_keeps_port_and_path_of_the_base_url(kind: str, base_url: str, wanted: str) -> None:
    target = of_kind(kind, base_url=base_url).target

    assert target is not None
    assert target.base_url == wanted
