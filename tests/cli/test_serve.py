"""The command as people and machines meet it: what it says at start, how it stops, with which exit code."""

from __future__ import annotations

import http.client
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli.main import main
from proxy.cli.serve import _resolver_threads
from proxy.config import Config, ConfigError, parse
from tests.processes import Process, free_port, models_proxy, serving, until
from tests.providers.lists import CTYUN_WRONG_KEY, Upstreams, after, hangs, lists, says

LAB = """
server: {drain_delay: 500ms}
providers:
  - {name: lab, kind: static, models: [{id: our-own-13b}]}
"""


@pytest.fixture
def upstreams() -> Iterator[Upstreams]:
    with Upstreams() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=10, trust_env=False)


# -- before anything is served -----------------------------------------------------------------------------------------


def test_version_names_the_command_and_its_version() -> None:
    with models_proxy("--version") as process:
        assert (process.wait(), process.out, process.err) == (0, [f"models-proxy, version {__version__}"], [])


@pytest.mark.parametrize(
    ("arguments", "says_also"),
    [
        pytest.param(["--help"], "  serve       Ask all providers and serve the merged list.", id="of the command"),
        pytest.param(["serve", "-h"], "    models-proxy serve", id="of serve, with examples"),
    ],
)
def test_help_is_shown_on_request(arguments: list[str], says_also: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("Usage: ")
    assert says_also in result.stdout.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no command"),
        pytest.param(["server"], id="a command that does not exist"),
        pytest.param(["serve", "--confg", "x"], id="an option that does not exist"),
        pytest.param(["serve", "--port", "65536"], id="a port that cannot be"),
    ],
)
def test_a_usage_error_ends_with_2_and_says_how_it_is_used_on_stderr(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")


def test_a_config_error_ends_with_1_and_all_problems_are_on_stderr(config: Path) -> None:
    text = """
server: {prot: 8000}
providers:
  - {name: a, base_url: "ftp://127.0.0.1"}
  - {name: b, base_url: "http://127.0.0.1", api_key: "${NO_SUCH_VARIABLE}"}
keys:
  - {name: k, key: sk-canary-in-plain-text, models: ["*"]}
"""
    with pytest.raises(ConfigError) as error:
        parse(text, str(config))
    settings = {problem.setting for problem in error.value.problems}
    assert settings >= {"server.prot", "providers[0].base_url", "providers[1].api_key", "keys[0].key"}
    with serving(config, text) as process:
        assert (process.wait(), process.out) == (1, [])
    assert process.err == f"Error: {error.value}".splitlines()
    assert "canary" not in "".join(process.err)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("absent.yaml", "No such file or directory", id="absent"),
        pytest.param(".", "Is a directory", id="a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_a_config_error(path: str, why: str, tmp_path: Path) -> None:
    place = tmp_path / path
    result = CliRunner().invoke(main, ["serve", "--config", str(place)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"Error: {place} has 1 problem:",
        f"  the file: {why}; name another one with --config",
    ]


def test_a_provider_at_its_own_address_is_refused(config: Path) -> None:
    port = free_port()
    text = f"providers: [{{name: me, base_url: 'http://localhost:{port}/v1'}}]"
    with serving(config, text, port=port) as process:
        assert process.wait() == 1
    assert process.err == ["Error: provider me is this proxy's own address; mend its base_url or choose another port"]


def test_every_provider_gets_threads_to_be_looked_up_in_but_not_without_bound() -> None:
    def config_of_so_many(count: int) -> Config:
        return parse("providers:\n" + "\n".join(f"- {{name: p{i}, base_url: http://h{i}}}" for i in range(count)))

    assert [_resolver_threads(config_of_so_many(count)) for count in (1, 10, 500)] == [8, 44, 256]


def test_without_keys_it_refuses_to_listen_beyond_loopback(config: Path) -> None:
    with serving(config, LAB, "--host", "0.0.0.0") as process:  # noqa: S104
        assert (process.wait(), process.out) == (1, [])
    assert process.err[0].startswith("Error: refuses to listen on 0.0.0.0: no keys are configured")


def test_it_listens_beyond_loopback_when_the_file_says_open(config: Path) -> None:
    text = LAB.replace("drain_delay: 500ms", "drain_delay: 500ms, allow_anonymous: true")
    with serving(config, text, "--host", "0.0.0.0") as process:  # noqa: S104
        port = process.url.rpartition(":")[2]
        assert get(f"http://127.0.0.1:{port}/livez").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_a_port_in_use_is_said_before_anybody_is_asked(config: Path, taken: int, upstreams: Upstreams) -> None:
    asked = upstreams.open(lists("m"))
    config.write_text(f'providers: [{{name: a, base_url: "{asked.url}"}}]')
    with models_proxy("serve", "--config", str(config), "--port", str(taken)) as process:
        assert (process.wait(), process.out) == (1, [])
    assert process.err == [
        "Error: cannot listen on 127.0.0.1: Address already in use (while attempting to bind on address "
        f"('127.0.0.1', {taken})); --host and --port name another place"
    ]
    assert asked.asked == []


def test_host_and_port_of_the_command_win_over_those_of_the_file(config: Path, taken: int) -> None:
    text = LAB.replace("drain_delay: 500ms", f"host: 0.0.0.0, port: {taken}")
    with serving(config, text, "--host", "127.0.0.1") as process:
        assert process.url.startswith("http://127.0.0.1:")
        assert process.url != f"http://127.0.0.1:{taken}"
        assert get(f"{process.url}/livez").status_code == 200


# -- what is seen at start ---------------------------------------------------------------------------------------------


def test_at_start_each_provider_is_up_left_out_failing_or_waited_for_and_why(
    config: Path, upstreams: Upstreams
) -> None:
    text = f"""
cache: {{initial_wait: 500ms}}
providers:
  - {{name: good, base_url: "{upstreams.open(lists("m", "n", {"id": ""})).url}"}}
  - {{name: ctyun, base_url: "{upstreams.open(says(CTYUN_WRONG_KEY, 401)).url}", api_key: sk-canary-app-key}}
  - {{name: away, base_url: "{upstreams.open(hangs).url}"}}
  - {{name: paid-elsewhere, base_url: "http://127.0.0.1:9", api_key: "${{NO_SUCH_VARIABLE}}", optional: true}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
"""
    with serving(config, text) as process:
        url = process.url
        process.line(process.out, "curl")
        assert process.out[:3] == [
            f"models-proxy {__version__}, {config}: 4 providers",
            "  left out  paid-elsewhere  NO_SUCH_VARIABLE not set",
            "  up        lab             1 model, declared in the file",
        ]
        assert set(process.out[3:5]) == {
            "  up        good            2 models, 1 entry dropped",
            "  failing   ctyun           our credential was refused, status 401: AppKey不正确,请使用正确的AppKey; "
            "asked again in 5 s",
        }
        assert process.out[5:] == [
            "  waiting   away            no answer within 0.5 s; still asking",
            f"Listening on {url}",
            f"  curl {url}/v1/models",
        ]
        listed = get(process.out[-1].split()[-1]).json()["data"]
        assert [model["id"] for model in listed] == ["m", "n", "our-own-13b"]
        assert (process.stop(), process.err) == (0, [])


def test_a_provider_that_was_waited_for_gets_its_row_when_it_answers_late(config: Path, upstreams: Upstreams) -> None:
    text = f"""
cache: {{initial_wait: 300ms}}
providers:
  - {{name: late, base_url: "{upstreams.open(after(0.6, lists("m"))).url}"}}
"""
    with serving(config, text) as process:
        process.line(process.out, "curl")
        process.line(process.out, "^  up        late  1 model$")
        assert get(f"{process.url}/v1/models").json()["data"][0]["id"] == "m"


def test_the_curl_line_brings_a_key_where_one_is_needed(config: Path) -> None:
    text = LAB + 'keys: [{name: k, key: "${CLIENT_KEY}", models: ["*"]}]'
    with serving(config, text, env={"CLIENT_KEY": "sk-canary-client"}) as process:
        line = process.line(process.out, "^  curl .*$")[0]
        assert line == f'  curl -H "Authorization: Bearer $KEY" {process.url}/v1/models'
        assert get(f"{process.url}/v1/models").status_code == 401
        assert get(f"{process.url}/v1/models", Authorization="Bearer sk-canary-client").status_code == 200


def test_what_looks_wrong_in_the_file_but_works_is_warned_of_on_stderr(config: Path) -> None:
    text = LAB + 'keys: [{name: k, key: "${CLIENT_KEY}", models: ["!secret"]}]'
    with serving(config, text, env={"CLIENT_KEY": "sk-canary-client"}) as process:
        assert process.url
        assert process.stop() == 0
        assert process.err == [
            f'warning: {config}, line 5: key k has only `!` rules and sees nothing; add "*" to see the rest'
        ]


def test_after_the_start_the_log_tells_of_every_change_and_only_of_changes(config: Path, upstreams: Upstreams) -> None:
    upstream = upstreams.open(lists("m", "n"))
    text = f"""
cache: {{ttl: 200ms}}
providers:
  - {{name: a, base_url: "{upstream.url}", retries: 0}}
"""
    with serving(config, text) as process:
        assert process.url
        until(lambda: len(upstream.asked) >= 3)
        upstream.reply = says({"error": {"message": "out of order"}}, 500)
        until(lambda: len(upstream.asked) >= 6)
        upstream.reply = lists("m", "n")
        process.line(process.err, "is up again")
        assert (process.stop(), [line.partition(" models_proxy: ")[2] for line in process.err]) == (
            0,
            ["a is failing: status 500: out of order; asked again in 0 s", "a is up again: 2 models"],
        )


def test_a_server_whose_terminal_goes_away_goes_on_serving(config: Path, upstreams: Upstreams) -> None:
    """As in `models-proxy serve | head -6`: the row of a late answer finds nobody who reads it."""
    upstream = upstreams.open(after(0.6, lists("m")))
    text = f"""
cache: {{ttl: 300ms, initial_wait: 300ms}}
providers:
  - {{name: late, base_url: "{upstream.url}"}}
"""
    with serving(config, text, deaf_after="curl") as process:
        url = process.url
        until(lambda: len(upstream.asked) >= 3)
        assert get(f"{url}/v1/models").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_a_server_without_any_stdout_serves(config: Path) -> None:
    """As when it was started with `>&-`."""
    port = free_port()
    config.write_text(LAB)
    closed = "import sys; sys.stdout = None; from proxy.cli.main import main; main()"
    with Process("-c", closed, "serve", "--config", str(config), "--port", str(port)) as process:
        until(lambda: accepts_connections(("127.0.0.1", port)))
        assert get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
        assert (process.stop(), process.out, process.err) == (0, [], [])


def test_a_terminal_that_knows_no_chinese_shows_escapes_instead(config: Path, upstreams: Upstreams) -> None:
    text = f'providers: [{{name: ctyun, base_url: "{upstreams.open(says(CTYUN_WRONG_KEY, 401)).url}"}}]'
    with serving(config, text, env={"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}) as process:
        process.line(process.out, r"AppKey\\u4e0d\\u6b63\\u786e,")
        assert get(f"{process.url}/v1/models").status_code == 503


# -- stopping ----------------------------------------------------------------------------------------------------------


def test_sigterm_says_not_ready_and_goes_on_answering_while_it_drains(config: Path) -> None:
    with serving(config, LAB.replace("500ms", "60s")) as process:
        url = process.url
        assert get(f"{url}/readyz").json() == {"status": "ready"}
        process.send(signal.SIGTERM)
        until(lambda: get(f"{url}/readyz").status_code == 503)
        assert get(f"{url}/readyz").json() == {"status": "draining"}
        assert [model["id"] for model in get(f"{url}/v1/models").json()["data"]] == ["our-own-13b"]
        assert get(f"{url}/livez").status_code == 200
        assert (process.stop(), process.err) == (0, [])


def test_sigterm_ends_the_process_a_little_after_the_drain(config: Path) -> None:
    with serving(config, LAB) as process:
        assert process.url
        took = process.seconds_to_end_by(signal.SIGTERM)
        assert (process.wait(), process.err) == (0, [])
    assert 0.5 <= took < 0.5 + 1.5


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="Ctrl-C"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], id="SIGTERM twice"),
        pytest.param([signal.SIGTERM, signal.SIGINT], id="SIGTERM, then Ctrl-C"),
    ],
)
def test_ctrl_c_or_a_second_signal_does_not_wait_for_the_drain(config: Path, signals: list[signal.Signals]) -> None:
    with serving(config, LAB.replace("500ms", "60s")) as process:
        url = process.url
        for sig in signals[:-1]:
            process.send(sig)
            until(lambda: get(f"{url}/readyz").json() == {"status": "draining"})
        took = process.seconds_to_end_by(signals[-1])
        assert (process.wait(), process.err) == (0, [])
    assert took < 5


def test_a_request_under_way_is_answered_before_the_process_ends(config: Path, upstreams: Upstreams) -> None:
    with request_under_way(config, upstreams, initial_wait="1s") as (process, connection):
        process.send(signal.SIGINT)
        assert connection.getresponse().status == 200
        assert (process.wait(), process.err) == (0, [])
        assert len(process.out) == 2, "who has been told to stop does not say any more that it listens"


def test_one_more_ctrl_c_does_not_even_wait_for_requests_under_way(config: Path, upstreams: Upstreams) -> None:
    with request_under_way(config, upstreams, initial_wait="60s") as (process, connection):
        process.send(signal.SIGINT)
        until(lambda: not accepts_connections((connection.host, connection.port)))
        took = process.seconds_to_end_by(signal.SIGINT)
        assert (process.wait(), process.err) == (0, [])
    assert took < 5


@contextmanager
def request_under_way(
    config: Path, upstreams: Upstreams, initial_wait: str
) -> Iterator[tuple[Process, http.client.HTTPConnection]]:
    """A proxy, and a connection on which a list was asked for that has to wait for `initial_wait` to end."""
    text = f"""
cache: {{initial_wait: {initial_wait}}}
providers:
  - {{name: silent, base_url: "{upstreams.open(hangs).url}", timeout: 100s}}
  - {{name: lab, kind: static, models: [{{id: our-own-13b}}]}}
"""
    port = free_port()
    with serving(config, text, port=port) as process:
        until(lambda: accepts_connections(("127.0.0.1", port)))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b'{"status":"alive"}'
            connection.request("GET", "/v1/models")
            yield process, connection


def accepts_connections(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=1).close()
    except OSError:
        return False
    return True
