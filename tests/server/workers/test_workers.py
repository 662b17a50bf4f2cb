"""Several real worker processes: starts, ends, reloads and shutdown."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import processes
from tests.fakes import digest
from tests.processes import until
from tests.providers.oidc import oidc_provider

LAB = """
logging: {{access: off}}
server: {{workers: {workers}, drain_delay: 300ms}}
providers:
  - {{name: lab, kind: static, models: [{{id: {model}}}]}}
"""


NO_HEADERS: Mapping[str, str] = {}
KEY = "mp-made-up-admin-key"
ADMIN = f"keys: [{{name: ops, hash: '{digest(KEY)}', models: [], admin: true}}]\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


def text(workers: int = 2, model: str = "our-own-13b") -> str:
    return LAB.format(workers=workers, model=model)


def children(pid: int) -> set[int]:
    return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()}


def get(url: str, path: str, headers: Mapping[str, str] = NO_HEADERS) -> tuple[int, Any]:
    """Status and body of a response on a new connection, so that any of the workers sends it."""
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, json.load(response)


def models(url: str) -> list[str]:
    return [model["id"] for model in get(url, "/v1/models")[1]["data"]]


def everywhere(url: str, expected: list[str]) -> bool:
    """Whether all workers list these models: with 40 connections none is left out."""
    return all(models(url) == expected for _ in range(40))


class Load(threading.Thread):
    """Requests lists on new connections until it is stopped."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._is_over = threading.Event()
        self.results: list[str] = []

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                self.results.append(str(get(self._url, "/v1/models")[0]))
            except (OSError, http.client.HTTPException) as error:
                self.results.append(type(error).__name__)

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.join()


def test_one_worker_has_no_supervisor(config: Path) -> None:
    with processes.serving(config, text(1)) as process:
        assert models(process.url) == ["our-own-13b"]
        assert (children(process.pid), process.stop()) == (set(), 0)


def test_workers_share_the_port_and_the_start_is_reported_once(config: Path) -> None:
    with processes.serving(config, text(3)) as process:
        url = process.url
        assert len(children(process.pid)) == 3
        assert everywhere(url, ["our-own-13b"])
        process.send(signal.SIGTERM)
        assert (process.wait(), process.err) == (0, [])
        assert [line.split(",")[0] for line in process.out] == [
            "models-proxy 0.2.0",
            "  declared    lab  1 model",
            f"Listening on {url}",
            f"  curl {url}/v1/models",
        ]


def test_workers_together_let_exactly_the_limit_of_a_caller_or_user_through(config: Path) -> None:
    with oidc_provider() as issuer, ThreadPoolExecutor(8) as threads:
        limited = (
            "groups: {default: {models: ['*'], limits: {list_requests: 100/h}}, "
            "staff: {models: ['*'], limits: {list_requests: 50/h}}}\n"
            f"auth: {{jwt: [{{issuer: '{issuer.issuer}', audience: models-proxy, groups: {{llm-users: staff}}}}]}}\n"
        )
        now = int(time.time())
        users = [
            {"Authorization": f"Bearer {issuer.token(sub=sub, iat=now, exp=now + 3600)}"} for sub in ("u-1", "u-2")
        ]
        with processes.serving(config, text() + limited) as process:

            def statuses(number: int, headers: Mapping[str, str]) -> Counter[int]:
                return Counter(threads.map(lambda _: get(process.url, "/v1/models", headers)[0], range(number)))

            assert statuses(130, {}) == {200: 100, 429: 30}
            # Of 50 connections, none of the workers is left out.
            assert [statuses(70, user) for user in users] == [{200: 50, 429: 20}] * 2
            assert process.stop() == 0


def test_a_session_of_the_status_page_is_valid_and_ends_in_all_workers_and_their_successors(config: Path) -> None:
    with processes.serving(config, text() + ADMIN) as process, httpx.Client(trust_env=False) as client:
        url, page = process.url, {"accept": "text/html", "sec-fetch-site": "same-origin", "origin": process.url}
        client.headers.update({**page, "connection": "close"})
        reply = client.post(f"{url}/status/login", data={"key": KEY})
        assert (reply.status_code, [*client.cookies]) == (303, ["models-proxy-session"])
        statuses = {client.get(f"{url}/status.json").status_code for _ in range(40)}
        assert statuses == {200}
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(process.pid) - before) == 1)
        statuses = {client.get(f"{url}/status.json").status_code for _ in range(40)}
        assert statuses == {200}
        cookies = dict(client.cookies)
        token = re.search(r'name="csrf" value="(\w+)"', client.get(f"{url}/status").text)
        assert token
        assert client.post(f"{url}/status/logout", data={"csrf": token[1]}).status_code == 303
        assert not client.cookies
        client.cookies.update(cookies)
        statuses = {client.get(f"{url}/status.json").status_code for _ in range(40)}
        assert statuses == {401}


