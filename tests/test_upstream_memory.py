"""An answer that comes again as it was is not read again; any other is."""

from __future__ import annotations

import pytest

from proxy.upstream import Upstream
from tests.fakes import FakeClock, config_of
from tests.upstreams import Upstreams, lists, says

pytestmark = pytest.mark.anyio


async def test_the_same_bytes_are_the_same_entries_and_a_change_is_seen() -> None:
    with Upstreams() as upstreams:
        server = upstreams.open(lists("m", "n"))
        providers = config_of(f"providers: [{{name: a, base_url: '{server.url}/v1'}}]").providers
        ask = Upstream(providers, FakeClock())
        first = await ask(providers[0], 0)
        again = await ask(providers[0], 0)
        server.reply = lists("m", "n", "o")
        changed = await ask(providers[0], 0)
        server.reply = lists("m", "n")
        back = await ask(providers[0], 0)
    assert again == first
    assert all(one is other for one, other in zip(first.entries, again.entries, strict=True))
    assert [entry.id for entry in changed.entries] == ["m", "n", "o"]
    assert back == first
    assert back.entries[0] is not first.entries[0], "only the last answer is remembered"


async def test_what_was_dropped_is_told_again_with_the_same_answer() -> None:
    with Upstreams() as upstreams:
        server = upstreams.open(says({"data": [{"id": "m"}, {"id": ""}, {"id": ""}]}))
        providers = config_of(f"providers: [{{name: a, base_url: '{server.url}/v1'}}]").providers
        ask = Upstream(providers, FakeClock())
        answers = [await ask(providers[0], 0) for _ in range(2)]
    assert [answer.dropped for answer in answers] == [{"has an empty id": 2}] * 2
