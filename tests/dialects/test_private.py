"""Details of a provider's machines and credentials are removed when its list is parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.catalog import FetchResult
from proxy.config.custom import CustomList
from proxy.dialects import DIALECTS, Dialect, entry_of, read_entry
from proxy.dialects.entry import Entry
from proxy.dialects.private import SafeNames, is_private_name, is_private_text
from tests.fakes import FakeClock, FakeFetch, asked, config_of, digest, started

CANARY = "canary-0000"
ROWS: Mapping[str, Dialect] = {
    **DIALECTS,
    "custom": CustomList.model_validate({"path": "/models", "items": "data"}).dialect,
}
NAME_OF_ID = {"ollama": "model", "lmstudio": "key"}
KINDS = ["openai", "lmstudio", "ollama", "custom"]

HARMLESS: Mapping[str, Any] = {
    "description": "Reads text/plain and audio/mpeg; /think turns thinking on, see https://docs.example/think",
    "huggingface": "https://huggingface.co/acme/m",
    "supported_endpoints": ["/v1/chat/completions", "/chat/completions", "/api/v1/models/acme/m-4.1/endpoints"],
    "status": {"value": "loaded"},
    "meta": {"n_ctx": 4096, "tokenizer": "bpe", "eos_token": "</s>", "limits": [{"max_tokens": 5}]},
    "pricing": {"cost_per_token": 0.1, "input_tokens": "0.2"},
    "capabilities": {"api_key": True, "path": None},
    "note": 'a "quoted" text\n',
}


def payload_of(kind: str, **fields: Any) -> dict[str, Any]:
    return {NAME_OF_ID.get(kind, "id"): "m", **HARMLESS, **fields}


def read(kind: str, payload: Mapping[str, Any], named: frozenset[str] = frozenset()) -> Entry:
    return read_entry(ROWS[kind], msgspec.Raw(msgspec.json.encode(payload)), {}, True, named)


def shown(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(entry.extra)
    return fields


PRIVATE = [
    pytest.param({"status": {"value": "loaded", "args": ["--api-key", CANARY]}}, id="arguments"),
    pytest.param({"status": {"value": "loaded", "preset": f"[m]\napi-key = {CANARY}"}}, id="a preset"),
    pytest.param({"path": f"acme/{CANARY}.gguf"}, id="a path by its name"),
    pytest.param({"file": f"/home/bob/{CANARY}.gguf"}, id="a path by its text"),
    pytest.param({"file": f"/{CANARY}.gguf"}, id="a path at the root"),
    pytest.param({"file": f"~/{CANARY}"}, id="a path at home"),
    pytest.param({"file": f"C:\\models\\{CANARY}"}, id="a path of Windows"),
    pytest.param({"file": f"D:/models/{CANARY}"}, id="a path of Windows with slashes"),
    pytest.param({"file": f"\\\\nas\\{CANARY}"}, id="a path of a network"),
    pytest.param({"source": f"file:///srv/{CANARY}"}, id="the address of a file"),
    pytest.param({"source": f"s3://{CANARY}/m"}, id="the address of a bucket"),
    pytest.param({"url": f"http://10.1.2.3:8000/{CANARY}"}, id="an address in a private network"),
    pytest.param({"url": f"http://[::1]:8000/{CANARY}"}, id="an address of the same machine"),
    pytest.param({"url": f"http://localhost/{CANARY}"}, id="localhost"),
    pytest.param({"url": f"https://{CANARY}.internal/v1"}, id="a name in a private network"),
    pytest.param({"url": f"http://{CANARY}:8000/v1"}, id="a name without a domain"),
    pytest.param({"url": f"https://bob:{CANARY}@api.example/v1"}, id="a login in a URL"),
    pytest.param({"api_base": f"https://{CANARY}.example/v1"}, id="api_base"),
    pytest.param({"base_url": f"https://{CANARY}.example/v1"}, id="base_url"),
    pytest.param({"litellm_params": {"model": "m", "any": CANARY}}, id="litellm_params"),
    pytest.param({"info": {"deep": [{"deeper": {"apiKey": CANARY}}]}}, id="a key, deep"),
    pytest.param({"info": {"deep": [[[["x", f"/srv/models/{CANARY}"]]]]}}, id="a path, deep"),
    pytest.param({"Api-Key": CANARY}, id="a key in other case"),
    pytest.param({"cmd": f"serve {CANARY}"}, id="a command"),
    pytest.param({"env": {"HF_TOKEN": CANARY}}, id="an environment"),
    pytest.param({"token": CANARY}, id="a token"),
    pytest.param({"client_secret": CANARY}, id="a secret"),
    pytest.param({"password": 0, "db_password": CANARY}, id="a password"),
    pytest.param({"headers": {"Authorization": CANARY}}, id="headers"),
    pytest.param({"root": f"/models/{CANARY}"}, id="a root that is a path"),
    pytest.param({"root": f"/{CANARY}"}, id="a root that is a directory"),
    pytest.param({"parent": f"/models/{CANARY}"}, id="a parent that is a path"),
    pytest.param({"owned_by": f"/home/{CANARY}/m"}, id="an owner alone that is a path"),
    pytest.param({"owned_by": f"C:\\models\\{CANARY}"}, id="an owner that is a path of Windows"),
    pytest.param({"owned_by": f"\\\\host\\{CANARY}"}, id="an owner that is a network path"),
    pytest.param({"owned_by": f"file:{CANARY}"}, id="an owner that is a file"),
    pytest.param({"owned_by": f"/home/{CANARY}/m", "publisher": f"/home/{CANARY}/m"}, id="an owner that is a path"),
    pytest.param({"title": f"/home/{CANARY}/m", "display_name": f"/home/{CANARY}/m"}, id="a title that is a path"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("private", PRIVATE)
def test_private_value_is_removed_and_the_rest_is_kept(kind: str, private: dict[str, Any]) -> None:
    payload = payload_of(kind, **private)
    entries = [read(kind, payload) for _ in range(3)]  # also after its names are known
    entry = entries[0]

    assert entries == [entry] * 3
    assert CANARY not in repr(entry)
    assert (entry.id, entry.root, entry.parent) == ("m", "m", None)
    expected = {name: value for name, value in HARMLESS.items() if name not in private or name == "status"}
    assert {name: value for name, value in shown(entry).items() if name in expected} == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("private", PRIVATE)
def test_private_value_is_removed_from_an_entry_without_other_fields(kind: str, private: dict[str, Any]) -> None:
    entries = [read(kind, {NAME_OF_ID.get(kind, "id"): "m", **private}) for _ in range(3)]

    assert entries == entries[:1] * 3
    assert CANARY not in repr(entries[0])


@pytest.mark.parametrize("kind", KINDS)
def test_entry_without_private_values_is_unchanged(kind: str) -> None:
    assert {name: shown(read(kind, payload_of(kind)))[name] for name in HARMLESS} == HARMLESS


@pytest.mark.parametrize("model_id", ["/models/foo", "C:\\models\\foo.gguf", "http://10.0.0.1/foo"])
def test_id_that_is_a_path_is_kept_in_every_field(model_id: str) -> None:
    entry = read("openai", {"id": model_id, "root": model_id, "name": model_id, "file": "/models/foo/x"})
    assert (entry.id, entry.root, shown(entry)) == (model_id, model_id, {"name": model_id})


def test_private_field_in_extra_fields_is_shown_but_not_nested_private_values() -> None:
    payload = {"id": "m", "path": "/srv/m", "status": {"value": "loaded", "args": [CANARY]}, "api_key": CANARY}
    entry = read("openai", payload, frozenset({"path", "status"}))
    assert shown(entry) == {"path": "/srv/m", "status": {"value": "loaded"}}


def test_custom_list_can_read_private_fields() -> None:
    fields = {"context_length": "litellm_params.max_tokens", "description": "model_info.path"}
    row = CustomList.model_validate({"path": "/x", "items": "data", "fields": fields}).dialect
    payload = {"id": "m", "litellm_params": {"max_tokens": 5, "api_key": CANARY}, "model_info": {"path": "/srv/m"}}
    entry = read_entry(row, msgspec.Raw(msgspec.json.encode(payload)), {})
    assert shown(entry) == {"model_info": {}, "context_length": 5, "description": "/srv/m"}


def test_declared_model_is_not_filtered() -> None:
    payload = {"id": "m", "path": "/srv/m", "base_url": "http://10.0.0.1"}
    assert shown(entry_of(DIALECTS["static"], payload, b"", {})) == {"path": "/srv/m", "base_url": "http://10.0.0.1"}


def test_pangu_entry_keeps_only_documented_private_fields() -> None:
    documented = {"id": "v", "create_user": {"id": "u"}, "config": {"llm_model_config": {"model_path": "obs://b/m"}}}
    raw = b'{"price": 2.50, ' + msgspec.json.encode(documented)[1:]
    as_sent = read_entry(DIALECTS["pangu"], msgspec.Raw(raw), {"model_id": "p"})
    less = read_entry(
        DIALECTS["pangu"],
        msgspec.Raw(msgspec.json.encode({**documented, "token": CANARY, "file": f"/srv/{CANARY}/x", "n": 1})),
        {"model_id": "p"},
    )

    hidden = read_entry(
        DIALECTS["pangu"],
        msgspec.Raw(msgspec.json.encode({"id": "v", "permission": [f"/srv/{CANARY}/x"]})),
        {"model_id": "p"},
    )

    assert as_sent.raw == raw
    assert json.loads(hidden.raw) == {"id": "v", "permission": []}
    assert json.loads(less.raw) == {**documented, "n": 1}
    assert CANARY not in repr(less)
    assert shown(less) == {"config": {"llm_model_config": {}}, "n": 1}


@pytest.mark.anyio
async def test_private_values_are_not_in_any_endpoint(fetch: FakeFetch, clock: FakeClock) -> None:
    every = [private.values[0] for private in PRIVATE]
    payload = [{**payload_of("openai", **private), "id": f"m{number}"} for number, private in enumerate(every)]  # type: ignore[arg-type]
    fetch.answers("a", FetchResult(tuple(read("openai", fields) for fields in payload)))
    text = f"""