def test_a_worker_that_is_killed_is_replaced(config: Path) -> None:
    with processes.serving(config, text()) as process:
        url = process.url
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        process.line(process.err, "^.* ERROR models_proxy: worker [12] was ended by SIGKILL; it is replaced in 0 s$")
        until(lambda: len(children(process.pid)) == 2)
        assert len(children(process.pid) - before) == 1
        assert everywhere(url, ["our-own-13b"])
        assert process.stop() == 0


def test_connections_that_wait_at_a_killed_worker_are_served_by_its_successor(config: Path) -> None:
    with processes.serving(config, text()) as process:
        url = process.url
        pids = children(process.pid)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        waiting = []
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0))
            connection.settimeout(30)
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            waiting.append(connection)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert [connection.recv(4096)[:15] for connection in waiting] == [b"HTTP/1.1 200 OK"] * 20
        for connection in waiting:
            connection.close()
        assert process.stop() == 0


def test_the_death_of_a_worker_fails_only_requests_at_that_worker(config: Path) -> None:
    with processes.serving(config, text()) as process:
        url = process.url
        with Load(url) as load:
            until(lambda: len(load.results) > 50)
            os.kill(min(children(process.pid)), signal.SIGKILL)
            done = len(load.results)
            until(lambda: len(load.results) > done + 100)
        failures = [result for result in load.results if result != "200"]
        assert len(failures) <= 1
        assert process.stop() == 0


def test_a_worker_is_replaced_while_the_file_is_invalid(config: Path) -> None:
    with processes.serving(config, text()) as process:
        url = process.url
        config.write_text(text(model="our-own-14b"), encoding="utf-8")
        until(lambda: everywhere(url, ["our-own-14b"]))
        config.write_text("providers: [", encoding="utf-8")
        process.line(process.err, "configuration not reloaded: 1 problem")
        before = children(process.pid)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(children(process.pid) - before) == 2)
        assert everywhere(url, ["our-own-14b"])
        assert process.stop() == 0


def test_another_worker_watches_the_file_when_the_one_that_did_is_killed(config: Path) -> None:
    with processes.serving(config, text()) as process:
        url = process.url
        os.kill(min(children(process.pid)), signal.SIGKILL)
        process.line(process.err, "worker 1 was ended by SIGKILL")
        config.write_text(text(model="our-own-14b"), encoding="utf-8")
        until(lambda: everywhere(url, ["our-own-14b"]))
        assert process.stop() == 0


def test_sighup_reloads_all_workers_and_one_logs_it(config: Path) -> None:
    with processes.serving(config, text(3).replace("drain_delay", "reload: signal, drain_delay")) as process:
        url = process.url
        config.write_text(text(3, "our-own-14b").replace("drain_delay", "reload: signal, drain_delay"), "utf-8")
        process.send(signal.SIGHUP)
        until(lambda: everywhere(url, ["our-own-14b"]))
        assert process.stop() == 0
        for text_of_line in ("SIGHUP: configuration reloaded", "1 model added (our-own-14b)"):
            assert len([line for line in process.err if text_of_line in line]) == 1


def test_sighup_to_a_worker_is_passed_on_to_the_supervisor(config: Path) -> None:
    signaled = text().replace("drain_delay", "reload: signal, drain_delay")
    with processes.serving(config, signaled) as process:
        url = process.url
        config.write_text(signaled.replace("13b", "14b"), encoding="utf-8")
        os.kill(max(children(process.pid)), signal.SIGHUP)
        until(lambda: everywhere(url, ["our-own-14b"]))
        assert process.stop() == 0


def test_an_administrator_gets_the_result_when_all_workers_have_reloaded(config: Path) -> None:
    with processes.serving(config, text(3)) as process:
        url = process.url
        config.write_text(text(3, "our-own-14b"), encoding="utf-8")
        result = httpx.post(f"{url}/admin/reload", timeout=30, trust_env=False).json()
        assert everywhere(url, ["our-own-14b"])
        generation = result["generation"]
        assert result["workers"] == [{"worker": number, "generation": generation} for number in (1, 2, 3)]
        config.write_text("providers: 1", encoding="utf-8")
        rejected = httpx.post(f"{url}/admin/reload", timeout=30, trust_env=False)
        assert (rejected.status_code, len(rejected.json()["error"]["problems"])) == (422, 1)
        assert process.stop() == 0


