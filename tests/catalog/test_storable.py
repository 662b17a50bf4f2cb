"""Entries that are stored: the rules have the same results, without the fields that only they read."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from msgspec.structs import replace

from proxy.catalog import per_provider
from proxy.catalog.rules import removed_by
from proxy.catalog.storable import is_readable, storable
from proxy.config import Config
from proxy.dialects import read_entry
from proxy.dialects.entry import Entry
from tests.fakes import config_of

NOW = 1_800_000_000.0
CUSTOM = """
providers:
  - name: a
    kind: custom
    base_url: http://127.0.0.1:9
    list: {path: /models, items: data, id: id}
    SETTINGS
"""
OPENAI = "providers: [{name: a, base_url: 'http://127.0.0.1:9/v1', SETTINGS}]"


def config(text: str, settings: str) -> Config:
    return config_of(text.replace("SETTINGS", settings))


def entry_in(config: Config, payload: Mapping[str, object]) -> Entry:
    provider = config.providers[0]
    named = frozenset(provider.extra_fields or ())
    return read_entry(provider.dialect, msgspec.json.encode({"id": "m", **payload}), {}, named=named)


def listed(config: Config, entry: Entry) -> list[bytes]:
    provider = config.providers[0]
    return [offer.entry.extra for offer in per_provider(provider, config, lambda: NOW)([entry])]


@pytest.mark.parametrize("secret_field", ["owner_account", "organization", "enabled"])
@pytest.mark.parametrize("value", ["acct-fake-77", "other"])
def test_field_of_a_rule_is_replaced_by_its_result(secret_field: str, value: str) -> None:
    given = config(CUSTOM, f"where: [{{field: {secret_field}, is: acct-fake-77}}]")
    entry = entry_in(given, {secret_field: value})
    stored = storable(given.providers[0])(entry)

    assert listed(given, stored) == listed(given, entry) == ([b"{}"] if value == "acct-fake-77" else [])
    assert [*removed_by(given.providers[0], stored)] == [*removed_by(given.providers[0], entry)]
    assert value.encode() not in b"".join([stored.kept.replace(b'is \\"acct-fake-77', b""), stored.extra])


@pytest.mark.parametrize(
    ("payload", "is_listed"),
    [({"status": "retired"}, False), ({"status": "active"}, True), ({"lifecycle": {"status": "EOL"}}, False)],
)
def test_sign_of_a_retired_model_is_kept_without_its_value(payload: Mapping[str, object], is_listed: bool) -> None:
    given = config(OPENAI, "hide_retired: true, extra_fields: none")
    entry = entry_in(given, payload)
    stored = storable(given.providers[0])(entry)

    assert bool(listed(given, entry)) == bool(listed(given, stored)) == is_listed
    assert b"active" not in stored.kept
    assert b"retired" not in stored.kept.replace(b"is_retired", b"")


@pytest.mark.parametrize(("date", "is_listed"), [(NOW - 1, False), (NOW + 1, True)])
def test_shutdown_date_is_kept_for_hide_retired(date: float, is_listed: bool) -> None:
    given = config(OPENAI, "hide_retired: true, extra_fields: [description]")
    entry = entry_in(given, {"shutdown_date": int(date), "description": "d", "note": "n"})
    stored = storable(given.providers[0])(entry)

    assert listed(given, stored) == listed(given, entry) == ([b'{"description":"d"}'] if is_listed else [])
    assert b"note" not in stored.extra


def test_only_fields_that_extra_fields_names_are_stored() -> None:
    given = config(OPENAI, "extra_fields: [a.b, c]")
    entry = entry_in(given, {"a": {"b": 1, "x": 2}, "c": 3, "d": 4})
    stored = storable(given.providers[0])(entry)

    assert stored.extra == b'{"a":{"b":1},"c":3}'
    assert listed(given, stored) == listed(given, entry)


def test_entry_without_rules_is_stored_as_it_is() -> None:
    given = config(OPENAI, "owner: me")
    entry = entry_in(given, {"context_length": 5})

    assert storable(given.providers[0])(entry) is entry


def test_stored_entry_can_be_stored_again() -> None:
    given = config(OPENAI, "where: [{field: tier, is: gold}], hide_retired: true")
    stored = storable(given.providers[0])(entry_in(given, {"tier": "gold"}))

    assert storable(given.providers[0])(stored) == stored


def test_rule_without_a_result_is_applied_to_the_fields_that_are_shown() -> None:
    before = config(OPENAI, "where: [{field: tier, is: gold}]")
    after = config(OPENAI, "where: [{field: tier, is: gold}, {field: context_length, at_least: 10}]")
    entries = [entry_in(before, {"tier": "gold", "context_length": length}) for length in (5, 50)]
    stored = map(storable(before.providers[0]), entries)

    assert [bool(listed(after, entry)) for entry in stored] == [False, True]


@pytest.mark.parametrize(
    "broken",
    [
        {"extra": b""}, {"extra": b"[]"}, {"extra": b'{"a":'}, {"raw": b"[]"}, {"kept": b"{"}, {"kept": b"[1]"},
        {"kept": b'[{"a": 1},{}]'}, {"kept": b'{"a": 1}'}, {"extra": b"[" * 100_000},
    ],
    ids=str,
)  # fmt: skip
def test_entry_whose_json_cannot_be_read_is_recognized(broken: Mapping[str, bytes]) -> None:
    assert is_readable(Entry("m"))
    assert not is_readable(replace(Entry("m"), **broken))
