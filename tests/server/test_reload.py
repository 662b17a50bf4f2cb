"""A configuration is replaced while the real process serves requests: files, signals and administrators."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes import digest
from tests.processes import Process, models_proxy, serving, until
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders

ALICE, BOB, OPS = "sk-fake-of-alice", "sk-fake-of-bob", "sk-fake-of-operator"
ADMIN = {"authorization": f"Bearer {OPS}"}


def key(name: str, secret: str, rest: str = "models: ['*']") -> str:
    return f"  - {{name: {name}, hash: '{digest(secret)}', {rest}}}\n"


KEYS = "keys:\n" + key("ops", OPS, "models: ['*'], admin: true")


def lab(*models: str, further: str = "") -> str:
    return f"providers:\n  - {{name: lab, kind: static, models: [{', '.join(models)}]}}\n{further}"


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"


class Server:
    """The process, and a client."""

    def __init__(self, process: Process, config: Path) -> None:
        self.process = process
        self.config = config
        self.client = httpx.Client(base_url=process.url, trust_env=False, timeout=15)

    def get(self, path: str, secret: str = OPS) -> httpx.Response:
        return self.client.get(path, headers={"authorization": f"Bearer {secret}"})

    def ids(self, secret: str = OPS) -> list[str]:
        return [model["id"] for model in self.get("/v1/models", secret).json()["data"]]

    def post(self, path: str) -> httpx.Response:
        return self.client.post(path, headers=ADMIN)

    @property
    def configuration(self) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = self.get("/health").json()["configuration"]
        return fields

    def write(self, text: str) -> None:
        self.config.write_text(text, encoding="utf-8")


@contextmanager
def served(config: Path, text: str) -> Iterator[Server]:
    with serving(config, text) as process:
        server = Server(process, config)
        with server.client:
            yield server
            assert process.stop() == 0


def test_a_changed_file_is_applied_within_seconds(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        before = server.configuration["generation"]
        server.write(lab("a", "b") + KEYS + key("alice", ALICE))
        until(lambda: server.ids() == ["a", "b"])
        after = server.configuration["generation"]
        assert server.ids(ALICE) == ["a", "b"]
        assert server.get("/v1/models").headers["x-config-generation"] == after != before
        assert "x-config-generation" not in server.get("/v1/models", ALICE).headers
        text = f"configuration reloaded: generation {after}; providers changed: lab; keys added: 1"
        server.process.line(server.process.err, re.escape(text) + "$")


def test_a_removed_key_is_rejected_within_seconds(config: Path) -> None:
    with served(config, lab("a") + KEYS + key("alice", ALICE)) as server:
        assert server.get("/v1/models", ALICE).status_code == 200
        server.write(lab("a") + KEYS)
        until(lambda: server.get("/v1/models", ALICE).status_code == 401)
        assert server.ids() == ["a"]


def test_a_rule_is_applied_without_a_fetch(config: Path, upstreams: FakeProviders) -> None:
    upstream = upstreams.open(lists("a", "b"))

    def text(rules: str) -> str:
        return f"providers: [{{name: hub, base_url: '{upstream.url}'{rules}}}]\n{KEYS}"

    with served(config, text("")) as server:
        until(lambda: server.ids() == ["a", "b"])
        server.write(text(", exclude: [a], prefix: x/, owner: me"))
        assert server.post("/admin/reload").status_code == 200
        assert server.ids() == ["x/b"]
        assert len(upstream.requests) == 1


def test_explanations_name_the_lines_of_the_file_as_it_is(config: Path) -> None:
    """Also if only lines have moved."""

    def line() -> int:
        explanation = server.get("/admin/explain?model=a").json()
        number: int = explanation["providers"][0]["models"][0]["reasons"][0]["line"]
        return number

    text = lab("a") + KEYS
    with served(config, text) as server:
        assert line() == 2
        server.write(f"# A comment.\n{text}")
        assert server.post("/admin/reload").status_code == 200
        assert line() == 3


def test_sighup_reloads_at_once(config: Path) -> None:
    with served(config, f"server: {{reload: signal}}\n{lab('a')}{KEYS}") as server:
        server.write(f"server: {{reload: signal}}\n{lab('b')}{KEYS}")
        server.process.send(signal.SIGHUP)
        until(lambda: server.ids() == ["b"])


def test_a_bad_file_changes_nothing_and_is_reported_until_it_is_fixed(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        generation = server.configuration["generation"]
        server.write(lab("b").replace("static", "statik") + KEYS)
        problem = f"{config}:2: providers[0].kind: unknown kind; did you mean 'static'?"
        until(lambda: server.configuration["problems"] == [problem])
        rejected = server.post("/admin/reload")
        assert (rejected.status_code, rejected.json()["error"]["problems"]) == (422, [problem])
        assert (server.ids(), server.configuration["generation"]) == (["a"], generation)
        server.process.line(server.process.err, re.escape(problem) + "$")
        server.write(lab("b") + KEYS)
        until(lambda: server.ids() == ["b"])
        assert server.configuration["problems"] == []


def test_a_reload_that_removes_the_last_key_is_rejected(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        server.write(lab("b"))
        (problem,) = server.post("/admin/reload").json()["error"]["problems"]
        assert problem.startswith(f"{config}: keys: the last key was removed")
        assert (server.ids(), server.client.get("/v1/models").status_code) == (["a"], 401)


def test_refresh_fetches_now_and_responds_with_the_state(config: Path, upstreams: FakeProviders) -> None:
    answers = iter([lists("a"), lists("a", "b")])
    upstream = upstreams.open(lambda exchange: next(answers)(exchange))
    with served(config, f"providers: [{{name: hub, base_url: '{upstream.url}'}}]\n{KEYS}") as server:
        until(lambda: server.ids() == ["a"])
        refreshed = server.post("/admin/refresh?provider=hub")
        assert refreshed.json() == {
            "providers": [{"name": "hub", "state": "ok", "models": 2, "error": None, "refreshing": False}]
        }
        assert server.ids() == ["a", "b"]
        unknown = server.post("/admin/refresh?provider=hup").json()["error"]
        assert (unknown["code"], unknown["message"]) == (
            "provider_not_found", "No provider has the name 'hup'; did you mean 'hub'?"
        )  # fmt: skip


def test_a_symbolic_link_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    """As Kubernetes updates a ConfigMap: the file is a link to `..data/`, which is a link to a new folder."""
    for name, models in (("first", "a"), ("second", "b")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(lab(models) + KEYS)
    (tmp_path / "..data").symlink_to("first")
    config = tmp_path / "config.yaml"
    config.symlink_to("..data/config.yaml")
    with models_proxy("serve", "--config", str(config), "--port", "0", "--log-format", "console") as process:
        server = Server(process, config)
        with server.client:
            assert server.ids() == ["a"]
            (tmp_path / "..new").symlink_to("second")
            (tmp_path / "..new").rename(tmp_path / "..data")
            until(lambda: server.ids() == ["b"])


def test_of_many_quick_changes_the_last_one_is_applied(config: Path) -> None:
    with served(config, lab("m") + KEYS) as server:
        for number in range(20):
            server.write(lab(f"m{number}") + KEYS)
            time.sleep(0.05)
        until(lambda: server.ids() == ["m19"])
        assert server.configuration["problems"] == []


def test_a_deleted_file_changes_nothing_until_it_is_there_again(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        config.unlink()
        until(lambda: bool(server.configuration["problems"]))
        assert server.ids() == ["a"]
        server.write(lab("b") + KEYS)
        until(lambda: server.ids() == ["b"])


def test_a_storm_of_signals_is_followed_by_one_reload_with_the_last_content(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        for number in range(200):
            server.write(lab(f"m{number}") + KEYS)
            server.process.send(signal.SIGHUP)
        until(lambda: server.ids() == ["m199"])
        assert server.get("/livez").status_code == 200


def test_while_the_server_drains_requests_are_served_and_reloads_are_refused(config: Path) -> None:
    with served(config, f"server: {{drain_delay: 60s}}\n{lab('a')}{KEYS}") as server:
        server.process.send(signal.SIGTERM)
        until(lambda: server.client.get("/readyz").status_code == 503)
        server.write(f"server: {{drain_delay: 60s}}\n{lab('b')}{KEYS}")
        assert server.post("/admin/reload").status_code == 503
        assert server.ids() == ["a"]
        assert server.client.get("/readyz").json() == {"status": "draining"}


def test_what_only_a_restart_applies_is_named(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        server.write(f"server: {{port: 9999}}\n{lab('a')}{KEYS}")
        assert server.post("/admin/reload").json()["restart_needed"] == ["server.port"]
        assert server.configuration["restart_needed"] == ["server.port"]
        server.process.line(server.process.err, "server.port: changed, but applied by a restart only")


def test_reloading_can_be_switched_off(config: Path) -> None:
    with served(config, f"server: {{reload: off}}\n{lab('a')}{KEYS}") as server:
        server.write(lab("b") + KEYS)
        refused = server.post("/admin/reload")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "reload_disabled")
        assert server.ids() == ["a"]


def test_a_shrunken_list_is_accepted_at_once(config: Path, upstreams: FakeProviders) -> None:
    answers = iter([lists("a", "b", "c", "d"), lists(), lists()])
    upstream = upstreams.open(lambda exchange: next(answers)(exchange))
    with served(config, f"providers: [{{name: hub, base_url: '{upstream.url}'}}]\n{KEYS}") as server:
        until(lambda: len(server.ids()) == 4)
        assert server.post("/admin/refresh").json()["providers"][0]["models"] == 4
        assert server.post("/admin/refresh?accept=true").json()["providers"][0]["models"] == 0
        assert server.ids() == []


def test_each_action_of_an_administrator_is_logged(config: Path) -> None:
    with served(config, lab("a") + KEYS) as server:
        server.post("/admin/refresh")
        server.post("/admin/reload")
        server.process.line(server.process.err, "admin: key ops: refresh of lab: lab is declared")
        server.process.line(server.process.err, "admin: key ops: reload: generation [0-9a-f]{12}")
