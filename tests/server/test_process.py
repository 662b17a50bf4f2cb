"""The metrics of the process: what its operating system says, and the lag of its event loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from proxy.config.limits import Limits
from proxy.server.connections import ClientConnections
from proxy.server.loop_lag import BOUNDS, INTERVAL, LoopLag
from proxy.server.process import ProcessMetrics, process_values
from proxy.sharing import StoreState
from proxy.telemetry import Reloads
from proxy.telemetry.counters import Counters


def test_the_values_are_those_of_proc(tmp_path: Path) -> None:
    own = tmp_path / "self"
    (own / "fd").mkdir(parents=True)
    for number in range(4):
        (own / "fd" / str(number)).touch()
    (own / "statm").write_text("5000 1200 300 1 0 900 0\n")
    (own / "stat").write_text(f"7 (a ) name) S {' '.join(str(number) for number in range(4, 22))} 12345 0\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1800000000\nprocesses 9\n")
    values = dict(process_values(tmp_path))

    page, ticks = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    assert values.pop("process_cpu_seconds_total") > 0
    assert values.pop("process_max_fds") > 0
    assert values == {
        "process_virtual_memory_bytes": 5000 * page,
        "process_resident_memory_bytes": 1200 * page,
        "process_open_fds": 3,
        "process_start_time_seconds": 1_800_000_000 + 12345 / ticks,
    }


def test_the_shared_store_has_metrics_only_if_there_is_one() -> None:
    metrics = ProcessMetrics(ClientConnections(Limits()), Counters(lambda model: True), Reloads("generation", 0.0))
    names = {"models_proxy_store_up", "models_proxy_store_operations_total"}

    assert not names & metrics.values().keys()
    metrics.shared_store = lambda: StoreState(False, "timed out", 0.0, operations=7, failures=2, foreign=1)
    values = metrics.values()
    assert {name: values[name] for name in names} == {
        "models_proxy_store_up": [((), 0)],
        "models_proxy_store_operations_total": [(("ok",), 7), (("failed",), 2), (("ignored",), 1)],
    }


def test_values_are_missing_without_proc(tmp_path: Path) -> None:
    assert set(process_values(tmp_path)) == {"process_cpu_seconds_total", "process_max_fds"}


class FakeLoop:
    """An event loop whose time a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], Any]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> FakeLoop:
        self.timers.append((when, partial(callback, *args)))
        return self

    def cancel(self) -> None:
        self.timers.clear()

    def run(self, *, late: float) -> None:
        """Call the timer that is due, this many seconds late."""
        ((when, callback),) = self.timers
        self.timers.clear()
        self.now = when + late
        callback()


def test_the_lag_is_how_late_a_timer_is_called() -> None:
    lag, loop = LoopLag(), FakeLoop()
    lag.start(loop)
    for late in (0.0, 0.25, 3.0):
        loop.run(late=late)
    buckets = lag.seconds.buckets()
    observed = {bound: count for bound, count in zip((*BOUNDS, None), buckets.counts, strict=True) if count}

    assert (observed, buckets.sum) == ({0.001: 1, 0.25: 1, None: 1}, 3.25)
    assert loop.timers[0][0] == 103.25 + 3 * INTERVAL + INTERVAL


def test_nothing_is_measured_after_the_end() -> None:
    lag, loop = LoopLag(), FakeLoop()
    lag.start(loop)
    lag.stop()

    assert loop.timers == []
