"""Settings that adjust the list of any provider: the row that they make, and mistakes in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from proxy.config import Provider
from proxy.dialects import DIALECTS, EXTRA_NAMES, read_entry
from proxy.upstream.credentials import secrets_of
from tests.config.outcomes import PAIRS, parsed, problems_of
from tests.providers.faults import playing
from tests.upstream.fetching import at, fetch_list

CUSTOM = "kind: custom, list: {path: /catalog, items: data}"
STANDARD = ("owned_by", "created", *EXTRA_NAMES)
SETTINGS_OF_KINDS: Mapping[str, Mapping[str, Any]] = {
    "pangu": {"workspace_id": "w", "model_ids": ["m"]},
    "cloudflare": {"account_id": "a"},
    "custom": {"list": {"path": "/c"}},
    "static": {"models": [{"id": "declared"}]},
}


def of_kind(kind: str, **settings: Any) -> Provider:
    provider = {"name": "p", "kind": kind, "base_url": "http://h/v1", **SETTINGS_OF_KINDS.get(kind, {}), **settings}
    return parsed(json.dumps({"providers": [provider]})).providers[0]


def entry(provider: Provider, **fields: object) -> tuple[str, str, int, dict[str, Any]]:
    """Id, owner, creation time and other fields of an entry as this provider's row reads it."""
    result = read_entry(provider.dialect, msgspec.Raw(msgspec.json.encode(fields)), {"model_id": "m"})
    return result.id, result.owner, result.created, msgspec.json.decode(result.extra)


# -- what they change --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in DIALECTS if kind != "custom"])
def test_a_provider_without_them_has_the_row_of_its_kind(kind: str) -> None:
    assert of_kind(kind).dialect is DIALECTS[kind]


@pytest.mark.parametrize("kind", DIALECTS)
def test_they_work_on_every_kind(kind: str) -> None:
    adjusted = of_kind(
        kind,
        params={"q": 1},
        strip_prefix="x/",
        fields={"context_length": "n.ctx", "owned_by": "maker", "created": "since"},
        price_per=1000,
    ).dialect
    row = of_kind(kind).dialect

    assert adjusted.params == {**row.params, "q": "1"}
    assert adjusted.strip_prefix[0] == "x/"
    assert adjusted.extra["context_length"] == ("n.ctx", *row.extra.get("context_length", ()))
    assert (adjusted.owner, adjusted.created) == (("maker", *row.owner), ("since", *row.created))
    assert adjusted.price_per == 1000
    assert adjusted.chosen == (*row.chosen, "n.ctx", "maker", "since"), "they may lead to private fields"
    unchanged = {name: getattr(row, name) for name in ("params", "strip_prefix", "extra", "owner", "created", "chosen")}
    assert replace(adjusted, price_per=1, **unchanged) == row, "everything else is as the kind has it"


def test_the_row_of_a_provider_is_made_once() -> None:
    provider = of_kind("openai", price_per=1000)
    assert provider.dialect is provider.dialect, "its plans are cached in it"


def test_params_replace_those_of_the_kind_and_keep_its_placeholders() -> None:
    azure = of_kind("azure", params={"filter": "chat", "preview": True})
    assert azure.dialect.params == {"api-version": "{api_version}", "filter": "chat", "preview": "true"}
    assert of_kind("azure", params={"api-version": "2030-01-01"}).dialect.params == {"api-version": "2030-01-01"}


@pytest.mark.anyio
async def test_params_are_sent_with_the_list_request() -> None:
    async with playing("duplicate-ids") as server:
        await fetch_list(at(server.address, params={"filter": "a=b&c", "all": True}))
        assert server.targets == ["/v1/models?filter=a%3Db%26c&all=true"]


@pytest.mark.parametrize(
    ("kind", "strip_prefix", "own_id", "shown"),
    [
        pytest.param("openai", "models/", "models/m", "m", id="a prefix"),
        pytest.param("openai", ["a/", "accounts/*/models/"], "accounts/x/models/m", "m", id="a star"),
        pytest.param("openai", ["a/", "a/b/"], "a/b/m", "b/m", id="the first that matches"),
        pytest.param("openai", "models/", "m", "m", id="none"),
        pytest.param("gemini", "tuned/", "models/m", "m", id="the prefix of the kind"),
        pytest.param("gemini", "tuned/", "models/tuned/m", "m", id="after the prefix of the kind"),
        pytest.param("gemini", "models/tuned/", "models/tuned/m", "m", id="with the prefix of the kind"),
    ],
)
def test_prefixes_are_removed_besides_those_of_the_kind(
    kind: str, strip_prefix: str | list[str], own_id: str, shown: str
) -> None:
    provider = of_kind(kind, strip_prefix=strip_prefix)
    assert entry(provider, **{provider.dialect.id[0]: own_id})[0] == shown


