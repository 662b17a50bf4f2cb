"""8. Lists and calls of one key while another key floods the server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

from benchmarks.harness import ROUNDS, begin, folder, ratio, table, verdict
from reliability.attacks import ATTACKS, Attack
from reliability.control import Result
from reliability.rig import Rig, running

FLOODS = ("pipelined lists", "wrong keys", "50 silent streams", "50 unfinished uploads", "calls beyond the capacity")
SECONDS = 3.0
"""Of one measurement: 300 lists and 15 calls."""
GOAL = 1.5
"""Of the list's p99 with the flood to that without."""


def main() -> None:
    begin("Lists and calls of one key while another one floods the server")
    head = [
        "flood",
        "list p50 ms",
        "p99 ms",
        "with flood p50 ms",
        "p99 ms",
        "p99 / quiet",
        "call p99 ms",
        "goal",
        "met",
    ]
    print(table(head, asyncio.run(_rows())))


async def _rows() -> list[Sequence[str]]:
    with folder() as where:
        async with running(Path(where)) as rig:
            return [_row(name, [await _round(rig, ATTACKS[name]) for _ in range(ROUNDS)]) for name in FLOODS]


async def _round(rig: Rig, attack: Attack) -> tuple[Result, Result]:
    """What another key experiences without the attack, and with it."""
    await rig.recover()
    quiet = await rig.measure(SECONDS)
    attacking = asyncio.ensure_future(attack(rig.target))
    try:
        await asyncio.sleep(0.5)
        flooded = await rig.measure(SECONDS)
    finally:
        attacking.cancel()
        with suppress(asyncio.CancelledError):
            await attacking
    for result in (quiet, flooded):
        if any(kind.startswith("list") for kind in result.failed):
            raise SystemExit(f"error: lists failed: {result.failed}")
    return quiet, flooded


def _row(name: str, rounds: Sequence[tuple[Result, Result]]) -> Sequence[str]:
    quiet, flooded = zip(*rounds, strict=True)
    share = ratio([each.list_p99 for each in flooded], [each.list_p99 for each in quiet])
    figures = [
        *(median(getattr(each, field) for each in quiet) for field in ("list_p50", "list_p99")),
        *(median(getattr(each, field) for each in flooded) for field in ("list_p50", "list_p99")),
    ]
    call = median(each.call_p99 for each in flooded)
    return [
        name,
        *(f"{each:.2f}" for each in figures),
        f"{share:.2f}",
        f"{call:.1f}",
        f"<= {GOAL}",
        verdict(share <= GOAL),
    ]


if __name__ == "__main__":
    main()