providers: [{{name: a, base_url: "http://127.0.0.1/v1"}}]
keys: [{{name: k, hash: "{digest("sk-fake")}", models: ["*"], admin: true}}]
"""
    paths = ["/v1/models", "/health", *(f"/v1/models/m{number}" for number in range(len(payload)))]
    async with started(config_of(text), fetch, clock) as app:
        replies = [await asked(app, path, {"x-api-key": "sk-fake"}) for path in paths]

    assert {reply.status for reply in replies} == {200}
    assert [path for path, reply in zip(paths, replies, strict=True) if CANARY.encode() in reply.body] == []
    assert len(replies[0].json["data"]) == len(payload)


# -- names and texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "tokenizer", "token_limits", "eos_token", "cost_per_token", "tokens", "key", "name", "id", "url",
     "chat_template_kwargs", "endpoints", "format", "hostile", "created", "author", "hugging_face_id", "commands"],
)  # fmt: skip
def test_similar_names_are_not_private(name: str) -> None:
    assert not is_private_name(name)


@pytest.mark.parametrize(
    "name",
    ["PATH", "modelPath", "local_path", "x-api-key", "OPENAI_API_KEY", "access-token", "Access Token", "AWS_SECRET",
     "vertex_credentials", "cache_dir", "remote_host", "baseURL", "openai_api_base", "Authorization"],
)  # fmt: skip
def test_private_names_are_recognized_in_any_spelling(name: str) -> None:
    assert is_private_name(name)


@pytest.mark.parametrize(
    "text",
    ["", "/", "/think", "/think and/or", "a/b/c", "and/or", "./x", "text->text", "C: a drive", "acme:model/x", "8:1",
     "http://", "https://docs.example/v1", "https://8.8.8.8/", "see http://localhost:1 and more", "hf://acme/m",
     "/v1/models", "/openai/deployments/m", "/chat/completions", "/v1beta/models/m.1:generate"],
)  # fmt: skip
def test_texts_similar_to_paths_are_not_private(text: str) -> None:
    assert not is_private_text(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "192.168.0.9", "169.254.169.254", "[fd00::1]", "gpu-7", "vllm.svc",
                                  "x.cluster.local", "nas.lan", "LOCALHOST", "api.corp.", "[broken"])  # fmt: skip
def test_private_addresses_are_private(host: str) -> None:
    assert is_private_text(f"http://{host}:8000/v1")


# -- safe names ------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["id", "a", "b", "path", "args"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(NAMES, JSON, max_size=4), max_size=6))
def test_safe_names_decode_like_json_and_contain_no_private_name(entries: list[dict[str, Any]]) -> None:
    names = SafeNames()
    for payload in [*entries, *entries]:
        text = msgspec.json.encode(payload)
        try:
            decoded = names.decode(text)
        except ValueError:
            names.add_if_safe(payload)
        else:
            assert json.dumps(decoded) == json.dumps(msgspec.json.decode(text))
            assert b'"path"' not in text
            assert b'"args"' not in text


def test_safe_names_accept_seen_names_and_reject_new_names_at_any_depth() -> None:
    names = SafeNames()
    assert names.add_if_safe({"id": "m", "meta": {"n": [1, {"deep": None}]}})
    assert names.decode(b'{"meta": {"deep": 1}, "id": 5}') == {"meta": {"deep": 1}, "id": 5}
    for text in (b'{"id": "m", "args": 1}', b'{"id": {"args": 1}}', b'{"id": [{"n": {"args": 1}}]}', b'["id"]'):
        with pytest.raises(ValueError, match=r"Expected|Invalid"):
            names.decode(text)


def test_new_names_in_each_entry_create_few_decoders() -> None:
    names = SafeNames()
    made = set()
    for number in range(5000):
        assert names.add_if_safe({f"name-{number}": {f"inner-{number}": 1}})
        made.add(names.decode)
    assert len(made) < 20
