"""`models-proxy usage`: the usage of a running server as a table, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from proxy.printable import printable
from tests.providers.scripted import FakeProviders, Script, replies

KEY = "sk-canary-client"
ROW = {"requests": 1200, "failed": 3, "input_tokens": 4_000_000, "output_tokens": 5}
ANSWER = {
    "object": "usage",
    "data": [
        {"key": "alice", "model": "gpt-4o", **ROW, "last_used": "2026-11-29T10:00:00Z"},
        {"key": "", "model": "", **ROW, "requests": 1, "last_used": None},
        {"key": ":other", "model": "other", **ROW, "requests": 2, "last_used": None},
    ],
    "total": {**ROW, "requests": 1203},
}
CSV = "key,requests\r\nalice,1\r\n\x1b[31mbob,2\r\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["usage", *arguments], env={"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": None})


def json_of(answer: object) -> Script:
    return replies(json.dumps(answer).encode(), 200, {"content-type": "application/json"})


def test_a_table_shows_the_totals_of_all_keys(upstreams: FakeProviders) -> None:
    server = upstreams.open(json_of(ANSWER))
    result = run("--url", server.url, "--key", KEY, "--from", "2026-11-01", "--to", "2026-11-30")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "key       model      requests  failed  input tokens  output tokens  last used",
        "alice     gpt-4o        1,200       3     4,000,000              5  2026-11-29T10:00:00Z",
        "(no key)  (unknown)         1       3     4,000,000              5  -",
        "(other)   other             2       3     4,000,000              5  -",
    ]
    (request,) = server.requests
    expected = "/admin/usage?format=json&from=2026-11-01&to=2026-11-30&by=key%2Cmodel"
    assert (request.target, request.headers["authorization"]) == (expected, f"Bearer {KEY}")


@pytest.mark.parametrize(("form", "lines"), [((), 4), (("--csv",), 1)])
def test_missing_usage_of_other_replicas_is_reported(
    upstreams: FakeProviders, form: tuple[str, ...], lines: int
) -> None:
    headers = {"content-type": "application/json", "x-usage-incomplete": "true"}
    server = upstreams.open(replies(json.dumps(ANSWER).encode(), 200, headers))
    result = run("--url", server.url, "--key", KEY, *form)

    assert (result.exit_code, len(result.stdout.splitlines())) == (0, lines)
    expected = "incomplete: the shared store is not available, so usage of other replicas is missing\n"
    assert result.stderr == expected


def test_json_is_that_of_the_server(upstreams: FakeProviders) -> None:
    server = upstreams.open(json_of(ANSWER))

    assert json.loads(run("--url", server.url, "--by", "key", "--json").stdout) == ANSWER


def test_csv_is_printed_without_control_characters(upstreams: FakeProviders) -> None:
    server = upstreams.open(replies(CSV.encode(), 200, {"content-type": "text/csv"}))
    result = run("--url", server.url, "--by", "key", "--csv")

    assert result.stdout == "key,requests\nalice,1\n\\x1b[31mbob,2\n"
    assert server.requests[0].target == "/admin/usage?format=csv&by=key"


@pytest.mark.parametrize("character", [*"\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"], ids=ascii)
def test_a_row_of_csv_is_one_line_whatever_characters_its_names_contain(
    character: str, upstreams: FakeProviders
) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["model", "requests"], [f"a{character}b", 1], ["c", 2]])
    server = upstreams.open(replies(text.getvalue().encode(), 200, {"content-type": "text/csv"}))
    rows = csv.reader(io.StringIO(run("--url", server.url, "--by", "model", "--csv").stdout))

    assert [*rows] == [["model", "requests"], [f"a{printable(character)}b", "1"], ["c", "2"]]


@pytest.mark.parametrize("url", ["", "/v1", "/v1/models"])
def test_own_usage_needs_no_admin_key(url: str, upstreams: FakeProviders) -> None:
    server = upstreams.open(json_of({**ANSWER, "data": []}))
    result = run("--url", server.url + url, "--own")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "no usage in this period\n")
    assert server.requests[0].target == "/v1/usage?format=json"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--json", "--csv"), "--json and --csv are mutually exclusive."),
        (("--own", "--by", "key"), "--own and --by are mutually exclusive."),
    ],
)
def test_contradictions_are_usage_errors(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)

    assert (result.exit_code, f"Error: {message}" in result.stderr) == (2, True)


def test_errors_of_the_server_are_shown(upstreams: FakeProviders) -> None:
    body = json.dumps({"error": {"message": "`from` is after `to`."}}).encode()
    server = upstreams.open(replies(body, 400, {"content-type": "application/json"}))
    result = run("--url", server.url, "--from", "2026-11-30", "--to", "2026-11-01")

    assert (result.exit_code, result.stderr) == (1, f"Error: {server.url}/admin/usage: `from` is after `to`. (400)\n")


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_response_that_is_no_usage_is_an_error(form: list[str], upstreams: FakeProviders) -> None:
    server = upstreams.open(replies(b"<html>"))
    expected = f"Error: {server.url}/admin/usage: invalid response; is this the URL of a models-proxy server?\n"

    assert run("--url", server.url, *form).stderr == expected
