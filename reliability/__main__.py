"""The service under attack: every attack in turn, while a well-behaved client measures what it experiences.

`.venv/bin/python -m reliability` takes 30 minutes; `--short` takes 3, and shows times without judging them: they depend
on what else the machine does. Both print a table of goals and measured figures; `--write` puts it into
docs/reliability.md. With names of attacks, only these run, each for as long as in a complete run. The exit status is 1
if a goal is not met.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from benchmarks.harness import ROOT, begin, folder, machine, python, table, verdict
from reliability.attacks import ATTACKS, Attack
from reliability.control import Result
from reliability.rig import Rig, running

LONG, SHORT = 1800.0, 180.0
"""Seconds of the two forms."""
MAX_RATIO = 1.5
"""Of the list's p99 under attack to that without."""
MAX_DIFFERENCE = 5.0
"""Milliseconds by which the p99 may be longer whatever the ratio: as much as a busy machine adds by itself."""
MAX_GROWTH = 128.0
"""MiB of memory that an attack may take beyond what it was before. Four hostile lists of up to 16 MiB each may be
fetched at the same time; bodies in progress have their own bound."""
BODY_MEMORY = 256.0
FUZZ_EXAMPLES = 10_000
PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"
_LOG_UNREAD = "a log that nobody reads"


class Row(Struct):
    """One attack and what the control client experienced meanwhile."""

    name: str
    quiet: float
    """The p99 of the list without an attack, in milliseconds."""
    result: Result
    growth: float
    """MiB."""

    @property
    def is_fast(self) -> bool:
        return self.result.list_p99 <= max(MAX_RATIO * self.quiet, self.quiet + MAX_DIFFERENCE)

    @property
    def is_safe(self) -> bool:
        """Whether no list was lost, and the memory is bounded."""
        bound = BODY_MEMORY + MAX_GROWTH if "bod" in self.name or "upload" in self.name else MAX_GROWTH
        return not self.lost_lists and self.growth <= bound

    @property
    def lost_lists(self) -> int:
        return sum(count for how, count in self.result.failed.items() if how.startswith("list"))

    @property
    def cells(self) -> Sequence[str]:
        failed = ", ".join(f"{how}: {count}" for how, count in sorted(self.result.failed.items())) or "none"
        figures = (self.quiet, self.result.list_p99, self.result.list_p99 / self.quiet)
        return [
            self.name,
            *(f"{each:.1f}" for each in figures),
            f"{self.growth:+.0f}",
            failed,
            verdict(self.is_fast and self.is_safe),
        ]


async def attacked(rig: Rig, attack: Attack, seconds: float) -> tuple[Result, float]:
    """What the control client experiences during an attack, and the MiB that the attack takes at most."""
    before = rig.memory
    attacking = asyncio.ensure_future(attack(rig.target))
    highest = before

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, rig.memory)
            await asyncio.sleep(0.2)

    watching = asyncio.create_task(watch())
    result = await rig.measure(seconds)
    for task in (watching, attacking):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return result, highest - before


async def unread(rig: Rig, attack: Attack, seconds: float) -> tuple[Result, float]:
    """The same while nobody reads the log."""
    rig.log.is_read.clear()
    try:
        return await attacked(rig, attack, seconds)
    finally:
        rig.log.is_read.set()


