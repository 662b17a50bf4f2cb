"""Values as the status page shows them: filters of its templates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from urllib.parse import quote

from proxy.printable import printable

MAX_SHOWN = 100
"""Characters of an id in a table; its page shows all of them."""
_MAX_LINK = 2000
"""Bytes of an id in a URL. Longer ones, and those that browsers change, are referred to by a digest."""
_GOOD = frozenset({"ok", "declared"})
_BAD = frozenset({"failing", "open", "down"})
_OFF = frozenset({"skipped", "disabled", "not_callable"})
_WORDS = {
    "open": "rejected (circuit breaker open)",
    "half_open": "on trial (circuit breaker half open)",
    "not_callable": "list only",
}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def shown(text: object, most: int = MAX_SHOWN) -> str:
    """Untrusted text, shortened and escaped."""
    safe = printable(str(text))
    return safe if len(safe) <= most else f"{safe[: most - 1]}…"


def state_class(state: str) -> str:
    """The style of a state: `good`, `warn`, `bad` or `off`."""
    if state in _GOOD:
        return "good"
    if state in _BAD:
        return "bad"
    return "off" if state in _OFF else "warn"


def state_text(state: str) -> str:
    """A state of lists or of calls in words. `open` alone could be read as accepting calls."""
    return _WORDS.get(state, state)


def number(value: float) -> str:
    return f"{value:,}"


def seconds(value: float | None) -> str:
    """A time to first byte."""
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def duration(value: float | None) -> str:
    """A number of seconds, in its two largest units."""
    if value is None:
        return "–"
    whole = max(0, round(value))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def unix(time: str | float) -> float:
    """Unix seconds of a time as `/status.json` has it."""
    return float(time) if isinstance(time, (int, float)) else datetime.fromisoformat(time).timestamp()


def ago(time: str | float, now: float) -> str:
    return f"{duration(now - unix(time))} ago"


def moment(time: str | float, zone: tzinfo) -> str:
    """Date and time in a time zone."""
    return datetime.fromtimestamp(unix(time), zone).strftime("%Y-%m-%d %H:%M:%S")


def rfc3339(time: str | float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(unix(time), zone).isoformat(timespec="seconds")


def percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"


def value(anything: object) -> str:
    """A JSON value."""
    return anything if isinstance(anything, str) else json.dumps(anything, ensure_ascii=False, default=str)


def model_link(model: str) -> str:
    """The end of the path of the page of a model, with a query if the id cannot be in a path."""
    try:
        encoded = quote(model, safe="")
    except UnicodeEncodeError:  # a lone surrogate
        encoded = ""
    # Browsers remove segments of dots, also encoded ones.
    if encoded and len(encoded) <= _MAX_LINK and model.strip("."):
        return f"/{encoded}"
    return f"?digest={digest_of(model)}"


def digest_of(model: str) -> str:
    return hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()


def plural(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


FILTERS: Mapping[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        shown,
        state_class,
        state_text,
        number,
        seconds,
        duration,
        ago,
        moment,
        rfc3339,
        percent,
        value,
        model_link,
        plural,
    )
}
