"""What is kept between two questions: an answer as it was read, and one TLS context for all."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

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


def test_all_providers_share_one_tls_context_and_those_with_an_authority_of_their_own_another(tmp_path: Path) -> None:
    authority = tmp_path / "corp.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    text = "providers:\n" + "\n".join(f"- {{name: p{i}, base_url: https://h{i}}}" for i in range(3))
    text += "".join(f"\n- {{name: c{i}, base_url: https://c{i}, ca_file: {authority}}}" for i in range(2))
    contexts = Upstream(config_of(text).providers, FakeClock())._tls
    assert len({contexts[name] for name in ("p0", "p1", "p2")}) == 1
    assert len({contexts[name] for name in ("c0", "c1")}) == 1
    assert len(set(contexts.values())) == 2
