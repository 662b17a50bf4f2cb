"""The two text formats that Prometheus reads: its own, and OpenMetrics.

Not by prometheus-client, which needs 95 to 160 ms of CPU for the 14,000 series of 10,000 keys (`benchmarks.metrics`).
This one needs a fifth of that, in steps. Tests read its output with the parsers of prometheus-client.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from proxy.cooperative import Cooperative
from proxy.printable import printable
from proxy.telemetry.histogram import Buckets

MAX_LABEL = 200
"""Characters of a label value. Longer ones are cut."""
_DIGEST = 8  # hex digits
_STEP = 500  # lines


class Metric(NamedTuple):
    """What is known of a metric without its values."""

    name: str
    """As in queries: the name of a counter ends in `_total`, that of an info in `_info`."""
    type: Literal["counter", "gauge", "histogram", "info"]
    help: str
    labels: tuple[str, ...] = ()
    combine: Literal["sum", "max", "min"] = "sum"
    """How several series become one, where a label is left out."""

    @property
    def family(self) -> str:
        """The name in OpenMetrics."""
        return self.name.removesuffix("_total").removesuffix("_info")


Value = float | Buckets
Row = tuple[tuple[str, ...], Value]
"""One series: the values of its labels in the order of the metric, and its value."""
Family = tuple[Metric, Sequence[Row]]


def without_labels(family: Family, hidden: frozenset[str]) -> Family:
    """Remove labels; the series that differ only in them become one."""
    metric, rows = family
    kept = [place for place, name in enumerate(metric.labels) if name not in hidden]
    if len(kept) == len(metric.labels):
        return family
    series: dict[tuple[str, ...], Value] = {}
    for labels, value in rows:
        key = tuple(labels[place] for place in kept)
        series[key] = combined(metric, series[key], value) if key in series else value
    return metric._replace(labels=tuple(metric.labels[place] for place in kept)), [*series.items()]


def combined(metric: Metric, one: Value, other: Value) -> Value:
    """Two values of a metric as one."""
    if isinstance(one, Buckets) or isinstance(other, Buckets):
        assert isinstance(one, Buckets), "all series of a metric have the same type"
        assert isinstance(other, Buckets), "all series of a metric have the same type"
        return one + other
    if metric.combine == "sum":
        return one + other
    return max(one, other) if metric.combine == "max" else min(one, other)


def encode(families: Iterable[Family], *, openmetrics: bool) -> Cooperative[bytes]:
    """Encode all metrics, in steps."""
    parts: list[bytes] = []
    lines = _lines(families, openmetrics=openmetrics)
    while step := "".join(islice(lines, _STEP)):
        parts.append(step.encode())
        yield
    if openmetrics:
        parts.append(b"# EOF\n")
    return b"".join(parts)


def _lines(families: Iterable[Family], *, openmetrics: bool) -> Iterator[str]:
    escaped = _Escaped()
    for metric, rows in families:
        name = metric.family if openmetrics else metric.name
        # The text format has no infos; they are gauges.
        type_ = "gauge" if metric.type == "info" and not openmetrics else metric.type
        yield f"# HELP {name} {metric.help}\n# TYPE {name} {type_}\n"
        if metric.type == "histogram":
            yield from _histogram(metric, rows, escaped)
        else:
            line = metric.name + _template(metric.labels) + " %s\n"
            for labels, value in rows:
                yield line % (*map(escaped.__getitem__, labels), value)


def _histogram(metric: Metric, rows: Iterable[Row], escaped: Mapping[str, str]) -> Iterator[str]:
    name = metric.name
    bucket = f"{name}_bucket{_template((*metric.labels, 'le'))} %d\n"
    plain = _template(metric.labels)
    end = f"{name}_count{plain} %d\n{name}_sum{plain} %s\n"
    for labels, value in rows:
        assert isinstance(value, Buckets), "the value of a histogram"
        texts = tuple(map(escaped.__getitem__, labels))
        total = 0
        for bound, count in zip((*map(repr, value.bounds), "+Inf"), value.counts, strict=True):
            total += count
            yield bucket % (*texts, bound, total)
        yield end % (*texts, total, *texts, value.sum)


def _template(labels: Sequence[str]) -> str:
    return "{" + ",".join(f'{name}="%s"' for name in labels) + "}" if labels else ""


class _Escaped(dict[str, str]):
    """Label values as they are written. Each is computed once."""

    def __missing__(self, value: str) -> str:
        text = self[value] = escaped(value)
        return text


def escaped(value: str) -> str:
    """A label value as it is written. Different values stay different: equal series make a whole scrape invalid."""
    shown = printable(value)[:MAX_LABEL]
    if shown != value:
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
        shown = f"{shown[: MAX_LABEL - _DIGEST - 1]}~{digest}"
    return shown.replace("\\", r"\\").replace('"', r"\"")
