"""Model lists of a hostile provider stop the event loop for milliseconds only, and cost little memory."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.providers.scripted import FakeProviders, replies
from tests.reliability.hostile_lists import LISTS, measure

LONGEST_STEP = 0.1
"""Seconds of CPU time. The goal is 0.02 on the reference machine; each of these lists once took longer than this."""
UNUSABLE = "invalid_response: returned an unusable response ("
TOO_LARGE = (
    "invalid_response: returned no usable models: larger than 1,048,576 bytes or 20,000 values (an entry is an object)"
)


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("one wide entry of 10 MB", TOO_LARGE),
        ("duplicates with new fields", "1 models"),
        ("duplicates of 60 KB", "1 models"),
        ("900,000 fields", f"{UNUSABLE}an object with more than 100,000 fields)"),
        ("100,000 errors", f"{UNUSABLE}an object with more than 100,000 fields)"),
        ("200 statuses of 60 KB", "1 models"),
        ("240,000 objects, no list", "invalid_response: returned no model list: expected an array at the top level or "
         "`data` or `models`, got an object with `x`"),
        ("an object of 19,000 wide models", "19000 models"),
        ("a number of 16 MB", TOO_LARGE),
        ("16 MB of blanks", f"{UNUSABLE}16,776,116 blanks, more than half of it)"),
        ("16 MB, half of it blanks", "1 models"),
        ("entries of 100 KB", "167 models, 167 shortened"),
        ("depth 100,000", f"{UNUSABLE}invalid JSON: maximum recursion depth exceeded while deserializing an object)"),
        ("a number of 5,000 digits", "1 models, dropped: 1 contains non-portable JSON"),
        ("NaN", "1 models"),
        ("lone surrogates", "2 models, dropped: 1 id contains invalid characters"),
        ("bad UTF-8", "1 models, dropped: 1 id contains invalid characters"),
        ("2 MB of NaN", "1 models"),
        ("2 MB of control characters", "1 models"),
        ("duplicate names", "1 models"),
        ("a BOM", "1 models"),
    ],
)  # fmt: skip
def test_hostile_list_stops_the_event_loop_for_milliseconds_only(name: str, outcome: str) -> None:
    cost = measure(LISTS[name]())
    assert cost.outcome == outcome
    assert cost.step < LONGEST_STEP


MEASURE_GROWTH = """
import asyncio, os, sys
from pathlib import Path
from tests.processes import kibibytes
from tests.reliability.hostile_lists import fetch_measured

small, bomb = sys.argv[1:]
asyncio.run(fetch_measured(small))
Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = kibibytes(os.getpid(), "VmHWM")
cost = asyncio.run(fetch_measured(bomb, max_body="1MiB"))
print(kibibytes(os.getpid(), "VmHWM") - before, cost.outcome)
"""


def test_gzip_list_that_unpacks_to_150_mb_costs_less_than_2_mib_beyond_its_limit() -> None:
    bomb = gzip.compress(b'{"data":[' + b" " * 150_000_000 + b"]}")
    assert len(bomb) < 160_000
    with FakeProviders() as providers:
        packed = {"Content-Encoding": "gzip"}
        small = providers.open(replies(gzip.compress(b'{"data":[{"id":"m"}]}'), headers=packed))
        large = providers.open(replies(bomb, headers=packed))
        command = [sys.executable, "-c", MEASURE_GROWTH, small.url, large.url]
        printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S603
    growth, _, outcome = printed.strip().partition(" ")
    assert outcome == "too_large: returned more than 1,048,576 bytes (max_body)"
    assert int(growth) < (1 + 2) * 1024, "KiB"
