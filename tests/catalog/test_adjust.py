"""What an operator changes about entries: declared fields, rules over fields, overrides, dropped fields."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from proxy.catalog import Offer, per_provider
from proxy.dialects import read_entry
from tests.fakes import config_of

Fields = Mapping[str, object]


def offers(settings: str, *payload: Fields, owners: str = "[]", now: float = 0.0) -> list[Offer]:
    """The offers of one provider with these settings, whose entries are read as its own row reads them."""
    text = f"owners: {owners}\nproviders: [{{name: p, base_url: 'http://127.0.0.1/v1', {settings}}}]"
    config = config_of(text)
    (provider,) = config.providers
    entries = [read_entry(provider.dialect, msgspec.Raw(msgspec.json.encode(model)), {}) for model in payload]
    return list(per_provider(provider, config, lambda: now)(entries))


def shown(offer: Offer) -> tuple[str, str, int, dict[str, object]]:
    """Id, owner, creation time and all other fields."""
    return offer.id, offer.owned_by, offer.created, msgspec.json.decode(offer.entry.extra)


# -- declared models ---------------------------------------------------------------------------------------------------


def test_declared_model_that_is_listed_too_overrides_only_the_fields_that_it_names() -> None:
    declared = "models: [{id: m, context_length: 65536, tag: null}, {id: n, owned_by: acme}, o]"
    listed = {"id": "m", "created": 5, "owned_by": "vendor", "context_length": 8192, "tag": 1, "note": "listed"}
    other = {"id": "n", "owned_by": "vendor", "created": 7}

    assert [shown(offer) for offer in offers(declared, {"id": "z"}, listed, other)] == [
        ("m", "vendor", 5, {"context_length": 65536, "note": "listed"}),
        ("n", "acme", 7, {}),
        ("o", "p", 0, {}),
        ("z", "p", 0, {}),
    ]


def test_declared_model_is_completed_even_if_its_entry_is_not_selected() -> None:
    settings = "models: [m], exclude: [m], where: [{field: note, is: x}]"
    assert [shown(offer)[-1] for offer in offers(settings, {"id": "m", "note": "listed"})] == [{"note": "listed"}]


# -- where -------------------------------------------------------------------------------------------------------------


def kept_by(where: str, *payload: Fields, kind: str = "kind: openai") -> list[str]:
    return [offer.id for offer in offers(f"{kind}, where: [{where}]", *payload)]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        pytest.param("{field: a, is: true}", ["true"], id="is true: neither 1 nor a text"),
        pytest.param("{field: a, is: 1}", ["1", "1.0"], id="is a number: integers are floats"),
        pytest.param("{field: a, is: 'true'}", ["text"], id="is a text"),
        pytest.param("{field: a, in: [1, 'true', false]}", ["text", "1", "1.0", "false"], id="in"),
        pytest.param("{field: a, not: true}", ["text", "1", "1.0", "false", "list", "null", "none"], id="not"),
        pytest.param("{field: a, not: [true, 1]}", ["text", "false", "list", "null", "none"], id="not one of several"),
        pytest.param("{field: a, exists: true}", ["true", "text", "1", "1.0", "false", "list"], id="exists"),
        pytest.param("{field: a, exists: false}", ["null", "none"], id="does not exist: null is no value"),
        pytest.param("{field: a, at_least: 1}", ["1", "1.0"], id="at least: true is no number"),
        pytest.param("{field: a, contains: chat}", ["list"], id="contains"),
        pytest.param("{field: a, is: chat}", [], id="a list is none of its elements"),
        pytest.param(
            "{field: a, exists: true}, {field: a, not: true}", ["text", "1", "1.0", "false", "list"], id="and"
        ),
    ],
)
def test_where_keeps_the_entries_whose_field_has_the_type_and_the_value(where: str, kept: list[str]) -> None:
    values = {"true": True, "text": "true", "1": 1, "1.0": 1.0, "false": False, "list": ["chat", 1], "null": None}
    payload = [{"id": name, "a": value} for name, value in values.items()]
    assert kept_by(where, *payload, {"id": "none"}) == kept


@pytest.mark.parametrize(
    ("where", "model"),
    [
        pytest.param("{field: limits.ctx, at_least: 5}", {"limits": {"ctx": 5}}, id="nested"),
        pytest.param(
            "{field: routes.status, is: live}", {"routes": [{"status": "off"}, {"status": "live"}]}, id="list"
        ),
        pytest.param("{field: max_model_len, at_least: 5}", {"max_model_len": 5}, id="the provider's own name"),
        pytest.param("{field: context_length, at_least: 5}", {"max_model_len": 5}, id="the standard name"),
        pytest.param("{field: context_length, at_least: 5}", {"context_length": "5"}, id="the value that is shown"),
        pytest.param("{field: owned_by, is: acme}", {"owned_by": "acme"}, id="the owner"),
        pytest.param("{field: created, at_least: 5}", {"created": 5}, id="the time"),
        pytest.param("{field: id, is: x/m}", {"id": "x/m"}, id="the id"),
        pytest.param("{field: object, is: model}", {"object": "model"}, id="a field that the proxy sets"),
    ],
)
def test_where_reads_fields_by_the_providers_name_and_by_the_standard_name(where: str, model: Fields) -> None:
    assert kept_by(where, {"id": "m", **model}) == [model.get("id", "m")]
    assert kept_by(where, {"id": "other"}) == []


@pytest.mark.parametrize(
    ("kind", "where", "model"),
    [
        pytest.param("anthropic", "{field: max_input_tokens, at_least: 5}", {"max_input_tokens": 9}, id="renamed"),
        pytest.param("anthropic", "{field: type, is: model}", {"type": "model"}, id="not shown"),
        pytest.param("custom, list: {path: /c}", "{field: mode, is: chat}", {"mode": "chat"}, id="not named"),
    ],
)
def test_where_reads_fields_that_the_kind_does_not_show(kind: str, where: str, model: Fields) -> None:
    assert kept_by(where, {"id": "m", **model}, {"id": "n"}, kind=f"kind: {kind}") == ["m"]


def test_where_cannot_read_private_fields() -> None:
    assert kept_by("{field: api_key, exists: true}", {"id": "m", "api_key": "sk-fake-0000"}) == []


# -- overrides and dropped fields --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "fields"),
    [
        pytest.param(
            "{match: 'm*', context_length: 65536}",
            ("vendor", 5, {"context_length": 65536, "pricing": {"prompt": "0.000001", "x": 2}}),
            id="one field",
        ),
        pytest.param(
            "{match: [n, m], owned_by: Our Team, created: 2024-01-02, display_name: M}",
            (
                "Our Team",
                1704153600,
                {"context_length": 8192, "pricing": {"prompt": "0.000001", "x": 2}, "display_name": "M"},
            ),
            id="owner, time and name",
        ),
        pytest.param(
            "{match: m, owned_by: null, created: null, context_length: null, absent: null}",
            ("p", 0, {"pricing": {"prompt": "0.000001", "x": 2}}),
            id="null removes",
        ),
        pytest.param(
            "{match: m, pricing.prompt: 0.000002, pricing.x: null, a.b: 1}",
            ("vendor", 5, {"context_length": 8192, "pricing": {"prompt": "0.000002"}, "a": {"b": 1}}),
            id="nested fields",
        ),
        pytest.param(
            "{match: '*', context_length: 1, note: a}, {match: m, context_length: 2}, {match: other, note: b}",
            ("vendor", 5, {"context_length": 2, "pricing": {"prompt": "0.000001", "x": 2}, "note": "a"}),
            id="later ones win",
        ),
        pytest.param(
            "{match: m, a.b: 1}, {match: m, a: x}, {match: m, pricing: {}}",
            ("vendor", 5, {"context_length": 8192, "pricing": {}, "a": "x"}),
            id="later ones win over parts",
        ),
        pytest.param(
            "{match: M, note: a}, {match: 'x*', note: b}",
            ("vendor", 5, {"context_length": 8192, "pricing": {"prompt": "0.000001", "x": 2}}),
            id="the provider's own ids",
        ),
    ],
)
def test_overrides_replace_single_fields_of_matching_models(overrides: str, fields: tuple[str, int, Fields]) -> None:
    pricing = {"prompt": "0.000001", "x": 2}
    listed = {"id": "m", "created": 5, "owned_by": "vendor", "context_length": 8192, "pricing": pricing}
    (offer,) = offers(f"prefix: x, overrides: [{overrides}]", listed)
    assert shown(offer) == ("xm", *fields)


def test_owner_of_an_override_wins_over_all_other_owners() -> None:
    settings = "owner: forced, overrides: [{match: m, owned_by: ours}]"
    listed = offers(settings, {"id": "m", "owned_by": "vendor"}, {"id": "n"}, owners="[{match: ['*'], owner: ruled}]")
    assert [offer.owned_by for offer in listed] == ["ours", "forced"]


def test_overrides_apply_to_declared_models_and_after_where() -> None:
    settings = "models: [d], where: [{field: a, is: 1}], overrides: [{match: '*', a: 2}]"
    assert [(offer.id, offer.entry.extra) for offer in offers(settings, {"id": "m", "a": 1}, {"id": "n", "a": 2})] == [
        ("d", b'{"a":2}'),
        ("m", b'{"a":2}'),
    ]


def test_dropped_fields_are_not_shown() -> None:
    settings = "drop_fields: [a, b.c, display_name], overrides: [{match: m, a: 1}]"
    (offer,) = offers(settings, {"id": "m", "title": "M", "b": {"c": 1, "d": 2}, "e": [{"c": 1}]})
    assert shown(offer)[-1] == {"title": "M", "b": {"d": 2}, "e": [{"c": 1}]}


# -- retired models ----------------------------------------------------------------------------------------------------

NOW = 1_800_000_000  # 2027-01-15


def is_hidden(fields: Fields, settings: str = "kind: openai") -> bool:
    return not offers(f"{settings}, hide_retired: true", {"id": "m", **fields}, now=NOW)


@pytest.mark.parametrize(
    ("fields", "hidden"),
    [
        pytest.param({"shutdown_date": "2027-01-15"}, True, id="a date that has passed"),
        pytest.param({"shutdown_date": "2027-01-16"}, False, id="a date to come"),
        pytest.param({"deprecation": {"inference": NOW}}, True, id="now"),
        pytest.param({"retirement_date": "2026-06-01T00:00:00Z"}, True, id="another name"),
        pytest.param({"expiration_date": "2026-06-01"}, True, id="OpenRouter's expiration"),
        pytest.param({"expiration_date": None}, False, id="no expiration"),
        pytest.param({"shutdown_date": None}, False, id="null"),
        pytest.param({"status": "Retired"}, True, id="a status"),
        pytest.param({"lifecycle": {"status": "END_OF_LIFE"}}, True, id="a nested status"),
        pytest.param({"status": "Shutdown"}, True, id="shutdown"),
        pytest.param({"is_retired": True}, True, id="a flag"),
        pytest.param({"is_retired": False, "status": "active"}, False, id="in use"),
        pytest.param({"status": "Retiring"}, False, id="retiring"),
        pytest.param({"status": "deprecated", "deprecated": True}, False, id="deprecated"),
        pytest.param({"status": 1, "state": "not-loaded"}, False, id="other values"),
    ],
)
def test_models_past_their_shutdown_are_hidden(fields: Fields, hidden: bool) -> None:
    assert is_hidden(fields) is hidden
    assert offers("kind: openai", {"id": "m", **fields}, now=NOW), "not without the setting"


def test_retired_models_are_hidden_on_a_kind_that_does_not_show_the_field() -> None:
    assert is_hidden({"status": "retired"}, "kind: custom, list: {path: /c}")
    assert is_hidden({"retirement_date": "2026-06-01"}, "kind: anthropic")


def test_an_override_of_the_shutdown_wins() -> None:
    assert not is_hidden({"shutdown_date": "2026-01-01"}, "overrides: [{match: m, shutdown_at: null}]")
    assert is_hidden({"shutdown_date": "2028-01-01"}, "overrides: [{match: m, shutdown_at: 2027-01-01}]")


def test_declared_models_are_never_hidden() -> None:
    assert not is_hidden({"status": "retired"}, "models: [m]")
