"""The commands of "A day with models-proxy" in docs/operations.md run as printed, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, section
from tests.processes import free_port
from tests.providers.lists import lists
from tests.providers.scripted import FakeProviders

PAGE = DOCS / "operations.md"
HEADING = "A day with models-proxy"


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", section(PAGE, HEADING))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What each block of commands printed. All commands succeeded."""
    directory, port = tmp_path_factory.mktemp("day"), free_port()
    with FakeProviders() as upstreams:
        lab, cloud = upstreams.open(lists("lab-1")), upstreams.open(lists("cloud-large", "cloud-large-preview"))
        main, provider = (text.replace("http://vllm.example.com:8000", lab.url) for text in blocks("yaml"))
        (directory / "providers").mkdir()
        # Only `models-proxy reload` applies changes: otherwise the server may be faster than the next command.
        server = f"server: {{port: {port}, reload: signal}}\n"
        (directory / "config.yaml").write_text(main + server, encoding="utf-8")
        (directory / "providers" / "lab.yaml").write_text(provider, encoding="utf-8")
        marked = "\necho ======\n".join(blocks("sh"))
        commands = marked.replace("https://api.example.com", cloud.url).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MODELS_PROXY_URL": f"http://127.0.0.1:{port}",
        }
        done = subprocess.run(  # noqa: S603  # our own documentation
            ["/bin/bash", "-euo", "pipefail", "-c", f"trap 'kill -KILL $(jobs -p)' EXIT\n{commands}"],
            cwd=directory, env=environ, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.split("======\n")


def test_the_server_starts_with_a_key_for_its_administrator(output: list[str]) -> None:
    assert "ready (http://127.0.0.1:" in output[0]
    assert "lab-1" in output[0].splitlines()[-1]


def test_a_provider_is_added_without_a_restart(output: list[str]) -> None:
    assert "  providers added: cloud\n" in output[1]
    assert re.search(r"(?m)^cloud +ok +2 +-$", output[1])


def test_a_colleague_gets_a_key_and_an_explanation(output: list[str]) -> None:
    assert "  keys added: 1\n" in output[2]
    assert re.search(r"(?m)^cloud-large ", output[2])
    assert "!*-preview" in output[2]


def test_the_key_is_replaced_while_both_are_valid(output: list[str]) -> None:
    assert output[3].count("keys changed: 1\n") == 2
    assert re.search(r"(?m)^cloud-large ", output[3])
    assert re.search(r"(?m)^alice +staff +of the group +2099-12-31 +- +1$", output[3])


def test_health_metrics_and_the_log_show_what_happens(output: list[str]) -> None:
    assert sorted(output[4].splitlines()[:2]) == ['["cloud","ok"]', '["lab","ok"]']
    assert 'models_proxy_provider_models{provider="cloud"} 2' in output[4]
    assert re.search(r"(?m)^cloud +ok +ok +2 ", output[4])
    assert "configuration reloaded: generation " in output[4]


def test_a_list_is_accepted_and_a_key_removed(output: list[str]) -> None:
    assert re.search(r"(?m)^cloud +ok +2 +-$", output[5])
    assert "  keys removed: 1\n" in output[6]


def test_every_block_of_commands_is_run() -> None:
    assert len(blocks("sh")) == 7
