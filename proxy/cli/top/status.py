"""The fields of `/status.json` that `top` reads, and rates of the last minute. See docs/status.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from proxy.cli.client import RequestFailed, Response, decoded, get, status_url

Time = Annotated[datetime, Meta(tz=True)]
Series = Sequence[float | None]
"""60 values, one for each minute; the last one is of the current minute."""

_MINUTE = 60
_TIMEOUT = 10.0
"""Seconds: the status is computed from what is in memory."""
_RECENT = (-2, -1, -3, -4, -5)
"""Minutes whose time to first byte is shown: the first one with calls, of the last full, the current and three more."""


class Minutes(Struct, frozen=True):
    """The last hour by minute. Keys have tokens and a mean, providers have percentiles."""

    calls: Series = ()
    errors: Series = ()
    input_tokens: Series = ()
    output_tokens: Series = ()
    first_byte_p50_seconds: Series = ()
    first_byte_p95_seconds: Series = ()
    first_byte_mean_seconds: Series = ()


class LastHour(Struct, frozen=True):
    """The calls of the last hour."""

    calls: int = 0
    errors: int = 0
    by_minute: Minutes | None = None


class Error(Struct, frozen=True):
    """The last failure of a list."""

    reason: str = ""


class Provider(Struct, frozen=True):
    """A provider that is used."""

    name: str
    state: str
    calls: str
    models: int = 0
    age_seconds: float | None = None
    account_rejected: bool = False
    open_circuits: Sequence[Mapping[str, object]] = ()
    in_flight: int = 0
    max_in_flight: int = 0
    queued: int = 0
    last_error: Error | None = None
    last_hour: LastHour = LastHour()


class Skipped(Struct, frozen=True):
    """A provider that is not used."""

    name: str
    state: str
    reason: str = ""


class Problem(Struct, frozen=True):
    """Why the list or the calls of a provider do not work."""

    provider: str
    part: str
    reason: str = ""
    since: Time | None = None


class Key(Struct, frozen=True):
    """A caller of the last hour."""

    name: str
    last_hour: LastHour = LastHour()


class Call(Struct, frozen=True):
    """A call in progress."""

    request_id: str
    route: str
    key: str
    model: str
    provider: str
    stream: bool
    attempts: int
    seconds: float


class Running(Struct, frozen=True):
    """The calls in progress."""

    total: int = 0
    calls: Sequence[Call] = ()
    """The longest ones."""


class Configuration(Struct, frozen=True):
    """The configuration in use."""

    problems: Sequence[str] = ()
    restart_needed: Sequence[str] = ()


class Status(Struct, frozen=True):
    """The whole document."""

    version: str
    time: Time
    first_minute: Time
    status: str
    providers: Sequence[Provider]
    configuration: Configuration = Configuration()
    attention: Sequence[Problem] = ()
    skipped: Sequence[Skipped] = ()
    keys: Sequence[Key] = ()
    running: Running = Running()

    def per_minute(self, series: Series) -> float:
        """The sum of the last 60 seconds: the current minute and a share of the previous one, assumed to be even."""
        elapsed = (self.time - self.first_minute).total_seconds() - (len(series) - 1) * _MINUTE
        now, before = (series[place] or 0 if len(series) >= -place else 0 for place in (-1, -2))
        return now + before * min(1.0, max(0.0, 1 - elapsed / _MINUTE))


def recent(*of: Series) -> Sequence[float | None]:
    """The values of these series in the first minute of `_RECENT` that has some."""
    for place in _RECENT:
        if of[0] and len(of[0]) >= -place and of[0][place] is not None:
            return [series[place] if len(series) >= -place else None for series in of]
    return [None] * len(of)


def fetch_document(url: str, key: str | None) -> Response:
    """Fetch `/status.json`. Raises RequestFailed."""
    try:
        return get(status_url(url), key, timeout=_TIMEOUT)
    except RequestFailed as error:
        if error.status == 404:
            hint = "the server is older than this command, or --url lacks its `server.base_path`"
            raise RequestFailed(error.url, "not found (404)", hint, 404) from None
        raise


def status_in(response: Response) -> Status:
    """Raises RequestFailed for another document."""
    return decoded(response, Status)


Fetch = Callable[[], Status]
"""Fetches the status. Raises RequestFailed."""


def clock_time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%H:%M:%S} UTC"