def restart_needed(url: str) -> list[list[str]]:
    """Those that the workers report: with 20 connections none is left out."""
    shown = [get(url, "/health", {"Authorization": f"Bearer {KEY}"})[1]["configuration"] for _ in range(20)]
    return [each["restart_needed"] for each in shown]


def test_sighup_applies_what_needs_a_restart_and_nothing_reports_it_any_more(config: Path) -> None:
    with processes.serving(config, ADMIN + text(2)) as process:
        url = process.url
        before = children(process.pid)
        config.write_text(ADMIN + text(3), encoding="utf-8")
        until(lambda: restart_needed(url) == [["server.workers"]] * 20)
        process.line(process.err, "server.workers: changed, but applied by SIGHUP or a restart only")
        process.send(signal.SIGHUP)
        until(lambda: len(children(process.pid) - before) == 3 and not children(process.pid) & before)

        until(lambda: restart_needed(url) == [[]] * 20)


def test_sighup_replaces_the_workers_for_what_needs_other_processes(config: Path) -> None:
    with processes.serving(config, text(2)) as process:
        url = process.url
        before = children(process.pid)
        config.write_text(text(3, "our-own-14b"), encoding="utf-8")
        with Load(url) as load:
            process.send(signal.SIGHUP)
            process.line(process.err, "replacing 2 workers by 3")
            until(lambda: len(children(process.pid) - before) == 3 and not children(process.pid) & before)
        assert set(load.results) == {"200"}
        assert not [line for line in process.err if "a restart only" in line]
        config.write_text(text(2, "our-own-14b"), encoding="utf-8")
        with Load(url) as load:
            process.send(signal.SIGHUP)
            process.line(process.err, "replacing 3 workers by 2")
            until(lambda: len(children(process.pid)) == 2)
        assert set(load.results) == {"200"}
        assert everywhere(url, ["our-own-14b"])
        assert process.stop() == 0


def test_sighup_moves_the_workers_to_another_port(config: Path) -> None:
    ports = processes.free_port(), processes.free_port()

    def on(port: int) -> str:
        return text(2).replace("{workers", f"{{port: {port}, workers")

    config.write_text(on(ports[0]), encoding="utf-8")
    with processes.models_proxy("serve", "--config", str(config), *processes.CONSOLE) as process:
        url = process.url
        assert url == f"http://127.0.0.1:{ports[0]}"
        config.write_text(on(ports[1]), encoding="utf-8")
        process.send(signal.SIGHUP)
        until(lambda: not processes.accepts_connections(("127.0.0.1", ports[0])))
        assert everywhere(f"http://127.0.0.1:{ports[1]}", ["our-own-13b"])
        assert process.stop() == 0


def test_sigterm_lets_requests_in_progress_finish_in_all_workers(config: Path) -> None:
    with processes.serving(config, text().replace("300ms", "60s")) as process:
        url = process.url
        process.send(signal.SIGTERM)
        until(lambda: all(get(url, "/readyz")[1] == {"status": "draining"} for _ in range(20)))
        assert models(url) == ["our-own-13b"]
        process.send(signal.SIGTERM)
        assert (process.wait(), process.err) == (0, [])


def test_signals_of_a_process_manager_to_all_processes_stop_the_server_once(config: Path) -> None:
    with processes.serving(config, text().replace("300ms", "5s")) as process:
        url = process.url
        for pid in (*children(process.pid), process.pid):
            os.kill(pid, signal.SIGTERM)
        until(lambda: get(url, "/readyz")[1] == {"status": "draining"})
        assert models(url) == ["our-own-13b"]
        assert (process.wait(), process.err) == (0, [])


