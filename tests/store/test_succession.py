"""What a changed configuration keeps of a provider's list."""

from __future__ import annotations

import pytest

from proxy.config import Provider
from proxy.store.succession import fetches_alike, reads_alike
from tests.fakes import config_of

BASE = "name: a, base_url: 'http://127.0.0.1:9/v1', api_key: sk-fake-old"


def provider(settings: str = BASE) -> Provider:
    return config_of(f"providers: [{{{settings}}}]").providers[0]


@pytest.mark.parametrize(
    "added",
    [
        "exclude: [x]", "include: [x]", "prefix: p/", "aliases: {x: y}", "owner: me", "accept: ['*']", "weight: 2",
        "overrides: [{match: x, context_length: 1}]", "drop_fields: [description]", "models: [x]", "max_in_flight: 1",
        "ttl: 60s", "max_stale: 60s", "failover: false", "speaks: [openai]", "call: false",
    ],
)  # fmt: skip
def test_rules_and_settings_of_calls_keep_the_list_without_a_fetch(added: str) -> None:
    changed = provider(f"{BASE}, {added}")

    assert (reads_alike(provider(), changed), fetches_alike(provider(), changed)) == (True, True)


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace("old", "new"), f"{BASE}, timeout: 3s", f"{BASE}, max_models: 5", f"{BASE}, headers: {{x-team: a}}",
        f"{BASE}, proxy: 'http://127.0.0.1:1'", f"{BASE}, extra_fields: [root]", f"{BASE}, hide_retired: true",
        f"{BASE}, where: [{{field: enabled, is: true}}]",
    ],
)  # fmt: skip
def test_credentials_limits_and_fields_of_rules_keep_the_list_until_it_is_fetched(changed: str) -> None:
    after = provider(changed)

    assert (reads_alike(provider(), after), fetches_alike(provider(), after)) == (True, False)


@pytest.mark.parametrize(
    "changed",
    [
        BASE.replace(":9/", ":8/"), BASE.replace("/v1", "/v2"), f"{BASE}, kind: gpustack",
        f"{BASE}, strip_prefix: x/",
        f"{BASE}, fields: {{owned_by: vendor}}", f"{BASE}, price_per: 1000", f"{BASE}, params: {{a: b}}",
    ],
)  # fmt: skip
def test_entries_from_elsewhere_or_read_in_another_way_are_dropped(changed: str) -> None:
    after = provider(changed)

    assert (reads_alike(provider(), after), reads_alike(after, provider())) == (False, False)


def test_a_private_field_that_was_named_is_not_shown_when_the_name_is_removed() -> None:
    named = provider(f"{BASE}, extra_fields: [root]")

    assert reads_alike(named, provider()) is False
    assert reads_alike(named, provider(f"{BASE}, extra_fields: none")) is True