def test_fields_are_read_before_those_of_the_kind() -> None:
    provider = of_kind(
        "openai", fields={"context_length": ["limits.none", "limits.ctx"], "owned_by": "maker.name", "created": "since"}
    )
    fields = {"id": "m", "owned_by": "gateway", "created": 5, "context_length": 1000}
    own = {"limits": {"ctx": 2000}, "maker": {"name": "acme"}, "since": "2024-01-02T00:00:00Z"}

    assert entry(provider, **fields, **own) == (
        "m",
        "acme",
        1704153600,
        {"context_length": 2000, **own},
    )
    assert entry(provider, **fields) == ("m", "gateway", 5, {"context_length": 1000})


@pytest.mark.parametrize(
    ("kind", "pricing", "shown"),
    [
        pytest.param(
            "openai", {"prompt": 3.2664, "completion": "16.332"}, ("0.0000032664", "0.000016332"), id="openai"
        ),
        pytest.param("anthropic", {"prompt": 3, "completion": 15}, ("0.000003", "0.000015"), id="another kind"),
        pytest.param("openai", {"input": 3, "output": 15}, ("0.000003", "0.000015"), id="input and output"),
    ],
)
def test_prices_are_converted_to_one_token(kind: str, pricing: dict[str, object], shown: tuple[str, str]) -> None:
    *_, extra = entry(of_kind(kind, price_per=1_000_000), id="m", pricing=pricing)
    assert (extra["pricing"]["prompt"], extra["pricing"]["completion"]) == shown


def test_prices_without_price_per_are_shown_if_they_can_be_for_one_token() -> None:
    *_, extra = entry(of_kind("openai"), id="m", pricing={"prompt": 3.2664, "input": 3.2664})
    assert extra == {"pricing": {"input": 3.2664}}


def test_a_custom_list_is_adjusted_from_outside() -> None:
    settings = {"strip_prefix": "x/", "params": {"q": 1}, "fields": {"context_length": "n"}, "price_per": 1000}
    inside = of_kind("custom", list={"path": "/c", **settings}).dialect
    outside = of_kind("custom", **settings).dialect
    assert outside == inside


def test_a_credential_in_a_parameter_is_a_secret() -> None:
    params = {"key": "fake-key-1", "sig": "a1b2c3d4", "Access-Token": "fake-2", "sort_key": "created_at", "page": "2"}
    assert secrets_of(of_kind("openai", params=params)) == ["fake-key-1", "a1b2c3d4", "fake-2"]


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        pytest.param("params: [a]", f"params: {PAIRS}", id="params: a list"),
        pytest.param("params: {a: [1]}", "params.a: must be a string", id="params: a list as value"),
        pytest.param(
            "price_per: million",
            "price_per: must be a whole number from 1 to 1000000000; found 'million'",
            id="price_per",
        ),
        pytest.param(
            "fields: {contextlength: x}",
            "fields.contextlength: invalid name: must be a standard name; did you mean 'context_length'?",
            id="fields: a misspelled name",
        ),
        pytest.param(
            "fields: {id: x}",
            f"fields.id: invalid name: must be a standard name; valid names: {', '.join(STANDARD)}",
            id="fields: id",
        ),
        pytest.param(
            "fields: {display_name: 'a[0]'}",
            "fields.display_name: must be field names separated by dots, like result.entries; found 'a[0]'",
            id="fields: an index",
        ),
        pytest.param(
            "strip_prefix: 5",
            "strip_prefix: must be a string, or a list of strings (the first that exists is used); found '5'",
            id="strip_prefix",
        ),
        pytest.param(
            "kind: cloudflare, account_id: a, params: {page: x}",
            "params.page: is the number of the first page; it must be a whole number",
            id="params: no page number",
        ),
        pytest.param(
            "kind: custom, list: {path: /c, auth: {query: key}}, params: {key: x}",
            "params.key: is the parameter of the credential; use `api_key`",
            id="params: the credential",
        ),
    ],
)
def test_a_mistake_is_one_problem(setting: str, problem: str) -> None:
    found = problems_of(f"providers: [{{name: a, base_url: 'http://h', {setting}}}]")
    assert found == [f"line 1, providers[0].{problem}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("strip_prefix", "[x/]"), ("params", "{q: 1}"), ("fields", "{context_length: n}"), ("price_per", "5")],
)
def test_a_setting_in_a_custom_list_and_beside_it_is_a_conflict(name: str, value: str) -> None:
    found = problems_of(
        f"providers: [{{name: a, kind: custom, base_url: 'http://h', {name}: {value}, "
        f"list: {{path: /c, {name}: {value}}}}}]"
    )
    assert found == [f"line 1, providers[0].{name}: conflicts with `list.{name}`; set only one"]
