"""`GET /v1/usage`: the caller's usage. `GET /admin/usage`: the usage of all callers, for admin keys."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, Protocol
from unicodedata import normalize

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.http import json_response
from proxy.api.query import parameters_of
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.clock import Clock
from proxy.config import Config
from proxy.config.timezones import zone_of
from proxy.errors import BadRequest
from proxy.limits.limiter import Limiter, Status
from proxy.telemetry.days import Days
from proxy.telemetry.recent import Packed
from proxy.telemetry.usage import UsageState
from proxy.telemetry.usage_query import GROUPS, Answer, Query, TooManyTotals, shown, sum_of
from proxy.telemetry.usage_rows import Counts
from proxy.wire.encoder import encode

DEFAULT_DAYS = 30
"""Days that are shown without `from`, including today."""
_OWN, _ADMIN = ("from", "to", "format"), ("from", "to", "by", "format")
_NO_STORE = (b"cache-control", b"no-store")
_INCOMPLETE = (b"x-usage-incomplete", b"true")
_CSV = (b"content-type", b"text/csv; charset=utf-8; header=present")
_FORMULA = ("=", "+", "-", "@")
"""First characters of cells that spreadsheets evaluate, some of them also after whitespace and in full width."""

Rows = Sequence[Mapping[str, Any]]


class UsageTotals(Protocol):
    """The usage of all processes that serve the port."""

    @property
    def state(self) -> UsageState:
        """The state of all processes when `look` was last called."""
        ...

    def recent_calls(self) -> Packed:
        """The calls of this process in the last hour."""
        ...

    async def look(self) -> None: ...

    async def answer(self, query: Query) -> Answer:
        """Raises TooManyTotals."""
        ...


class HasUsage(Protocol):
    @property
    def usage(self) -> UsageTotals: ...


class UsageReport:
    """The endpoints."""

    def __init__(self, config: Config, clock: Clock, server: HasUsage, limiter: Limiter) -> None:
        self._config = config
        self._clock = clock
        self._days = Days(zone_of(config.server.timezone))
        self._server = server
        self._limiter = limiter

    def routes(self) -> Sequence[Route]:
        return [Route("/v1/usage", READ, self.own, is_api=True), Route("/admin/usage", READ, self.all)]

    def own(self, head: RequestHead, caller: Caller) -> Handler:
        """Return the caller's usage, by day and model. Raises BadRequest."""
        parameters = parameters_of(head, _OWN)
        return partial(self._respond, head, parameters, ("day", "model"), caller)

    def all(self, head: RequestHead, caller: Caller) -> Handler:
        """Return the usage of all callers. Raises InvalidKey, Forbidden and BadRequest."""
        check_is_admin(caller, self._config)
        parameters = parameters_of(head, _ADMIN)
        by = tuple(part.strip() for part in parameters.get("by", "key,model").split(","))
        if unknown := [part for part in by if part not in GROUPS]:
            raise BadRequest(f"`by` contains {unknown[0][:100]!r}; valid values: {', '.join(GROUPS)}.", param="by")
        if len(set(by)) < len(by):
            raise BadRequest("`by` contains a duplicate value.", param="by")
        return partial(self._respond, head, parameters, by, None)

    async def _respond(
        self,
        head: RequestHead,
        parameters: Mapping[str, str],
        by: tuple[str, ...],
        caller: Caller | None,
        receive: Receive,
        send: Send,
    ) -> RawResponse:
        """`caller`: the caller to show, None for all."""
        is_csv = _is_csv_requested(head, parameters)
        first, last = self._period(parameters)
        begin, end = self._days.begin_of(first), self._days.begin_of(last + timedelta(1))
        query = Query(begin, end, by, None if caller is None else caller.identity)
        try:
            answer = await self._server.usage.answer(query)
        except TooManyTotals:
            raise BadRequest(
                "The response has too many rows: shorten the period from `from` to `to`, or remove fields from `by`."
            ) from None
        fields: dict[str, Any] = {
            "object": "usage",
            "timezone": self._config.server.timezone,
            "from": first.isoformat(),
            "to": last.isoformat(),
            "complete": answer.is_complete is not False,
        }
        if caller is not None:
            fields["key"] = caller.identity or None
            fields["last_used"] = _time(answer.last_used.get(caller.identity))
            fields["limits"] = [_limit(each) for each in await self._limiter.statuses(caller.quota, caller.identity)]
        else:
            fields["by"] = by
        body = await asyncio.to_thread(_csv if is_csv else _json, fields, answer, by)
        headers = [_NO_STORE, *([] if fields["complete"] else [_INCOMPLETE])]
        if is_csv:
            return _csv_response(head, body, headers)
        return json_response(head, body, headers)

    def _period(self, parameters: Mapping[str, str]) -> tuple[date, date]:
        """The first and the last day. Raises BadRequest."""
        last = _day(parameters, "to") or self._days.day_of(self._clock.time())
        first = _day(parameters, "from") or max(last, date.min + timedelta(DEFAULT_DAYS)) - timedelta(DEFAULT_DAYS - 1)
        if first > last:
            raise BadRequest("`from` is after `to`.", param="from")
        return first, last


