"""Details of a provider's machines and credentials are removed when its list is parsed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.custom import CustomList
from proxy.config.list_settings import ListSettings, adjusted
from proxy.dialects import DIALECTS, Dialect, InvalidEntry, entry_of, read_entry
from proxy.dialects.entry import Entry
from proxy.dialects.private import SafeNames, is_private_name
from proxy.dialects.private_signs import ALL_SIGNS, Sign, has_sign, may_be_private, signs_in
from proxy.dialects.private_text import is_private_text
from tests.dialects.private_values import FORMS, PRIVATE, C, traces_in
from tests.paths import PAYLOADS

SHOWN: Mapping[str, Dialect] = {kind: DIALECTS[kind] for kind in ("openai", "lmstudio", "ollama")}
"""Dialects that show all fields, with their usual ids."""
NAME_OF_ID = {"ollama": "model", "lmstudio": "key"}

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
PUBLIC_TEXTS: list[str] = [
    json.loads(line) for line in (PAYLOADS / "public_texts.jsonl").read_text(encoding="utf-8").splitlines()
]
"""Values of real lists and documentation that are not private."""


def payload_of(kind: str, **fields: Any) -> dict[str, Any]:
    return {NAME_OF_ID.get(kind, "id"): "m", **HARMLESS, **fields}


def read(
    dialect: Dialect, payload: Mapping[str, Any], named: frozenset[str] = frozenset(), signs: Sequence[Sign] = ALL_SIGNS
) -> Entry:
    return read_entry(dialect, msgspec.Raw(msgspec.json.encode(payload)), {}, True, named, signs)


def read_as_page(dialect: Dialect, payload: Mapping[str, Any]) -> Entry:
    """Read an entry like one of a response that contains nothing else."""
    return read(dialect, payload, signs=signs_in(msgspec.json.encode(payload)))


def custom(**listing: Any) -> Dialect:
    return CustomList.model_validate({"path": "/x", "items": "data", **listing}).dialect


def shown(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(entry.extra)
    return fields


# -- private values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("name", PRIVATE)
def test_private_value_is_removed_and_the_rest_is_kept(kind: str, name: str) -> None:
    private = PRIVATE[name]
    payload = payload_of(kind, **private)
    entries = [read_as_page(SHOWN[kind], payload) for _ in range(3)]  # also after its names are known
    entry = entries[0]

    assert entries == [entry] * 3
    assert not traces_in(repr(entry).encode())
    assert (entry.id, entry.root, entry.parent) == ("m", "m", None)
    expected = {name: value for name, value in HARMLESS.items() if name not in private or name == "status"}
    assert {name: value for name, value in shown(entry).items() if name in expected} == expected


@pytest.mark.parametrize("kind", SHOWN)
@pytest.mark.parametrize("name", PRIVATE)
def test_private_value_is_removed_from_an_entry_without_other_fields(kind: str, name: str) -> None:
    payload = {NAME_OF_ID.get(kind, "id"): "m", **PRIVATE[name]}
    entries = [read_as_page(SHOWN[kind], payload) for _ in range(3)]

    assert entries == entries[:1] * 3
    assert not traces_in(repr(entries[0]).encode())


@pytest.mark.parametrize("name", FORMS)
def test_private_text_is_removed_if_its_characters_are_escaped(name: str) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in FORMS[name])
    text = b'{"id": "m", "about": "%s", "n": 1}' % escaped.encode()
    entries = [
        read_entry(DIALECTS["openai"], msgspec.Raw(text), {}, True, frozenset(), signs_in(text)) for _ in range(3)
    ]
    assert [shown(entry) for entry in entries] == [{"n": 1}] * 3


@pytest.mark.parametrize("kind", SHOWN)
def test_entry_without_private_values_is_unchanged(kind: str) -> None:
    entry = read_as_page(SHOWN[kind], payload_of(kind))
    assert {name: shown(entry)[name] for name in HARMLESS} == HARMLESS


@pytest.mark.parametrize("text", PUBLIC_TEXTS)
def test_public_text_is_unchanged(text: str) -> None:
    payload = {"id": "m", "about": text, "list": [text, {"inner": text}]}
    entries = [read_as_page(DIALECTS["openai"], payload) for _ in range(3)]
    assert [shown(entry) for entry in entries] == [{"about": text, "list": [text, {"inner": text}]}] * 3


def test_there_are_many_public_texts() -> None:
    assert len(set(PUBLIC_TEXTS)) >= 150


def test_array_of_options_is_removed_as_a_whole() -> None:
    entry = read(DIALECTS["openai"], {"id": "m", "flags": ["serve", "--port", "80"], "tags": ["a", "-1", "--"]})
    assert shown(entry) == {"tags": ["a", "-1", "--"]}


def test_text_with_json_is_removed_only_if_it_contains_private_values() -> None:
    public, private = '{"a": [1, "b"]}', '{"a": [{"token": "x"}]}'
    assert shown(read(DIALECTS["openai"], {"id": "m", "x": public, "y": private, "z": "[" * 5000})) == {
        "x": public,
        "z": "[" * 5000,
    }


def test_text_with_deeply_nested_json_is_removed() -> None:
    nested = '["x",' + '{"a":' * 900 + "1" + "}" * 900 + "]"
    assert shown(read(DIALECTS["openai"], {"id": "m", "x": nested, "n": 1})) == {"n": 1}


# -- ids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_id", ["/models/foo", "C:\\models\\foo.gguf", "http://10.0.0.1/foo"])
def test_id_that_is_a_path_is_kept_in_every_field_and_its_directory_is_not(model_id: str) -> None:
    payload = {"id": model_id, "root": model_id, "name": model_id, "file": "/models/foo/x", "about": "in /models/foo"}
    for _ in range(3):
        entry = read_as_page(DIALECTS["openai"], payload)
        assert (entry.id, entry.root, shown(entry)) == (model_id, model_id, {"name": model_id})


@pytest.mark.parametrize(
    "own_id", ["sk-kookaburra-0000", "acme/sk-kookaburra-0000", "https://bob:made-up@api.example/m"]
)
@pytest.mark.parametrize("as_text", [False, True])
def test_entry_whose_id_contains_a_secret_is_dropped(own_id: str, as_text: bool) -> None:
    raw = msgspec.Raw(msgspec.json.encode(own_id if as_text else {"id": own_id}))
    for _ in range(3):
        with pytest.raises(InvalidEntry, match=r"^id contains a secret$"):
            read_entry(DIALECTS["openai"], raw, {})


@pytest.mark.parametrize("root", ["acme/m-8b", "acme/m:latest", "m", "accounts/acme/models/m"])
def test_root_that_is_another_model_is_kept(root: str) -> None:
    assert read_as_page(DIALECTS["openai"], {"id": "x", "root": root}).root == root


@pytest.mark.parametrize("kind", SHOWN)
def test_owner_that_is_a_relative_file_is_removed(kind: str) -> None:
    assert read_as_page(SHOWN[kind], payload_of(kind, owned_by="file:made-up", publisher="file:made-up")).owner == ""


# -- named fields --------------------------------------------------------------------------------------------------


def test_private_field_in_extra_fields_is_shown_but_not_nested_private_values() -> None:
    payload = {"id": "m", "path": "/srv/m", "status": {"value": "loaded", "args": [C]}, "api_key": C}
    entry = read(DIALECTS["openai"], payload, frozenset({"path", "status"}))
    assert shown(entry) == {"path": "/srv/m", "status": {"value": "loaded"}}


def test_private_field_in_extra_fields_by_a_path_is_shown() -> None:
    inner = {"args": ["--port", "80"], "env": {"A": "b"}, "value": "loaded"}
    payload = {"id": "m", "status": inner, "litellm_params": {"model": "x", "api_key": C}, "about": f"sk-{C}"}
    entry = read(DIALECTS["openai"], payload, frozenset({"status.args", "litellm_params.model", "about"}))
    assert shown(entry) == {
        "status": {"args": ["--port", "80"], "value": "loaded"},
        "litellm_params": {"model": "x"},
        "about": f"sk-{C}",
    }


def test_custom_list_shows_only_named_fields() -> None:
    row = custom(fields={"context_length": "limits.context"}, owned_by="by")
    payload = {"id": "m", "by": "acme", "limits": {"context": 5, "rpm": 9}, "about": "x", "root": "r", "parent": "p"}
    for _ in range(3):
        assert read_as_page(row, payload) == Entry("m", owner="acme", root="m", extra=b'{"context_length":5}')


def test_custom_list_shows_fields_in_extra_fields_without_their_private_values() -> None:
    row = custom(fields={"context_length": "limits.context"})
    payload = {"id": "m", "limits": {"context": 5, "rpm": 9}, "info": {"team": "x", "api_key": C, "mode": "chat"}}
    for _ in range(3):
        assert shown(read(row, payload, frozenset({"limits.rpm", "info"}))) == {
            "context_length": 5,
            "limits": {"rpm": 9},
            "info": {"team": "x", "mode": "chat"},
        }


def test_custom_list_can_read_private_fields() -> None:
    row = custom(fields={"context_length": "litellm_params.max_tokens", "description": "model_info.path"})
    payload = {"id": "m", "litellm_params": {"max_tokens": 5, "api_key": C}, "model_info": {"path": "/srv/m"}}
    assert shown(read(row, payload)) == {"context_length": 5, "description": "/srv/m"}


def test_field_that_other_kinds_read_by_setting_can_be_private() -> None:
    settings = ListSettings.model_validate({"fields": {"context_length": "litellm_params.max_tokens"}})
    row = adjusted(DIALECTS["openai"], settings)
    assert shown(read(row, {"id": "m", "litellm_params": {"max_tokens": 5, "api_key": C}})) == {"context_length": 5}


@pytest.mark.parametrize("text", FORMS.values())
def test_custom_list_does_not_show_a_private_text_in_a_field_that_is_not_private(text: str) -> None:
    row = custom(fields={"description": ["about", "text"], "display_name": "name"}, owned_by="by")
    payload = {"id": "m", "about": text, "text": "public", "by": text, "name": "M"}
    assert read_as_page(row, payload) == Entry("m", root="m", extra=b'{"description":"public","display_name":"M"}')


def test_declared_model_is_not_filtered() -> None:
    payload = {"id": "m", "path": "/srv/m", "base_url": "http://10.0.0.1"}
    assert shown(entry_of(DIALECTS["static"], payload, b"", {})) == {"path": "/srv/m", "base_url": "http://10.0.0.1"}


def test_pangu_entry_keeps_only_documented_private_fields() -> None:
    documented = {"id": "v", "create_user": {"id": "u"}, "config": {"llm_model_config": {"model_path": "obs://b/m"}}}
    raw = b'{"price": 2.50, ' + msgspec.json.encode(documented)[1:]
    as_sent = read_entry(DIALECTS["pangu"], msgspec.Raw(raw), {"model_id": "p"})
    more = {"token": C, "file": f"/srv/{C}/x", "n": 1, "model_path": f"obs://{C}/m"}
    user = {"create_user": {"id": "u", "token": C}}
    less = read_entry(
        DIALECTS["pangu"], msgspec.Raw(msgspec.json.encode({**documented, **more, **user})), {"model_id": "p"}
    )

    hidden = read_entry(
        DIALECTS["pangu"],
        msgspec.Raw(msgspec.json.encode({"id": "v", "permission": [f"/srv/{C}/x"]})),
        {"model_id": "p"},
    )

    assert as_sent.raw == raw
    assert json.loads(hidden.raw) == {"id": "v", "permission": []}
    assert json.loads(less.raw) == {**documented, "n": 1}
    assert not traces_in(repr(less).encode())
    assert shown(less) == {"config": {"llm_model_config": {}}, "n": 1}


@pytest.mark.parametrize("name", PRIVATE)
def test_raw_entry_contains_no_private_value(name: str) -> None:
    raw = msgspec.Raw(msgspec.json.encode({"id": "v", **PRIVATE[name]}))
    assert not traces_in(read_entry(DIALECTS["pangu"], raw, {"model_id": "p"}).raw)


@pytest.mark.parametrize(
    "part",
    [
        "a@a.",
        "1.1.1.1 ",
        "\\a",
        "/a",
        "--a ",
        "http://a",
        "sk-",
        "eyJa",
        "A=b ",
        "key=",
        "a.local",
        "./a",
        "$A",
        '{"',
        "-",
    ],
)
def test_long_text_is_checked_in_linear_time(part: str) -> None:
    text = part * (200_000 // len(part))
    before = time.process_time()
    is_private_text(text)
    read(DIALECTS["openai"], {"id": "m", "about": text})
    assert time.process_time() - before < 10, "quadratic time would take minutes"


# -- signs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", FORMS.values())
def test_private_text_has_a_sign_that_its_page_has_too(text: str) -> None:
    entry = msgspec.json.encode({"id": "m", "about": text})
    signs = signs_in(b'{"data":[%s]}' % entry)
    assert has_sign(entry, signs)
    assert may_be_private(text, signs)


def test_most_lists_have_no_sign() -> None:
    names = ["openai", "groq", "deepseek", "moonshot", "mistral", "siliconflow", "one_api", "cerebras"]
    assert [name for name in names if signs_in((PAYLOADS / f"{name}.json").read_bytes())] == []


PIECES = [
    *("sk-", "dsk-", "gsk_", "sk_", "hf_", "AIza", "xai-", "pplx-", "nvapi-", "tvly-", "AKIA", "ASIA", "ABSK", "LTAI"),
    *(
        "bedrock-api-key-",
        "AKID",
        "ALTAK-",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "eyJ",
        "eyAi",
    ),
    *("Bearer ", "Basic Ym9iOm1hZGUtdXA=", "-----BEGIN KEY-----", "api_key=", "?sig=", "'password': '", "bob:x@y.z"),
    *("vllm --port 8", "--api-key ", "localhost", ":8000", "://", "10.0.0.5", ".internal", ".intranet", ".Local"),
    *(
        ".lan",
        ".corp",
        ".private",
        ".svc",
        ".cluster",
        ".home.arpa",
        "/srv/",
        "./",
        "~/",
        "$HOME/",
        "C:\\",
        "models--a--",
    ),
    *("file:", "\\", "m", "M", "0", "made0up0made0up0made0", "-", "_", ".", "/", " ", "模", "a", "t", "x", "s"),
]
"""What private texts consist of, and what can be around it."""


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=5).map("".join))
def test_no_private_text_lacks_a_sign(text: str) -> None:
    entry = msgspec.json.encode({"id": "m", "about": text})
    assert may_be_private(text, signs_in(b'{"data":[%s]}' % entry)) or not is_private_text(text)


@pytest.mark.parametrize("start", PIECES)
def test_no_private_text_with_a_beginning_lacks_a_sign(start: str) -> None:
    for before, after in product(
        ("", "m", "a ", "M-", "x/"), ("made0up0made0up0made0", ":8000/m", "m/m.gguf", "a", "")
    ):
        text = f"{before}{start}{after}"
        signs = signs_in(msgspec.json.encode({"id": "m", "about": text}))
        assert may_be_private(text, signs) or not is_private_text(text)


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
     "http://", "https://docs.example/v1", "https://8.8.8.8/", "hf://acme/m",
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
