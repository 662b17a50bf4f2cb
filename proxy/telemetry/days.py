"""Hours and days of a time zone, as Unix seconds."""

from __future__ import annotations

from datetime import date, datetime, timedelta, tzinfo

HOUR = 3600
DAY = 86_400


class Days:
    """The hours and days of one time zone."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def hour_of(self, time: float) -> int:
        """The start of the hour. In some time zones hours do not start at the full hour of UTC."""
        seconds = int(time)
        offset = datetime.fromtimestamp(seconds, self._zone).utcoffset() or timedelta()
        return seconds - int(seconds + offset.total_seconds()) % HOUR

    def day_of(self, time: float) -> date:
        return datetime.fromtimestamp(time, self._zone).date()

    def begin_of(self, day: date) -> int:
        """The first second of a day."""
        return int(datetime(day.year, day.month, day.day, tzinfo=self._zone).timestamp())
