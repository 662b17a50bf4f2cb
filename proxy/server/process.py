"""The metrics of the process, with those of its operating system under the names that all Prometheus clients use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

from proxy import __version__
from proxy.limits.claims import KINDS
from proxy.limits.limiter import LimitReport
from proxy.server.connections import ClientConnections
from proxy.server.loop_lag import LoopLag
from proxy.server.notifications import Notifications
from proxy.telemetry import Reloads
from proxy.telemetry.counters import Counters

if TYPE_CHECKING:
    from proxy.sharing import Sharing, StoreState
    from proxy.store.directory import DirectoryStatus, ListDirectory
    from proxy.telemetry.merging import Values

_PROC = Path("/proc")
_TICKS_FROM_BOOT = 19
"""The place of the start time in /proc/self/stat, behind the name of the program."""


class ProcessMetrics:
    """The metrics that do not depend on the configuration."""

    def __init__(self, connections: ClientConnections, counters: Counters, reloads: Reloads) -> None:
        self.counters = counters
        self.dropped_lines: Callable[[], int] = lambda: 0
        """Returns the number of lines of the log that were dropped since the start."""
        self.directory: Callable[[], DirectoryStatus | None] = lambda: None
        """Returns the state of `store.directory`, None without one."""
        self.shared_store: Callable[[], StoreState | None] = lambda: None
        """Returns the state of `store.valkey`, None without one."""
        self.before: Callable[[], bytes] = lambda: b""
        """Returns the counters of earlier processes, b"" without any."""
        self.limits: Callable[[], LimitReport] = LimitReport
        """Returns how the limits of callers are counted."""
        self.dropped_usage: Callable[[], int] = lambda: 0
        """Returns the number of calls that are missing from usage."""
        self.notifications: Notifications | None = None
        self.lag = LoopLag()
        self._connections = connections
        self._reloads = reloads

    def show(self, directory: ListDirectory | None, sharing: Sharing | None) -> None:
        """Show the states of `store.directory` and of `store.valkey`, as far as there are any."""
        if directory:
            self.directory = lambda: directory.status
        if sharing:
            self.shared_store = lambda: sharing.state

    def values(self) -> Values:
        """Metric -> its series."""
        python = ".".join(map(str, sys.version_info[:3]))
        reloads = self._reloads
        failed_at = reloads.last_failure
        return {
            "models_proxy_config_info": [((reloads.generation,), 1)],
            "models_proxy_config_last_reload_success_timestamp_seconds": [((), reloads.last_success)],
            "models_proxy_config_last_reload_failure_timestamp_seconds": [((), failed_at)] if failed_at else [],
            "models_proxy_config_problems": [((), len(reloads.problems))],
            "models_proxy_config_restart_needed": [((), len(reloads.restart_needed))],
            "models_proxy_log_dropped_lines_total": [((), self.dropped_lines())],
            "models_proxy_usage_dropped_calls_total": [((), self.dropped_usage())],
            "models_proxy_build_info": [((__version__, python), 1)],
            "models_proxy_workers": [((), 1)],
            "models_proxy_connections": [((), len(self._connections))],
            "models_proxy_connections_limit": [((), self._connections.limits.connections)],
            "models_proxy_event_loop_lag_seconds": [((), self.lag.seconds.buckets())],
            **_of_limits(self.limits()),
            **_of_directory(self.directory()),
            **_of_shared_store(self.shared_store()),
            **_of_notifications(self.notifications),
            **{name: [((), value)] for name, value in process_values().items()},
        }


def _of_limits(report: LimitReport) -> Values:
    return {
        "models_proxy_limit_rejections_total": [((kind,), report.rejected.get(kind, 0)) for kind in KINDS],
        "models_proxy_limits_local": [((), int(report.is_local))],
        "models_proxy_limit_counters_dropped_total": [((reason,), n) for reason, n in report.dropped.items()],
        "models_proxy_limit_counters_not_stored": [((), report.not_stored)],
    }


def _of_shared_store(state: StoreState | None) -> Values:
    if state is None:
        return {}
    outcomes = {"ok": state.operations, "failed": state.failures, "ignored": state.foreign}
    return {
        "models_proxy_store_up": [((), int(state.is_up))],
        "models_proxy_store_operations_total": [((outcome,), number) for outcome, number in outcomes.items()],
    }


def _of_notifications(notifications: Notifications | None) -> Values:
    if notifications is None or notifications.pending is None:
        return {}
    return {
        "models_proxy_notifications_total": [
            ((outcome,), notifications.outcomes.get(outcome, 0)) for outcome in ("sent", "failed", "dropped")
        ],
        "models_proxy_notifications_pending": [((), notifications.pending)],
    }


def _of_directory(status: DirectoryStatus | None) -> Values:
    if status is None:
        return {}
    return {
        "models_proxy_store_directory_up": [((), int(not status.problem))],
        "models_proxy_store_directory_writes_total": [(("ok",), status.writes), (("failed",), status.failed_writes)],
    }


def process_values(proc: Path = _PROC) -> Mapping[str, float]:
    """Metric -> value. Without /proc (macOS, Windows), what it contains is missing."""
    values: dict[str, float] = {}
    if resource:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        values["process_cpu_seconds_total"] = usage.ru_utime + usage.ru_stime
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY:
            values["process_max_fds"] = soft
    with suppress(OSError):
        virtual, resident, *_ = (proc / "self" / "statm").read_text().split()
        values["process_virtual_memory_bytes"] = int(virtual) * _page_size()
        values["process_resident_memory_bytes"] = int(resident) * _page_size()
        values["process_open_fds"] = len(os.listdir(proc / "self" / "fd")) - 1  # without that of this listing
        values["process_start_time_seconds"] = _started_at(proc)
    return values


def _page_size() -> int:
    return os.sysconf("SC_PAGE_SIZE")


@cache
def _started_at(proc: Path) -> float:
    """Unix seconds. Raises OSError."""
    _, _, stat = (proc / "self" / "stat").read_text().rpartition(")")
    (booted,) = [line for line in (proc / "stat").read_text().splitlines() if line.startswith("btime ")]
    return float(booted.split()[1]) + int(stat.split()[_TICKS_FROM_BOOT]) / os.sysconf("SC_CLK_TCK")
