"""`models-proxy refresh` and `models-proxy reload`: requests to the admin endpoints of a running server."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from proxy.cli.main import main
from tests.providers.scripted import FakeProviders, Script, replies

KEY = "sk-canary-admin"
REPORTS = [
    {"name": "lab", "state": "ok", "models": 4, "error": None, "refreshing": False},
    {"name": "cloud", "state": "stale", "models": 1200, "error": "connection refused", "refreshing": False},
]
CHANGED = {
    "providers": {"added": ["lab", "cloud"], "removed": [], "changed": ["old"]},
    "keys": {"added": 2, "removed": 0, "changed": 0},
    "sections": ["groups"],
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, env={"MODELS_PROXY_URL": None, "MODELS_PROXY_KEY": KEY})


def outcome(reply: Script, upstreams: FakeProviders, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr without the address."""
    upstream = upstreams.open(reply)
    result = run(*arguments, "--url", upstream.url)
    assert "canary" not in result.output
    return result.exit_code, result.stdout, result.stderr.replace(upstream.url, "URL")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["refresh"], "POST /admin/refresh HTTP/1.1"),
        (["refresh", "a b"], "POST /admin/refresh?provider=a%20b HTTP/1.1"),
        (["refresh", "lab", "--accept"], "POST /admin/refresh?provider=lab&accept=true HTTP/1.1"),
        (["reload"], "POST /admin/reload HTTP/1.1"),
    ],
)
def test_the_request_has_the_admin_key(arguments: list[str], line: str, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(replies({"providers": [], "generation": "0a"}))
    for url in (upstream.url, f"{upstream.url}/v1"):
        assert run(*arguments, "--url", url).exit_code == 0
    assert [request.line.replace("+", "%20") for request in upstream.requests] == [line, line]
    assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {KEY}"}


def test_refreshed_lists_are_a_table(upstreams: FakeProviders) -> None:
    expected = "provider  state  models  error\nlab       ok          4  -\n"
    assert outcome(replies({"providers": REPORTS[:1]}), upstreams, "refresh") == (0, expected, "")


def test_a_refresh_that_failed_or_has_not_ended_is_an_error(upstreams: FakeProviders) -> None:
    slow = {"name": "slow", "state": "ok", "models": 2, "error": None, "refreshing": True}
    assert outcome(replies({"providers": [*REPORTS, slow]}), upstreams, "refresh") == (
        1,
        "provider  state  models  error\n"
        "lab       ok          4  -\n"
        "cloud     stale    1200  connection refused\n"
        "slow      ok          2  refresh still in progress\n",
        "Error: not refreshed: cloud, slow\n",
    )


def test_a_reload_prints_what_has_changed(upstreams: FakeProviders) -> None:
    reply = replies({"generation": "0a1b2c3d4e5f", "changed": CHANGED, "restart_needed": ["server.port"]})
    assert outcome(reply, upstreams, "reload") == (
        0,
        "configuration reloaded: generation 0a1b2c3d4e5f\n"
        "  providers added: lab, cloud\n"
        "  providers changed: old\n"
        "  keys added: 2\n"
        "  sections changed: groups\n",
        "warning: restart the server to apply server.port\n",
    )
    unchanged = replies({"generation": "0a1b2c3d4e5f", "changed": None, "restart_needed": []})
    assert outcome(unchanged, upstreams, "reload") == (0, "configuration unchanged: generation 0a1b2c3d4e5f\n", "")


def test_a_rejected_configuration_is_an_error_with_its_problems(upstreams: FakeProviders) -> None:
    message = "The configuration has 2 problems; the previous one is still used."
    problems = ["config.yaml:3: server.prot: unknown setting", "keys/a.yaml:1: invalid YAML"]
    reply = replies({"error": {"message": message, "code": "configuration_rejected", "problems": problems}}, 422)
    assert outcome(reply, upstreams, "reload") == (
        1,
        "",
        f"Error: URL/admin/reload: {message} (422)\n  {problems[0]}\n  {problems[1]}\n",
    )


@pytest.mark.parametrize("command", ["refresh", "reload"])
@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            replies({}, 401),
            "API key rejected (401): it is invalid or has expired; use --key-file or MODELS_PROXY_KEY",
        ),
        (replies({"error": {"message": "No admin key."}}, 403), "No admin key. (403)"),
        (replies({"error": {"message": "\x1b[1mNo"}}, 409), "\\x1b[1mNo (409)"),
        (replies(b"", 404), "unexpected status 404; is this the URL of a models-proxy server?"),
        (replies(b"<html>"), "invalid response; is this the URL of a models-proxy server?"),
        (replies({"providers": {}, "generation": 1}), "invalid response; is this the URL of a models-proxy server?"),
    ],
)
def test_an_error_of_the_server_is_one_line(
    command: str, reply: Script, problem: str, upstreams: FakeProviders
) -> None:
    assert outcome(reply, upstreams, command) == (1, "", f"Error: URL/admin/{command}: {problem}\n")


def test_the_whole_response_can_be_printed_as_json(upstreams: FakeProviders) -> None:
    for command, payload in (
        ("refresh", {"providers": REPORTS[:1], "more": 1}),
        ("reload", {"generation": "0a", "changed": CHANGED, "restart_needed": [], "more": 1}),
    ):
        code, stdout, _ = outcome(replies(payload), upstreams, command, "--json")
        assert (code, json.loads(stdout)) == (0, payload)
