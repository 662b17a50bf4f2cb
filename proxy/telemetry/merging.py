"""The values of metrics of several processes that serve one port: as bytes between them, and as sums."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from proxy.telemetry.exposition import Metric, Row, Value, combined
from proxy.telemetry.histogram import Buckets
from proxy.telemetry.metrics import METRICS

Values = Mapping[str, Sequence[Row]]
"""Metric -> its series."""

_ENCODE = msgspec.msgpack.encode
_DECODE = msgspec.msgpack.Decoder(dict[str, bytes]).decode
_DECODE_ROWS = msgspec.msgpack.Decoder(list[tuple[tuple[str, ...], int | float | Buckets]]).decode

_SUMS = frozenset(
    {
        "models_proxy_in_flight_calls",
        "models_proxy_max_in_flight_calls",
        "models_proxy_queued_calls",
        "models_proxy_body_memory_bytes",
        "models_proxy_body_memory_limit_bytes",
        "models_proxy_connections",
        "models_proxy_connections_limit",
        "models_proxy_workers",
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    }
)
"""Gauges of which each process has a part."""
_LOWEST = frozenset({"process_start_time_seconds"})


def packed_rows(rows: Sequence[Row]) -> bytes:
    """The series of one metric, for `pack`."""
    return _ENCODE(rows)


def pack(metrics: Mapping[str, bytes]) -> bytes:
    """All metrics of one process. `metrics`: name -> `packed_rows`."""
    return _ENCODE(metrics)


def unpack(data: bytes) -> Mapping[str, bytes]:
    """Raises ValueError for other bytes than those of `pack`."""
    return _DECODE(data)


def merged(name: str, parts: Iterable[bytes]) -> Sequence[Row]:
    """The series of one metric of all processes. Raises ValueError for other bytes than those of `packed_rows`.

    Counters, histograms, and gauges of which each process has a part, are added. Of other gauges the highest value
    counts: all processes have the same lists.
    """
    metric = _across(METRICS[name])
    series: dict[tuple[str, ...], Value] = {}
    for part in parts:
        for labels, value in _DECODE_ROWS(part):
            series[labels] = combined(metric, series[labels], value) if labels in series else value
    return [*series.items()]


def counters_of(parts: Iterable[bytes]) -> bytes:
    """Return only what outlasts a process: the sums of counters and histograms of several. See `pack`.

    Raises ValueError for other bytes.
    """
    metrics = [unpack(part) for part in parts]
    names = [name for name, metric in METRICS.items() if metric.type in ("counter", "histogram")]
    return pack({name: packed_rows(merged(name, [each[name] for each in metrics if name in each])) for name in names})


def _across(metric: Metric) -> Metric:
    if metric.type in ("counter", "histogram") or metric.name in _SUMS:
        return metric._replace(combine="sum")
    return metric._replace(combine="min" if metric.name in _LOWEST else "max")