async def run(where: Path, seconds: float, names: Collection[str], *, judges_times: bool, writes: bool) -> bool:
    """`names`: of the attacks, empty for all."""
    rows: list[Row] = []
    memory: list[float] = []
    descriptors: list[int] = []
    failed: Counter[str] = Counter()
    # Long rounds: below a thousand lists, a p99 depends on the few that met the refresh of a long list.
    rounds = max(1, round(seconds / 600))
    attacks = {**ATTACKS, _LOG_UNREAD: ATTACKS["provider: resets and 502"]}
    each = seconds / rounds / (2 * len(attacks))
    async with running(where) as rig:
        for _ in range(rounds):
            for name, attack in attacks.items():
                if names and name not in names:
                    continue
                await rig.recover()
                quiet = await rig.measure(each)
                failed.update(quiet.failed)
                result, growth = await (unread if name == _LOG_UNREAD else attacked)(rig, attack, each)
                rows.append(Row(name, quiet.list_p99, result, growth))
                print(" | ".join(rows[-1].cells), flush=True)
            await asyncio.sleep(2)
            memory.append(rig.memory)
            descriptors.append(rig.descriptors)
        canaries = rig.target.canaries + rig.log.canaries + sum(row.result.canaries for row in rows)
    worst = medians_of(rows)
    further = [*totals(memory, descriptors, canaries, failed.total())]
    if judges_times and not names:
        passed = fuzz_tests_pass(FUZZ_EXAMPLES)
        further.append(
            [f"random input, {FUZZ_EXAMPLES:,} examples of each kind", "all pass", verdict(passed), verdict(passed)]
        )
    text = tables(worst, further)
    print(f"\n{text}")
    if writes:
        before, _, rest = PAGE.read_text().partition(_BEGIN)
        PAGE.write_text(f"{before}{_BEGIN}\n\n{machine()}\n\n{text}\n{_END}{rest.partition(_END)[2]}")
    is_met = all(row.is_safe and (row.is_fast or not judges_times) for row in worst)
    return is_met and all(line[-1] == verdict(True) for line in further)


def medians_of(rows: Sequence[Row]) -> Sequence[Row]:
    """Of each attack the round with the median ratio."""
    by_name = {row.name: [each for each in rows if each.name == row.name] for row in rows}
    return [sorted(same, key=lambda row: row.result.list_p99 / row.quiet)[len(same) // 2] for same in by_name.values()]


def fuzz_tests_pass(examples: int) -> bool:
    """Run the tests with random heads, bodies, forms and events."""
    command = python("-m", "pytest", "-q", "tests/reliability/test_fuzz.py")
    env = {**os.environ, "FUZZ_EXAMPLES": str(examples)}
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode == 0  # noqa: S603  # our own command


def totals(memory: Sequence[float], descriptors: Sequence[int], canaries: int, failed: int) -> Sequence[Sequence[str]]:
    """Goals of the whole run: name, limit, measured, met. `memory` and `descriptors`: after each round."""
    growth, leaked = memory[-1] - memory[0], descriptors[-1] - descriptors[0]
    return [
        ["secrets in responses and in the log", "0", str(canaries), verdict(not canaries)],
        ["failed requests while nothing attacks", "0", str(failed), verdict(not failed)],
        ["memory after the last round, beyond the first", "<= 8 MiB", f"{growth:+.1f} MiB", verdict(growth <= 8)],
        ["descriptors after the last round, beyond the first", "<= 8", str(leaked), verdict(leaked <= 8)],
    ]


def tables(rows: Sequence[Row], further: Sequence[Sequence[str]]) -> str:
    head = ["attack", "list p99 quiet, ms", "under attack, ms", "ratio", "memory, MiB", "failed", "met"]
    lines = [row.cells for row in rows]
    return f"{table(head, lines)}\n\n{table(['goal', 'limit', 'measured', 'met'], further)}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="reliability", description=__doc__)
    parser.add_argument("attacks", nargs="*", help=f"only these: {', '.join([*ATTACKS, _LOG_UNREAD])}")
    parser.add_argument("--short", action="store_true", help=f"{SHORT:.0f} instead of {LONG:.0f} seconds")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    arguments = parser.parse_args()
    if unknown := {*arguments.attacks} - {*ATTACKS, _LOG_UNREAD}:
        parser.error(f"unknown attacks: {', '.join(sorted(unknown))}")
    if arguments.write and arguments.attacks:
        parser.error("--write needs all attacks")
    begin("The service under attack")
    with folder() as where:
        duration = SHORT if arguments.short else LONG
        names, judges_times = arguments.attacks, not arguments.short
        running_all = run(where, duration, names, judges_times=judges_times, writes=arguments.write)
        raise SystemExit(0 if asyncio.run(running_all) else 1)
