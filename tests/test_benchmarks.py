"""The calculations of the benchmarks. Nothing is timed here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from benchmarks import forward, metrics, observed, workers
from benchmarks.alternating import parse_blocks, share
from benchmarks.harness import Load, Medians, Round, medians, parse_wrk, percentile, ratio, table, verdict
from benchmarks.servers import Reply, config_text, providers
from proxy.config import parse
from proxy.telemetry.counters import MAX_PAIRS, MAX_REQUESTS, Counters
from tests.providers.bulk_calls import EVENTS, MODELS, call_body, completion_body, events
from tests.providers.bulk_lists import base_url, body

WRK = """Running 1m test @ http://127.0.0.1:8000/v1/models
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.25ms  512.00us   9.31ms   88.00%
    Req/Sec    25.10k     1.20k   27.00k    75.00%
  Latency Distribution
     50%  850.00us
     75%    1.40ms
     90%    1.90ms
     99%    1.02s
  12552 requests in 500.20ms, 310.10MB read
Requests/sec:  25093.96
Transfer/sec:    619.95MB
"""


def a_round(requests: int, cpu: float, p50: float = 1.0, p99: float = 2.0) -> Round:
    return Round(Load(requests, 2.0, p50, p99), cpu)


def test_wrk_output_is_parsed_in_milliseconds() -> None:
    assert parse_wrk(WRK) == Load(12552, 0.5002, 0.85, 1020.0)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param("  Non-2xx or 3xx responses: 7\n", "responses: 7", id="another status"),
        pytest.param("  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3", id="lost connections"),
    ],
)
def test_failed_requests_invalidate_a_result(more: str, reason: str) -> None:
    with pytest.raises(SystemExit, match=reason):
        parse_wrk(WRK + more)


def test_unexpected_wrk_output_is_quoted() -> None:
    with pytest.raises(SystemExit, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


def test_round_reports_rate_and_cpu_per_request() -> None:
    first = a_round(requests=1000, cpu=0.03)

    assert first.load.per_second == 500
    assert first.cpu_us == pytest.approx(30)
    assert math.isinf(a_round(requests=0, cpu=0.03).cpu_us)


def test_medians_ignore_one_slow_round() -> None:
    rounds = [a_round(1000, 0.03), a_round(10, 0.03, 50, 900), a_round(1000, 0.03)]

    assert medians(rounds) == Medians(500, 0.03 / 1000 * 1e6, 1, 2)


def test_ratio_compares_each_round_with_its_neighbor() -> None:
    """The machine was ten times as slow in the second round, which affects both sides."""
    assert ratio([90, 9, 80], [100, 10, 100]) == pytest.approx(0.9)


def test_blocks_of_kinds_are_compared_without_the_first_and_the_incomplete_round() -> None:
    text = "1 999.0\n2 999.0\n1 200.0\n2 220.0\n1 300.0\n2 340.5\n1 400.0\n"

    assert parse_blocks(text, kinds=2) == [[200.0, 300.0], [220.0, 340.5]]


def test_too_few_blocks_are_an_error() -> None:
    with pytest.raises(SystemExit, match="too few requests"):
        parse_blocks("1 200.0\n2 220.0\n1 200.0\n", kinds=2)


def test_the_share_of_a_kind_is_the_mean_of_all_servers() -> None:
    servers = [[[100.0, 300.0], [110.0, 330.0]], [[200.0, 200.0], [250.0, 230.0]]]

    assert share(servers, 0) == (1.0, 0.0)
    assert share(servers, 1) == pytest.approx((1.15, 0.05))


@pytest.mark.parametrize(
    ("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1), (0.5, 1)], ids=lambda number: f"{number}"
)
def test_percentile_is_a_measured_value(percent: float, value: float) -> None:
    assert percentile([*range(100, 0, -1)], percent) == value


def test_table_is_markdown_with_right_aligned_numbers() -> None:
    rows = [["plain", "1.00", verdict(True)], ["a 304", "10.25", verdict(False)]]

    assert table(["answer", "us", "met"], rows).splitlines() == [
        "| answer |    us | met |",
        "|--------|------:|----:|",
        "| plain  |  1.00 | yes |",
        "| a 304  | 10.25 |  NO |",
    ]


def test_benchmark_configurations_are_valid() -> None:
    config = parse(config_text(providers(8000, 3, edition=1)))

    assert [provider.base_url for provider in config.providers] == [base_url(8000, n, 1) for n in range(3)]


def test_fake_models_differ_by_provider_and_change_with_the_edition() -> None:
    first, other, later = (json.loads(body(5, n, edition))["data"] for n, edition in ((0, 0), (1, 0), (0, 1)))

    assert not {model["id"] for model in first} & {model["id"] for model in other}
    assert [model["id"] for model in first] == [model["id"] for model in later]
    assert first != later
    assert 300 < len(body(100, 0)) / 100 < 500


def test_header_lookup_ignores_case() -> None:
    reply = Reply(200, [("ETag", '"one"')], b"")

    assert (reply.header("etag"), reply.header("age")) == ('"one"', "")


def test_half_of_the_called_models_are_renamed_and_each_target_has_its_own_path() -> None:
    config = parse(forward.config(8000, {"json": 9001, "sse": 9002}))

    assert [(provider.prefix, provider.target and provider.target.base_url) for provider in config.providers] == [
        ("", "http://127.0.0.1:9001/json"),
        (forward.PREFIX, "http://127.0.0.1:9001/json"),
        ("", "http://127.0.0.1:9002/sse"),
        (forward.PREFIX, "http://127.0.0.1:9002/sse"),
    ]
    assert len(config.providers) * len(json.loads(body(forward.LISTED // 4, 0))["data"]) == forward.LISTED
    assert [key.may_call for key in config.keys] == [True]


def test_called_models_are_listed_and_contained_in_their_responses() -> None:
    first = [json.loads(body(1, number))["data"][0]["id"] for number in range(2)]
    *chunks, done = events()
    models = {json.loads(chunk.removeprefix(b"data: "))["model"] for chunk in chunks}

    assert (list(MODELS), list(MODELS.values())) == (["json", "sse"], first)
    assert (json.loads(completion_body())["model"], models) == (MODELS["json"], {MODELS["sse"]})
    assert (len(chunks) + 1, done) == (EVENTS, b"data: [DONE]\n\n")


def test_call_and_response_have_about_a_kilobyte() -> None:
    assert 900 < len(call_body(MODELS["json"], streamed=False)) < 1100
    assert 900 < len(completion_body()) < 1100
    assert json.loads(call_body("m", streamed=True))["stream"] is True


def test_goal_compares_the_proxy_with_another_round_by_round() -> None:
    ours, other = (
        forward.Target(name, 1, "", Path("body"), [Round(Load(requests, 1.0, 1.0, 2.0), 0.1) for requests in seen])
        for name, seen in ((forward.SAME, [700, 60, 800]), (forward.BARE, [1000, 100, 1000]))
    )
    by_name = {target.name: target for target in (ours, other)}

    assert forward._at_least("so much", by_name, forward.SAME, forward.BARE, 0.7) == [
        "so much",
        ">= 0.7",
        "0.70",
        "yes",
    ]
    assert next(iter(forward._rows(("json", 32), [ours, other])))[:6] == [
        "JSON, 1 KB", "32", forward.SAME, "700", "0.70", "-",
    ]  # fmt: skip


@pytest.mark.parametrize("side", [observed.QUIET, observed.LOGGED, observed.OBSERVED], ids=lambda side: side.name)
def test_all_sides_of_the_observed_run_call_the_same_provider(side: observed.Side) -> None:
    config = parse(observed.config(8000, 9001, side.settings))

    assert [provider.target and provider.target.base_url for provider in config.providers] == [
        "http://127.0.0.1:9001/json",
        "http://127.0.0.1:9001/sse",
    ]
    assert [(key.may_call, key.admin) for key in config.keys] == [(True, True)]


def test_observed_servers_are_compared_by_medians_over_processes_beside_the_resolution_of_the_run() -> None:
    """One process of each side is an outlier."""
    results = {
        observed.QUIET: [20.0, 99.0, 20.0],
        observed.LOGGED: [20.8, 20.8, 9.0],
        observed.OBSERVED: [21.2, 50.0, 21.2],
        observed.AGAIN: [20.4, 20.4, 20.4],
        observed.base(Path("earlier")): [20.0, 20.0, 8.0],
        observed.before(Path("earlier")): [18.0, 18.0, 19.0],
    }

    assert [*observed.rows_of(observed.Request("list", "/v1/models", 32, None), results)] == [
        ["list", "32", "quiet", "20.0", "20.0", "99.0", "", "", ""],
        ["list", "32", "log", "20.8", "9.0", "20.8", "1.040", "<= 1.05", "yes"],
        ["list", "32", "log, metrics", "21.2", "21.2", "50.0", "1.060", "<= 1.05", "NO"],
        ["list", "32", "quiet, again", "20.4", "20.4", "20.4", "1.020", "", ""],
        ["list", "32", "base", "20.0", "8.0", "20.0", "1.060", "<= 1.10", "yes"],
        ["list", "32", "before", "18.0", "18.0", "19.0", "1.111", "<= 1.05", "NO"],
    ]


def test_the_run_with_many_keys_reaches_the_limits_of_rows() -> None:
    filled = Counters(lambda model: True)
    metrics.fill(filled)
    rows = dict(filled.values())

    assert len(rows["models_proxy_requests_total"]) >= MAX_REQUESTS
    assert len(rows["models_proxy_calls_total"]) >= MAX_PAIRS


def test_workers_are_compared_by_requests_per_cpu_second_and_by_their_connections() -> None:
    request = workers.Request("list", "/v1/models", None)
    one = [workers.Result(Load(1000, 1.0, 1.0, 2.0), 0.05, [128], 1000)] * 3
    two = [workers.Result(Load(1800, 1.0, 1.0, 2.0), 0.1, [48, 80], 2700)] * 3
    row = [
        "1.0",
        "1.5",
        "20,000",
        "18,000",
        "0.90",
        ">= 0.9",
        "yes",
        "38% to 62%",
        "35% to 65%",
        "yes",
        "1,000",
        "1,800",
    ]
    assert workers.row_of(request, {1: one, 2: two}) == ["list", *row]
    without_goal = workers.row_of(request._replace(has_goal=False), {1: one, 2: two})
    assert without_goal == ["list", *row[:5], "", "", *row[7:]]
    uneven = [workers.Result(Load(1700, 1.0, 1.0, 2.0), 0.1, [40, 88], 1700)] * 3
    assert [workers.row_of(request, {1: one, 2: uneven})[number] for number in (7, 10)] == ["NO", "NO"]
