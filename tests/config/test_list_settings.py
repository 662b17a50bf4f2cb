"""Settings that adjust the list of any provider: the row that they make, and mistakes in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from proxy.config import Provider
from proxy.config.overrides import STANDARD_NAMES
from proxy.config.settings import Skipped
from proxy.dialects import DIALECTS, read_entry
from proxy.upstream.credentials import secrets_of
from tests.config.outcomes import LIST, PAIRS, parsed, problems_of
from tests.providers.faults import playing
from tests.upstream.fetching import at, fetch_list

CUSTOM = "kind: custom, list: {path: /catalog, items: data}"
SETTINGS_OF_KINDS: Mapping[str, Mapping[str, Any]] = {
    "pangu": {"workspace_id": "w", "model_ids": ["m"]},
    "cloudflare": {"account_id": "a"},
    "bedrock": {"region": "us-east-1", "api_key": "k"},
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
def test_list_settings_work_on_every_kind(kind: str) -> None:
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
    names = ("params", "strip_prefix", "extra", "owner", "created", "chosen", "also")
    unchanged = {name: getattr(row, name) for name in names}
    assert replace(adjusted, price_per=1, **unchanged) == row, "everything else is as the kind has it"


def test_list_settings_apply_to_all_lists_of_a_kind() -> None:
    (also,) = of_kind("bedrock", params={"q": 1}, strip_prefix="us.").dialect.also
    assert (also.params, also.strip_prefix) == ({"maxResults": "1000", "q": "1"}, ("us.",))


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


A_RULE = "must be a mapping like {field: enabled, is: true}"
ONE = "must have exactly one of is, in, not, exists, at_least, contains; write one entry for each rule"
AN_OVERRIDE = 'must be a mapping like {match: "qwen3-*", context_length: 65536}'
BYPASSES = "it selects models, an upstream or stored state, which would bypass the access rules"
A_MATCH = "`match` must be a pattern over the provider's own ids, or a list of patterns"


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
            f"fields.id: invalid name: must be a standard name; valid names: {', '.join(STANDARD_NAMES)}",
            id="fields: id",
        ),
        pytest.param(
            "fields: {display_name: 'a[0]'}",
            "fields.display_name: must be field names separated by dots, like result.entries; found 'a[0]'",
            id="fields: an index",
        ),
        pytest.param(
            "strip_prefix: 5",
            "strip_prefix: must be a string, or a list of strings; found '5'",
            id="strip_prefix",
        ),
        pytest.param("where: {field: a}", f"where: {LIST}", id="where: a mapping"),
        pytest.param("where: [enabled]", f"where[0]: {A_RULE}; found 'enabled'", id="where: a name"),
        pytest.param("where: [{is: 1}]", f"where[0]: {A_RULE}", id="where: no field"),
        pytest.param("where: [{field: a}]", f"where[0]: {ONE}", id="where: no operator"),
        pytest.param("where: [{field: a, is: 1, in: [2]}]", f"where[0]: {ONE}", id="where: two operators"),
        pytest.param(
            "where: [{field: a, equals: 1}]",
            "where[0]: unknown operator; use one of is, in, not, exists, at_least, contains",
            id="where: an unknown operator",
        ),
        pytest.param(
            "where: [{field: a, atleast: 1}]",
            "where[0]: unknown operator; did you mean 'at_least'?",
            id="where: a misspelled operator",
        ),
        pytest.param(
            "where: [{field: a, is: null}]",
            "where[0]: `is` has no value; use `exists: false` for a missing field",
            id="where: no value",
        ),
        pytest.param(
            "where: [{field: a, is: [1]}]",
            "where[0]: `is` must be a string, a number or a boolean; use `in` for several values",
            id="where: is with a list",
        ),
        pytest.param(
            "where: [{field: a, in: x}]",
            "where[0]: `in` must be a list of strings, numbers or booleans",
            id="where: in without a list",
        ),
        pytest.param(
            "where: [{field: a, at_least: '5'}]", "where[0]: `at_least` must be a number", id="where: at_least a text"
        ),
        pytest.param(
            "where: [{field: a, at_least: true}]", "where[0]: `at_least` must be a number", id="where: at_least true"
        ),
        pytest.param(
            "where: [{field: a, exists: 1}]", "where[0]: `exists` must be true or false", id="where: exists a number"
        ),
        pytest.param(
            "where: [{field: 5, is: 1}]",
            "where[0]: `field` must be a field name, like enabled or limits.context",
            id="where: a number as field",
        ),
        pytest.param(
            "where: [{field: 'a[0]', is: 1}]",
            "where[0]: must be field names separated by dots, like result.entries",
            id="where: an index",
        ),
        pytest.param(
            "drop_fields: [id]",
            "drop_fields[0]: cannot be dropped: every model has it; found 'id'",
            id="drop_fields: id",
        ),
        pytest.param("overrides: [x]", f"overrides[0]: {AN_OVERRIDE}; found 'x'", id="overrides: a text"),
        pytest.param("overrides: [{a: 1}]", f"overrides[0]: {AN_OVERRIDE}", id="overrides: no match"),
        pytest.param(
            "overrides: [{match: m}]",
            "overrides[0]: sets no field; add one, like `context_length: 65536`",
            id="overrides: no field",
        ),
        pytest.param("overrides: [{match: [], a: 1}]", f"overrides[0]: {A_MATCH}", id="overrides: no pattern"),
        pytest.param("overrides: [{match: 5, a: 1}]", f"overrides[0]: {A_MATCH}", id="overrides: a number as pattern"),
        pytest.param(
            "overrides: [{match: m, id: x}]",
            "overrides[0]: `id` cannot be overridden; use `aliases`",
            id="overrides: id",
        ),
        pytest.param(
            "overrides: [{match: m, Object: x}]",
            "overrides[0]: `Object` cannot be overridden: the proxy sets it",
            id="overrides: object",
        ),
        pytest.param(
            "overrides: [{match: m, context_length: 128k}]",
            "overrides[0]: `context_length` must be a positive whole number",
            id="overrides: a context that is a text",
        ),
        pytest.param(
            "overrides: [{match: m, created: soon}]",
            "overrides[0]: `created` must be a time, like 2026-01-31 or Unix seconds",
            id="overrides: created",
        ),
        pytest.param(
            "overrides: [{match: m, owned_by: 5}]",
            "overrides[0]: `owned_by` must be a non-empty string",
            id="overrides: owned_by",
        ),
        pytest.param(
            "overrides: [{match: m, a..b: 5}]",
            "overrides[0]: `a..b` must be a field name, with dots for nested fields",
            id="overrides: two dots",
        ),
        pytest.param(
            "overrides: [{match: m, size: .nan}]",
            "overrides[0]: `size` has a number that not every client can read; use a string",
            id="overrides: not a number",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: [a]}]",
            "overrides[0]: `set_params` must be a mapping of field names to values, like {temperature: 1}",
            id="overrides: set_params is a list",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: {}}]",
            "overrides[0]: sets no field; add one, like `context_length: 65536`",
            id="overrides: set_params is empty",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: {model: x}}]",
            "overrides[0]: `set_params` cannot change `model`: the proxy sets it; use `aliases`",
            id="overrides: set_params has model",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: {fallbacks: [x]}}]",
            f"overrides[0]: `set_params` cannot add `fallbacks`: {BYPASSES}",
            id="overrides: set_params selects a model",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: {provider: {order: [{Api_Base: x}]}}}]",
            f"overrides[0]: `set_params.provider` must not contain `Api_Base`: {BYPASSES}",
            id="overrides: set_params contains an upstream",
        ),
        pytest.param(
            "overrides: [{match: m, set_params: {seed: 99999999999999999999}}]",
            "overrides[0]: `set_params.seed` has a number that not every client can read; use a string",
            id="overrides: set_params has a long number",
        ),
        pytest.param(
            "overrides: [{match: m, drop_params: temperature}]",
            "overrides[0]: `drop_params` must be a list of field names, like [temperature]",
            id="overrides: drop_params is a text",
        ),
        pytest.param(
            "overrides: [{match: m, drop_params: [Model]}]",
            "overrides[0]: `drop_params` cannot change `model`: the proxy sets it; use `aliases`",
            id="overrides: drop_params has model",
        ),
        pytest.param(
            "overrides: [{match: m, rename_params: [a, b]}]",
            "overrides[0]: `rename_params` must be a mapping of field names to new ones, "
            "like {max_tokens: max_completion_tokens}",
            id="overrides: rename_params is a list",
        ),
        pytest.param(
            "overrides: [{match: m, rename_params: {model: engine}}]",
            "overrides[0]: `rename_params` cannot change `model`: the proxy sets it; use `aliases`",
            id="overrides: rename_params has model",
        ),
        pytest.param(
            "overrides: [{match: m, rename_params: {engine: model}}]",
            "overrides[0]: `rename_params` cannot change `model`: the proxy sets it; use `aliases`",
            id="overrides: rename_params to model",
        ),
        pytest.param(
            "overrides: [{match: m, rename_params: {thread: Conversation}}]",
            f"overrides[0]: `rename_params` cannot add `Conversation`: {BYPASSES}",
            id="overrides: rename_params to stored state",
        ),
        pytest.param(
            "models: [7]",
            "models[0]: must be an id in quotes, or a mapping like {id: my-model, context_length: 32768}; found '7'",
            id="models: a number",
        ),
        pytest.param(
            "models: ['openai/*']",
            "models[0]: id is a wildcard, not a model; declare each model by its own id",
            id="models: a wildcard",
        ),
        pytest.param(
            "models: [{id: '*'}]",
            "models[0]: id is a wildcard, not a model; declare each model by its own id",
            id="models: a star",
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
    assert found == [f"config.yaml:1: providers[0].{problem}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("strip_prefix", "[x/]"), ("params", "{q: 1}"), ("fields", "{context_length: n}"), ("price_per", "5")],
)
def test_a_setting_in_a_custom_list_and_beside_it_is_a_conflict(name: str, value: str) -> None:
    found = problems_of(
        f"providers: [{{name: a, kind: custom, base_url: 'http://h', {name}: {value}, "
        f"list: {{path: /c, {name}: {value}}}}}]"
    )
    assert found == [f"config.yaml:1: providers[0].{name}: conflicts with `list.{name}`; set only one"]


def test_an_override_of_a_name_that_is_similar_to_a_standard_one_is_a_warning() -> None:
    text = "overrides: [{match: 'm[1]', contextlength: 5, our_note: x}]"
    config = parsed(f"providers: [{{name: a, base_url: 'http://h', {text}}}]")
    where = "config.yaml:1: providers[0].overrides[0]"
    assert config.warnings == (
        f"{where}.match[0]: `[` is matched literally; character classes like [0-9] are not supported",
        f"{where}.contextlength: is not a standard name; did you mean 'context_length'?",
    )


# -- disabled providers ------------------------------------------------------------------------------------------------

DISABLED = """
providers:
  - {name: a, base_url: "http://h"}
  - {name: b, base_url: "http://h", api_key: "${NO_SUCH_KEY}", api_key_file: /no/such/file, disabled: true}
groups: {default: {models: ["provider:b"]}}
"""


def test_a_disabled_provider_is_not_used_and_its_secrets_may_be_missing() -> None:
    config = parsed(DISABLED.replace(", api_key_file: /no/such/file", ""), {})
    assert [provider.name for provider in config.providers] == ["a"]
    assert config.skipped == (Skipped("b", "disabled: true", "disabled"),)


def test_a_disabled_provider_is_validated() -> None:
    assert problems_of(DISABLED, {}) == [
        "config.yaml:4: providers[1].api_key_file: conflicts with api_key; set only one"
    ]


@pytest.mark.parametrize(("written", "used"), [("false", 2), ("${OFF:-false}", 2), ("${OFF:-true}", 1), ("yes", 1)])
def test_disabled_can_be_a_variable(written: str, used: int) -> None:
    text = f'providers: [{{name: a, base_url: "http://h"}}, {{name: b, base_url: "http://h", disabled: "{written}"}}]'
    assert len(parsed(text, {}).providers) == used
