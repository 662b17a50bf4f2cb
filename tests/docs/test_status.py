"""status.md describes the fields of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from tests.api.status.scenes import ADMINS, failing
from tests.docs.pages import DOCS, code, rows, section
from tests.fakes import FakeClock, FakeFetch, reply_to

OPAQUE = ("providers[].dropped_entries", "changes[]")
"""Fields whose content another page describes."""
ELSEWHERE = ("workers[].", "running.calls[].", "providers[].open_circuits[].")
"""Lists that are empty in this answer: `tests.api.status` compares their elements."""


def fields_in(value: Any, name: str = "") -> Iterator[str]:
    if name in OPAQUE:
        yield name
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from fields_in(each, f"{name}.{key}" if name else key)
    elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
        for each in value:
            yield from fields_in(each, f"{name}[]")
    elif value not in ([], None) or name.endswith(("_since", "last_failure", "_seconds", "problems", "restart_needed")):
        yield name


@pytest.mark.anyio
async def test_every_field_of_an_answer_is_documented_and_no_other(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        answer = (await reply_to(app, "/status.json", ADMINS)).json
    documented = [name for row in rows(section(DOCS / "status.md", "Fields")) for name in code(row[0])]

    assert {*fields_in(answer)} == {name for name in documented if not name.startswith(ELSEWHERE)}
    assert sorted({name.partition("[")[0].partition(".")[0] for name in documented}) == sorted(answer)
