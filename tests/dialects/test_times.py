"""Creation times: every format that providers use, and any other value."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.dialects import unix_seconds

LATEST = 253_402_300_799
MAY_FIRST = 1_714_557_600  # 2024-05-01T10:00:00Z


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(None, 0, id="missing or null (DeepSeek, LM Studio, Gemini)"),
        pytest.param("", 0, id="empty (ctyun)"),
        pytest.param(2025, 0, id="a year"),
        pytest.param("2025", 0, id="a year in a string"),
        pytest.param(0, 0, id="0 (TGI, Qianfan, SiliconFlow)"),
        pytest.param(1626777600, 1626777600, id="a constant (One-API)"),
        pytest.param(735790403, 735790403, id="a constant (NVIDIA)"),
        pytest.param(4081050336, 4081050336, id="above 2^31 (podman AI lab)"),
        pytest.param(1714557600.75, MAY_FIRST, id="a float"),
        pytest.param(1714557600123, MAY_FIRST, id="milliseconds (Poe)"),
        pytest.param(1714557600123456, MAY_FIRST, id="microseconds"),
        pytest.param(1714557600123456789, MAY_FIRST, id="nanoseconds"),
        pytest.param("1714557600", MAY_FIRST, id="a numeral"),
        pytest.param("1714557600.5", MAY_FIRST, id="a numeral with a fraction"),
        pytest.param(" 1714557600123 ", MAY_FIRST, id="milliseconds in a string with spaces"),
        pytest.param("2024-05-01T10:00:00Z", MAY_FIRST, id="ISO with Z (Anthropic)"),
        pytest.param("2024-05-01T18:00:00.123456789+08:00", MAY_FIRST, id="nanoseconds and offset (Ollama)"),
        pytest.param("2024-05-01T10:00:00", MAY_FIRST, id="no zone (DashScope)"),
        pytest.param("2024-05-01 10:00:00.999999", MAY_FIRST, id="no zone, a space, a fraction (Cloudflare)"),
        pytest.param("2024-05-01", MAY_FIRST - 36_000, id="a day"),
        pytest.param("20240501", MAY_FIRST - 36_000, id="a day without hyphens"),
        pytest.param(20240501, MAY_FIRST - 36_000, id="a day as a number"),
        pytest.param(20241345, 0, id="an invalid day as a number"),
        pytest.param("20240501100000", MAY_FIRST, id="a time of digits only"),
        pytest.param("20240501T100000Z", MAY_FIRST, id="ISO without hyphens"),
        pytest.param("1970-01-01T00:00:00Z", 0, id="the epoch for unknown (Anthropic)"),
        pytest.param("0001-01-01T00:00:00Z", 0, id="Go's zero time"),
        pytest.param(date(2024, 5, 1), MAY_FIRST - 36_000, id="a date of YAML"),
        pytest.param(datetime(2024, 5, 1, 10, tzinfo=UTC), MAY_FIRST, id="a time of YAML"),
        pytest.param("9999-12-31T23:59:59.999999Z", LATEST, id="the last second"),
        pytest.param("9999-12-31T23:59:59-01:00", 0, id="after the last second"),
        pytest.param("20241345", 0, id="an invalid day"),
        pytest.param("20240501250000", 0, id="an invalid hour"),
        pytest.param(-1, 0, id="negative"),
        pytest.param("-1714557600", 0, id="negative numeral"),
        pytest.param(0.5, 0, id="less than a second"),
        pytest.param(True, 0, id="true"),
        pytest.param(10**400, 0, id="more than any float"),
        pytest.param(-(10**400), 0, id="less than any float"),
        pytest.param("9" * 5000, 0, id="5,000 digits"),
        pytest.param(1e300, 0, id="far too large"),
        pytest.param(float("inf"), 0, id="infinite"),
        pytest.param(float("-inf"), 0, id="minus infinite"),
        pytest.param(float("nan"), 0, id="not a number"),
        pytest.param("Infinity", 0, id="infinite in words"),
        pytest.param("1e9", 0, id="an exponent"),
        pytest.param("soon", 0, id="words"),
        pytest.param("May 1, 2024", 0, id="English"),
        pytest.param(".", 0, id="a dot"),
        pytest.param("²", 0, id="a superscript"),
        pytest.param([1714557600], 0, id="an array"),
        pytest.param({"seconds": 1714557600}, 0, id="an object"),
    ],
)
def test_time_becomes_integer_unix_seconds_and_other_values_become_0(value: object, seconds: int) -> None:
    result = unix_seconds(value)
    assert (result, type(result)) == (seconds, int)


OFFSETS = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
    lambda offset: timezone(timedelta(minutes=offset // timedelta(minutes=1)))
)


@pytest.fixture
def _far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The local time zone is eight hours ahead of UTC."""
    monkeypatch.setenv("TZ", "CST-8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_east")
def test_time_without_a_zone_is_utc_in_every_local_time_zone() -> None:
    assert datetime.fromtimestamp(MAY_FIRST).hour == 18
    assert unix_seconds("2024-05-01T10:00:00") == MAY_FIRST


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**500), 10**500),
    st.floats(),
    st.text(),
    st.text("0123456789.-+:TZ eE", max_size=30),
    st.from_regex(r"\A[0-9]{8}([0-9]{6})?\Z"),
    st.datetimes(timezones=st.none() | OFFSETS).map(datetime.isoformat),
    st.dates(),
    st.lists(st.integers()),
)


@settings(max_examples=500, deadline=None)
@given(ANYTHING)
def test_any_value_becomes_an_integer_in_the_range_of_dates(value: object) -> None:
    result = unix_seconds(value)
    assert type(result) is int
    assert 0 <= result <= LATEST
    assert datetime.fromtimestamp(result, UTC)


@settings(max_examples=300, deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1)))
def test_iso_time_in_utc_round_trips_to_the_second(moment: datetime) -> None:
    back = datetime(1970, 1, 1) + timedelta(seconds=unix_seconds(moment.isoformat() + "Z"))
    assert back == moment.replace(microsecond=0)
    assert unix_seconds(moment.isoformat()) == unix_seconds(moment.isoformat() + "Z"), "no zone is UTC"
    assert unix_seconds(f"{moment:%Y%m%d%H%M%S}") == unix_seconds(moment.isoformat())


@settings(max_examples=300, deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 3), max_value=datetime(9999, 12, 29)), OFFSETS)
def test_iso_time_with_an_offset_is_the_same_moment(moment: datetime, offset: timezone) -> None:
    there = moment.replace(tzinfo=UTC).astimezone(offset)
    assert unix_seconds(there.isoformat()) == unix_seconds(moment.isoformat() + "Z")


@settings(deadline=None)
@given(st.integers(1, 10**11 - 1).filter(lambda number: len(str(number)) != 8 and not 1900 <= number <= 2100))
def test_seconds_are_unchanged(seconds: int) -> None:
    assert unix_seconds(seconds) == seconds
    assert unix_seconds(float(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(10**8, 10**11 - 1), st.sampled_from([10**3, 10**6, 10**9]), st.booleans())
def test_smaller_units_are_recognized_by_size_and_truncated(seconds: int, unit: int, nearly_the_next: bool) -> None:
    assert unix_seconds(seconds * unit + (unit - 1) * nearly_the_next) == seconds
