"""Usage as bytes, for files and for other processes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from proxy.telemetry.usage_rows import MAX_COUNT, Counts, Names, Rows

ROWS_PER_RECORD = 50_000
Number = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Time = Annotated[int, Meta(ge=0, le=2**40)]


class _Row(Struct, array_like=True, forbid_unknown_fields=True):
    start: Time
    identity: Number
    """This and the next two: the place of a name in `_Record.names`."""
    model: Number
    provider: Number
    requests: Number
    failed: Number
    input_tokens: Number
    output_tokens: Number


class _Record(Struct, array_like=True, forbid_unknown_fields=True):
    names: tuple[str, ...]
    rows: tuple[_Row, ...]
    used: dict[str, Annotated[float, Meta(ge=0, le=2**40)]]
    daily_before: date | None


class UsageRecord(Struct, frozen=True):
    """Rows, and the last requests of callers (`Usage`)."""

    hours: Mapping[int, Rows]
    used: Mapping[str, float]
    daily_before: date | None = None


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(_Record).decode


def encoded(
    hours: Iterable[tuple[int, Iterable[tuple[Names, Counts]]]],
    used: Mapping[str, float],
    daily_before: date | None = None,
) -> Iterator[bytes]:
    """Records with these rows, none without any."""
    rows = ((start, names, counts) for start, of_hour in hours for names, counts in of_hour)
    while True:
        some = [*islice(rows, ROWS_PER_RECORD)]
        if not some and not used and daily_before is None:
            return
        yield _encoded(some, used, daily_before)
        used, daily_before = {}, None


def _encoded(rows: Iterable[tuple[int, Names, Counts]], used: Mapping[str, float], daily_before: date | None) -> bytes:
    numbers: dict[str, int] = {}
    numbered = tuple(
        _Row(start, *(numbers.setdefault(name, len(numbers)) for name in names), *(min(n, MAX_COUNT) for n in counts))
        for start, names, counts in rows
    )
    return _ENCODE(_Record(tuple(numbers), numbered, dict(used), daily_before))


def decoded(data: bytes | memoryview) -> UsageRecord:
    """Raises ValueError for bytes that are not a record."""
    record = _DECODE(data)
    hours: dict[int, dict[Names, Counts]] = {}
    names = record.names
    try:
        for row in record.rows:
            labels = Names(names[row.identity], names[row.model], names[row.provider])
            counts = Counts(row.requests, row.failed, row.input_tokens, row.output_tokens)
            hours.setdefault(row.start, {})[labels] = counts
    except IndexError:
        raise ValueError("a name that does not exist") from None
    return UsageRecord(hours, record.used, record.daily_before)
