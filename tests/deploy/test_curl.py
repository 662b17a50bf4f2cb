"""The README's first call works as printed, with curl."""

from __future__ import annotations

import msgspec
import pytest

from tests.docs.first_call import WORDS, first_call, output_of
from tests.docs.pages import blocks
from tests.fakes import FakeClock, FakeFetch
from tests.paths import ROOT

pytestmark = pytest.mark.anyio


async def test_the_first_call_with_curl_prints_the_response(fetch: FakeFetch, clock: FakeClock) -> None:
    (snippet,) = [block for block in blocks(ROOT / "README.md", "sh") if block.startswith("curl ")]
    async with first_call(fetch, clock) as call:
        printed = await output_of("sh", "-c", call.adapted(snippet))

    assert msgspec.json.decode(printed)["choices"][0]["message"]["content"] == "".join(WORDS)