def test_workers_stop_without_the_supervisor(config: Path) -> None:
    with processes.serving(config, text()) as process:
        assert process.url
        pids = children(process.pid)
        process.send(signal.SIGKILL)
        until(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_lines_of_the_log_have_the_number_of_the_worker(config: Path) -> None:
    with processes.serving(config, text().replace("access: off", "access: all"), "--log-format", "json") as process:
        process.line(process.err, "Listening on")
        url = json.loads(next(line for line in process.err if "Listening" in line))["message"].split()[-1]
        assert everywhere(url, ["our-own-13b"])
        assert process.stop() == 0
        requests = [json.loads(line) for line in process.err if '"event":"request"' in line]
        assert {request["worker"] for request in requests} == {1, 2}
        identities = [request["request_id"] for request in requests]
        assert len({*identities}) == len(identities) == 40


def metrics(url: str) -> dict[str, float]:
    with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


LISTS = 'models_proxy_requests_total{route="/v1/models",method="GET",status="200",key=""}'


def test_metrics_are_the_sums_of_all_workers_whichever_answers(config: Path) -> None:
    with processes.serving(config, text(3)) as process:
        url = process.url
        assert everywhere(url, ["our-own-13b"])
        found = [metrics(url) for _ in range(10)]
        assert {each[LISTS] for each in found} == {40.0}
        assert {each["models_proxy_workers"] for each in found} == {3.0}
        assert {each["models_proxy_connections_limit"] for each in found} == {10_000.0}
        assert process.stop() == 0


def test_counters_never_go_back_when_workers_end(config: Path) -> None:
    with processes.serving(config, text(3)) as process:
        url = process.url
        assert everywhere(url, ["our-own-13b"])
        assert metrics(url)[LISTS] == 40
        first, second, _ = sorted(children(process.pid))
        os.kill(first, signal.SIGKILL)
        process.line(process.err, "was ended by SIGKILL")
        os.kill(second, signal.SIGTERM)
        process.line(process.err, "ended with status 0")
        until(lambda: metrics(url)["models_proxy_workers"] == 3)
        assert metrics(url)[LISTS] == 40
        assert process.stop() == 0


def test_a_worker_that_does_not_respond_counts_with_its_last_values(config: Path) -> None:
    with processes.serving(config, text(2)) as process:
        url = process.url
        assert everywhere(url, ["our-own-13b"])
        assert metrics(url)[LISTS] == 40
        stopped = min(children(process.pid))
        with closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)) as connection:
            while connection_is_to(connection, stopped):
                connection.close()
            os.kill(stopped, signal.SIGSTOP)
            connection.request("GET", "/metrics")
            body = connection.getresponse().read().decode()
            os.kill(stopped, signal.SIGCONT)
        assert f"{LISTS} 40" in body
        assert process.stop() == 0


def connection_is_to(connection: http.client.HTTPConnection, pid: int) -> bool:
    """Whether a process has the other end of a connection, which is opened for a request."""
    connection.request("GET", "/livez")
    connection.getresponse().read()
    port = connection.sock.getsockname()[1]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    (inode,) = [row[9] for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"]
    links = Path(f"/proc/{pid}/fd")
    return any(os.readlink(each) == f"socket:[{inode}]" for each in links.iterdir())


def test_health_and_the_status_are_those_of_all_workers(config: Path) -> None:
    with processes.serving(config, ADMIN + text(2)) as process:
        url = process.url
        headers = {"Authorization": f"Bearer {KEY}"}
        health = httpx.get(f"{url}/health", headers=headers, timeout=30, trust_env=False).json()
        generation = health["configuration"]["generation"]
        assert health["workers"] == [{"worker": 1, "generation": generation}, {"worker": 2, "generation": generation}]
        for _ in range(12):  # each on a connection of its own, so both workers count some
            call = httpx.post(f"{url}/v1/embeddings", json={"model": "m"}, headers=headers, timeout=30, trust_env=False)
            assert call.status_code == 404

        def status() -> Any:
            return httpx.get(f"{url}/status.json", headers=headers, timeout=30, trust_env=False).json()

        def is_complete(answer: Any) -> bool:
            calls = [key["last_hour"]["calls"] for key in answer["keys"]]
            return (calls, answer["workers"]) == ([12], health["workers"])

        until(lambda: all(is_complete(status()) for _ in range(12)))  # with 12 connections none is left out
        assert process.stop() == 0


def test_workers_share_a_unix_socket(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "s"
    open_to_all = text(2).replace("drain_delay", "allow_anonymous: true, drain_delay")
    with processes.serving(config, open_to_all, "--host", f"unix:{path}") as process:
        assert process.url == f"unix:{path}"
        before = children(process.pid)
        os.kill(min(before), signal.SIGKILL)
        until(lambda: len(children(process.pid) - before) == 1)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert [client.get("http://proxy/livez").status_code for _ in range(20)] == [200] * 20
        assert process.stop() == 0
    assert not path.exists()


def test_the_supervisor_reports_to_systemd(config: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(processes.TIMEOUT)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        received: list[str] = []

        def received_within_time(line: str) -> None:
            while line not in received:
                received.extend(systemd.recv(4096).decode().splitlines())

        with processes.serving(config, text(2), env=environ) as process:
            received_within_time("READY=1")
            received_within_time("STATUS=2 of 2 workers ready")
            received_within_time("WATCHDOG=1")
            process.send(signal.SIGHUP)
            received_within_time("RELOADING=1")
            received.clear()
            received_within_time("READY=1")
            process.send(signal.SIGTERM)
            received_within_time("STOPPING=1")
            assert process.wait() == 0
