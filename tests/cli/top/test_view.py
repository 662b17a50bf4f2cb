"""What `top` shows: from a status to lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from proxy.cli.client import RequestFailed
from proxy.cli.terminal import Styled
from proxy.cli.text import width_of
from proxy.cli.top.layout import Line
from proxy.cli.top.view import View, screen_of, table_of
from tests.cli.top.documents import URL, call, key, minutes, provider, status, view

FAILING = provider(
    "cloud", state="failing", calls="open", models=0, age_seconds=None, by_minute={"errors": minutes(4, 3)}
)
PROBLEMS = [
    {"provider": "cloud", "part": "list", "reason": "connection refused", "since": "2026-11-29T09:05:30Z"},
    {"provider": "cloud", "part": "calls", "reason": "", "since": None},
]
HOSTILE = "\x1b[2J\u202eevil\r\n\u4e2d\u6587"
RED, YELLOW = "red", "yellow"


def texts(lines: Sequence[Line]) -> list[str]:
    return ["".join(part.text for part in line) for line in lines]


def screen(shown: View, width: int = 120, height: int = 24, *, has_keys: bool = True) -> list[str]:
    return texts(screen_of(shown, width, height, has_keys=has_keys))


def first_cells(shown: View) -> list[str]:
    """The names of the providers and keys, in their order."""
    return [line.split("  ")[0].strip() for line in texts(table_of(shown, None))[1:] if line]


def busy() -> View:
    return view(
        provider("lab"),
        FAILING,
        attention=PROBLEMS,
        skipped=[{"name": "away", "state": "skipped", "reason": "variable ABSENT is not set"}],
        keys=[key("alice"), key("")],
        running={"total": 1, "calls": [call()]},
    )


def test_providers_keys_and_calls_are_tables_and_the_failing_provider_is_first() -> None:
    assert texts(table_of(busy(), None)) == [
        "ok  1 of 2 providers with problems  40 calls/min  5 errors/min  1 in progress  10:15:30 UTC  "
        "http://127.0.0.1:8000  models-proxy 1.2.3",
        "",
        "provider  list     calls  models    age  calls/min  errors/min     p50    p95  in flight  queue  last error",
        "cloud     failing  open        0      -         20           5  250 ms  1.5 s        2/8      0  "
        "list: connection refused (for 1 h 10 min); calls: unknown",
        "away      skipped  -           -      -          -           -       -      -          -      -  "
        "variable ABSENT is not set",
        "lab       ok       ok      1,200  2 min         20           0  250 ms  1.5 s        2/8      0  -",
        "",
        "key       calls/min  errors/min  tokens/min  first byte  in flight  calls/h  errors/h",
        "alice            10           0       1,500      500 ms          1    1,500         7",
        "(no key)         10           0       1,500      500 ms          0    1,500         7",
        "",
        "running  key    model   provider  attempts  stream  path                  request id",
        "  1 min  alice  gpt-4o  lab              1  yes     /v1/chat/completions  337e-8",
    ]


def test_a_terminal_shows_the_same_with_the_keys_below() -> None:
    table = texts(table_of(busy(), 200))
    footer = "q quit   s sort   p pause   sorted by attention"

    assert screen(busy(), 200, len(table) + 3) == [*table, "", "", footer]


def test_states_and_errors_have_colors_that_only_stress_the_text() -> None:
    shown = view(FAILING, provider("slow", state="stale", calls="limited", queued=3))
    colors = [[(part.text.strip(), part.color) for part in line if part.color] for line in table_of(shown, None)]

    assert colors == [
        [("ok", "green")],
        [],
        [],
        [("failing", RED), ("open", RED), ("5", RED)],
        [("stale", YELLOW), ("limited", YELLOW), ("3", YELLOW)],
    ]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("attention", ["down", "warn", "limit", "calm", "busy"]),
        ("calls", ["busy", "calm", "warn", "down", "limit"]),
        ("errors", ["warn", "calm", "busy", "limit", "down"]),
        ("first byte", ["limit", "calm", "busy", "warn", "down"]),
        ("name", ["busy", "calm", "down", "limit", "warn"]),
    ],
)
def test_rows_are_sorted_and_equal_ones_keep_the_order_of_the_configuration(sort: str, order: list[str]) -> None:
    shown = view(
        provider("calm"),
        provider("busy", by_minute={"calls": minutes(0, 500)}),
        provider("limit", calls="limited", by_minute={"calls": [], "first_byte_p95_seconds": minutes(8, 0)}),
        provider("warn", calls="half_open", by_minute={"calls": minutes(0, 9), "errors": minutes(0, 1)}),
        provider("down", account_rejected=True, by_minute={"calls": minutes(0, 1)}),
    )

    assert first_cells(replace(shown, sort=sort))[1:] == order


def test_key_s_changes_the_order_and_returns_to_the_first_one() -> None:
    shown, sorts = view(), []
    for _ in range(6):
        sorts.append(shown.sort)
        shown = shown.after_key("s")

    assert sorts == ["attention", "calls", "errors", "first byte", "name", "attention"]
    assert shown.after_key("x") == shown


def test_disabled_providers_are_last() -> None:
    shown = view(provider("lab"), skipped=[{"name": "off", "state": "disabled", "reason": "disabled: true"}])

    assert first_cells(shown)[1:] == ["lab", "off"]


# -- figures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        pytest.param("2026-11-29T10:15:00Z", "25", id="the minute begins: all of the last one"),
        pytest.param("2026-11-29T10:15:45Z", "17.5", id="a quarter of the last one"),
        pytest.param("2026-11-29T10:17:00Z", "15", id="the clock of the server has jumped"),
    ],
)
def test_rates_are_those_of_the_last_60_seconds(time: str, expected: str) -> None:
    shown = view(provider("lab", by_minute={"calls": minutes(10, 15)}), time=time)
    (row,) = texts(table_of(shown, None))[3:]

    assert row.split()[6] == ("18" if expected == "17.5" else expected)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        pytest.param([1.5, 9.0], "1.5 s", id="the last full minute"),
        pytest.param([None, 9.0], "9.0 s", id="else the current one"),
        pytest.param([2.5, None, None], "2.5 s", id="else an earlier one"),
        pytest.param([2.5, None, None, None, None, None], "-", id="not after five minutes"),
    ],
)
def test_times_to_the_first_byte_are_recent(last: list[float | None], expected: str) -> None:
    series = {name: minutes(*last, other=None) for name in ("first_byte_p50_seconds", "first_byte_p95_seconds")}
    heading, row = texts(table_of(view(provider("lab", by_minute=series)), None))[2:]

    assert row[: heading.index("p95") + 3].rpartition("min")[2].endswith(expected)


def test_keys_without_a_series_show_their_hour_only() -> None:
    later = {"name": "later", "last_hour": {"calls": 3, "errors": 1, "by_minute": None}}
    (*_, row) = texts(table_of(view(keys=[key("alice"), later]), None))

    assert row.split() == ["later", "-", "-", "-", "-", "0", "3", "1"]


def test_users_of_a_login_are_counted_together_and_further_calls_are_announced() -> None:
    calls = [call("header:bob"), call("header:eve"), call("alice")]
    shown = view(keys=[key("header:")], running={"total": 500, "calls": calls})
    heading, *rows = texts(table_of(shown, None))[5:8]
    end = heading.index("in flight") + len("in flight")

    assert [(row.split()[0], row[:end].split()[-1]) for row in rows] == [("header:", "2+"), ("alice", "1+")]


# -- narrow, low and hostile -------------------------------------------------------------------------------------------


def test_a_narrow_terminal_lacks_columns_and_cuts_long_texts() -> None:
    assert screen(busy(), 50, 13) == [
        "ok  1 of 2 providers with problems  40 calls/min …",
        "",
        "provider  list     calls  last error",
        "cloud     failing  open   list: connection refuse…",
        "away      skipped  -      variable ABSENT is not …",
        "lab       ok       ok     -",
        "",
        "key       calls/min  errors/min  tokens/min",
        "alice            10           0       1,500",
        "(no key)         10           0       1,500",
        "",
        "",
        "q quit   s sort   p pause   sorted by attention",
    ]


def test_a_low_terminal_says_how_many_rows_it_lacks() -> None:
    shown = view(*(provider(f"p{number}") for number in range(30)), keys=[key(f"k{number}") for number in range(9)])

    assert [line.split("  ")[0].strip() for line in screen(shown, 100, 16)] == [
        *("ok", "", "provider", "p0", "p1", "p2", "p3", "p4", "p5", "… 24 more"),
        *("", "key", "k0", "k1", "… 7 more", "q quit"),
    ]


@pytest.mark.parametrize("width", [1, 2, 7, 20, 80, 300])
def test_lines_are_never_wider_or_more_than_the_terminal(width: int) -> None:
    problems = {"problems": [HOSTILE, "second"], "restart_needed": ["server.port", HOSTILE]}
    shown = view(
        *(provider(HOSTILE * number, state=HOSTILE, calls=HOSTILE) for number in range(1, 9)),
        configuration=problems,
        keys=[key(HOSTILE) for _ in range(9)],
        running={"total": 9, "calls": [call(HOSTILE, model="m" * 10_000) for _ in range(9)]},
    )
    gone = replace(shown, failure=HOSTILE, is_paused=True)
    for each, height in product((shown, gone), (2, 3, 4, 5, 8, 13, 21, 34)):
        lines = screen(each, width, height)
        assert len(lines) == height
        assert [line for line in lines if width_of(line) > width] == []


def test_texts_of_providers_and_clients_cannot_control_the_terminal() -> None:
    fields: dict[str, Any] = {
        "version": HOSTILE, "status": HOSTILE, "keys": [key(HOSTILE)],
        "configuration": {"problems": [HOSTILE], "restart_needed": [HOSTILE]},
        "skipped": [{"name": HOSTILE, "state": HOSTILE, "reason": HOSTILE}],
        "running": {"total": 1, "calls": [call(HOSTILE, model=HOSTILE, route=HOSTILE, provider=HOSTILE)]},
    }  # fmt: skip
    shown = view(provider(HOSTILE, state=HOSTILE, last_error={"kind": "x", "reason": HOSTILE}), **fields)
    lines = [*texts(table_of(shown, None)), *screen(replace(shown, failure=HOSTILE))]

    assert [line for line in lines if set(line) & {"\x1b", "\u202e", "\r", "\n"}] == []
    assert "\\x1b[2J\\u202eevil\\r\\n中文" in lines[1]


def test_problems_of_the_configuration_are_below_the_first_line() -> None:
    problems = ["config.yaml:3: unknown setting `a`", "config.yaml:4: unknown setting `b`"]
    shown = view(configuration={"problems": problems, "restart_needed": ["server.port"]})

    assert texts(table_of(shown, None))[1:4] == [
        "configuration: config.yaml:3: unknown setting `a` (and 1 further problem)",
        "configuration: restart the server to apply server.port",
        "",
    ]


# -- failures and pauses -----------------------------------------------------------------------------------------------


def test_a_server_that_is_gone_is_in_the_first_line_and_the_last_table_is_dim() -> None:
    shown = busy()
    gone = shown.updated(RequestFailed(f"{URL}/status.json", "connection refused", "start the server"))
    first, *others, _ = screen_of(gone, 120, 24, has_keys=True)

    text = "connection refused; retrying. Last status: 10:15:30 UTC  http://127.0.0.1:8000"
    assert first == [Styled(text, RED, bold=True)]
    assert texts(others) == screen(shown)[1:-1]
    assert {(part.color, part.bold, part.dim) for line in others for part in line} == {(None, None, True)}


def test_a_server_that_is_back_replaces_the_failure() -> None:
    gone = view().updated(RequestFailed(URL, "connection refused"))

    assert gone.updated(status(provider("new"))) == view(provider("new"))


def test_the_last_line_says_that_it_is_paused_and_how_to_quit() -> None:
    paused = view().after_key("p")

    assert screen(paused)[-1] == "paused   q quit   s sort   p pause   sorted by attention"
    assert screen(paused.after_key(" "))[-1] == "q quit   s sort   p pause   sorted by attention"
    assert screen(view(), has_keys=False)[-1] == "Ctrl-C quit"