def _limit(status: Status) -> Mapping[str, object]:
    return {
        "group": status.group or None,
        "limit": status.kind,
        "per": status.unit or None,
        "amount": status.limit,
        "remaining": status.remaining,
        "reset_seconds": round(status.reset, 3),
    }


def _day(parameters: Mapping[str, str], name: str) -> date | None:
    text = parameters.get(name)
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # fromisoformat also accepts other formats, such as week dates (2026-W05-6).
    if day is None or day.isoformat() != text or not 1970 < day.year < 9999:
        raise BadRequest(f"`{name}` must be a date, like 2026-01-31.", param=name)
    return day


def _is_csv_requested(head: RequestHead, parameters: Mapping[str, str]) -> bool:
    """Raises BadRequest."""
    given = parameters.get("format", "").lower()
    if given not in ("", "json", "csv"):
        raise BadRequest("`format` must be json or csv.", param="format")
    accept = b",".join(value for name, value in head.headers if name == b"accept")[:1000].lower()
    return given == "csv" or (not given and b"text/csv" in accept and b"application/json" not in accept)


def _rows(answer: Answer, by: Sequence[str]) -> Rows:
    """Return the totals; by key, with the last use of each. By key alone, also keys that made no calls."""
    if "key" not in by:
        return shown(answer, by)
    rows = [{**row, "last_used": _time(answer.last_used.get(row["key"]))} for row in shown(answer, by)]
    if len(by) == 1:
        called = {row["key"] for row in rows}
        others = sorted(answer.last_used.keys() - called)
        rows += [{"key": key, **Counts()._asdict(), "last_used": _time(answer.last_used[key])} for key in others]
    return rows


def _json(fields: Mapping[str, Any], answer: Answer, by: Sequence[str]) -> bytes:
    return encode({**fields, "data": _rows(answer, by), "total": sum_of(answer)._asdict()})


def _csv(fields: Mapping[str, Any], answer: Answer, by: Sequence[str]) -> bytes:
    columns = [*by, *Counts._fields, *(("last_used",) if "key" in by else ())]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(row[column]) for column in columns] for row in _rows(answer, by))
    return text.getvalue().encode()


def _cell(value: object) -> object:
    """Return a text that a spreadsheet does not evaluate."""
    is_formula = isinstance(value, str) and normalize("NFKC", value.lstrip()[:1]) in _FORMULA
    return f"'{value}" if is_formula else value


def _csv_response(head: RequestHead, body: bytes, headers: Sequence[Header]) -> RawResponse:
    length = (b"content-length", b"%d" % len(body))
    request_id = (b"x-request-id", head.request_id)
    return RawResponse(200, [_CSV, *headers, length, request_id, *head.connection_close], body)


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
