"""State between fetches: parsed pages of the last response, and shared TLS contexts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from proxy.catalog import FetchResult
from proxy.upstream.lists import ListFetcher
from tests.fakes import FakeClock, config_of
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders, Script, replies

pytestmark = pytest.mark.anyio


async def test_unchanged_page_reuses_its_entries_and_a_change_is_detected() -> None:
    with FakeProviders() as upstreams:
        server = upstreams.open(lists("m", "n"))
        providers = config_of(f"providers: [{{name: a, base_url: '{server.url}/v1'}}]").providers
        fetch = ListFetcher(providers, FakeClock())
        first = await fetch(providers[0], 0)
        again = await fetch(providers[0], 0)
        server.script = lists("m", "n", "o")
        changed = await fetch(providers[0], 0)
        server.script = lists("m", "n")
        back = await fetch(providers[0], 0)
    assert again == first
    assert all(entry is other for entry, other in zip(first.entries, again.entries, strict=True))
    assert [entry.id for entry in changed.entries] == ["m", "n", "o"]
    assert back == first


async def test_unchanged_page_reports_its_dropped_entries_again() -> None:
    with FakeProviders() as upstreams:
        server = upstreams.open(replies({"data": [{"id": "m"}, {"id": ""}, {"id": ""}]}))
        providers = config_of(f"providers: [{{name: a, base_url: '{server.url}/v1'}}]").providers
        fetch = ListFetcher(providers, FakeClock())
        answers = [await fetch(providers[0], 0) for _ in range(2)]
    assert [answer.dropped for answer in answers] == [{"empty id": 2}] * 2


async def test_entry_that_is_too_large_is_counted_in_every_response() -> None:
    large = {"id": "large", "x": "y" * 70_000}
    same, *others = [[large, {"id": "m"}], [large, {"id": "n"}], [large, {"id": "o"}]]
    answers = await fetches([replies({"data": models}) for models in (same, same, *others)])
    assert [answer.shortened for answer in answers] == [1] * 4
    assert [(answer.entries[0].id, answer.entries[0].extra) for answer in answers] == [("large", b"{}")] * 4


async def fetches(scripts: Sequence[Script], kind: str = "openai", **settings: object) -> list[FetchResult]:
    """The results of consecutive fetches of one provider, one for each script."""
    with FakeProviders() as upstreams:
        server = upstreams.open(scripts[0])
        text = {"name": "a", "kind": kind, "base_url": f"{server.url}/v1", **settings}
        (provider,) = config_of(json.dumps({"providers": [text]})).providers
        fetch = ListFetcher([provider], FakeClock())
        answers = []
        for reply in scripts:
            server.script = reply
            answers.append(await fetch(provider, 0))
    return answers


async def test_changed_list_parses_only_changed_entries() -> None:
    *_, before, after = await fetches([lists("m"), lists("m", "n"), lists("x", "m", "n", "m")])
    assert [entry.id for entry in after.entries] == ["x", "m", "n"]
    assert [entry is old for entry, old in zip(after.entries[1:], before.entries, strict=True)] == [True] * 2


async def test_changed_entry_is_parsed_again() -> None:
    editions = [replies({"data": [{"id": "m", "owned_by": owner}, {"id": "n"}]}) for owner in ("one", "two", "three")]
    answers = await fetches(editions)
    assert [[entry.owner for entry in answer.entries] for answer in answers] == [
        ["one", ""],
        ["two", ""],
        ["three", ""],
    ]


async def test_invalid_entry_stays_dropped_when_others_change() -> None:
    bad = [{"id": ""}, {"id": "b"}, {"name": 1}]
    *_, last = await fetches([replies({"data": [*bad, {"id": new}]}) for new in ("m", "n", "o")])
    assert [entry.id for entry in last.entries] == ["b", "o"]
    assert last.dropped == {"empty id": 1, "id is not a string": 1}


async def test_equal_versions_of_two_models_keep_their_own_parents() -> None:
    pangu = {"workspace_id": "w", "model_ids": ["one", "two"], "api_key": "token-canary"}
    scripts = [replies({"total": 2, "versions": [{"id": "v"}, {"id": new}]}) for new in ("a", "b", "c")]
    *_, last = await fetches(scripts, "pangu", **pangu)
    assert [(entry.id, entry.parent) for entry in last.entries] == [
        ("v", "one"),
        ("c", "one"),
        ("v", "two"),
        ("c", "two"),
    ]


async def test_entry_that_contains_a_new_token_is_not_reused() -> None:
    """A text that was not secret becomes the token of a login."""
    with FakeProviders() as upstreams:
        server = upstreams.open(lists("a"))
        login = upstreams.open(replies({"access_token": "token-canary-1", "expires_in": 600}))
        oauth = {"url": f"{login.url}/token", "id": "me", "secret": "secret-canary"}
        text = {"name": "a", "kind": "openai", "base_url": f"{server.url}/v1", "oauth": oauth}
        (provider,) = config_of(json.dumps({"providers": [text]})).providers
        clock = FakeClock()
        fetch = ListFetcher([provider], clock)
        answers = []
        for new in ("m", "n", "o"):
            server.script = replies({"data": [{"id": "a", "about": "token-canary-2"}, {"id": new}]})
            if new == "o":
                login.script = replies({"access_token": "token-canary-2", "expires_in": 600})
                await clock.advance(600)
            answers.append(await fetch(provider, 0))
    assert [[entry.id for entry in answer.entries] for answer in answers] == [["a", "m"], ["a", "n"], ["o"]]
    assert answers[-1].dropped == {"contains a configured secret": 1}
