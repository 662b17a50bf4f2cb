"""Codex with the documented configuration, and its defaults otherwise, in sessions with a command and a sub-agent."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from proxy.wire import codex
from tests import npm
from tests.clients.responses import Item, Turn, call, message, outputs, responds
from tests.clients.running import KEY, PREFIX, Setup, setup
from tests.docs.pages import DOCS, blocks, lines_to_paste
from tests.providers.scripted import Exchange, replies

TASK, RESULT, FINAL = "the task of the sub-agent", "the sub-agent is done", "all is done"
(DOCUMENTED,) = blocks(DOCS / "clients.md", "toml")
DOCUMENTED_MODEL, SEARCHING_MODEL, UNKNOWN_MODEL = "gpt-6.2-sol", "gpt-5.5", "lab-coder"
"""Codex sends the tools for sub-agents in `input`, in the output of a search, and in `tools`."""


def session(namespace: str) -> Turn:
    """Run a command, start a sub-agent and wait for it, then finish. Both results must have reached the model.

    `namespace`: where Codex has its tools for sub-agents, depending on the model.
    """
    versions: dict[str, Any] = {"multi_agent_v1": {}, "collaboration": {"task_name": "helper", "fork_turns": "none"}}

    def turn(items: Sequence[Item]) -> Item:
        if any(TASK in json.dumps(item.get("content")) for item in items):
            return message(RESULT)
        if RESULT in json.dumps(items):
            return message(FINAL)
        match outputs(items):
            case []:
                return call(1, "exec_command", {"cmd": "echo from-the-shell"})
            case [printed]:
                assert "from-the-shell" in printed
                return call(2, "spawn_agent", {"message": TASK, **versions[namespace]}, namespace=namespace)
            case results:
                agent = re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", results[1])
                return call(3, "wait_agent", {"targets": agent} if agent else {}, namespace=namespace)

    return turn


def execute(packages: Path, proxy: Setup, config: str, **variables: str) -> Sequence[Any]:
    """The events of `codex exec`."""
    directory = proxy.home / ".codex"
    directory.mkdir(exist_ok=True)
    (directory / "config.toml").write_text(config, encoding="utf-8")
    program = packages / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    # The sandbox of its commands needs privileges that containers lack.
    options = ("--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox")
    result = proxy.run(str(npm.NODE), str(program), "exec", *options, "do it", **variables)
    return [json.loads(line) for line in result.stdout.splitlines()]


def messages(events: Sequence[Any]) -> Sequence[str]:
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"]


def problems(events: Sequence[Any]) -> Sequence[str]:
    items = [event.get("item", event) for event in events]
    return [item["message"] for item in items if item["type"] == "error"]


def documented(proxy: Setup, model: str, lines: str = DOCUMENTED) -> str:
    assert f'"{DOCUMENTED_MODEL}"' in lines
    assert "http://127.0.0.1:8000" in lines
    return lines.replace("http://127.0.0.1:8000", proxy.url).replace(DOCUMENTED_MODEL, model)


@pytest.mark.parametrize(
    ("model", "namespace", "lines"),
    [
        (DOCUMENTED_MODEL, "collaboration", DOCUMENTED),
        (UNKNOWN_MODEL, "multi_agent_v1", lines_to_paste()["Codex"].text),
    ],
    ids=["the page", "the README"],
)
def test_a_session_with_a_command_and_a_sub_agent_completes(
    model: str, namespace: str, lines: str, packages: Path, tmp_path: Path
) -> None:
    with setup(tmp_path, responds(session(namespace)), model) as proxy:
        events = execute(packages, proxy, documented(proxy, model, lines), MODELS_PROXY_KEY=KEY)

        assert messages(events) == [FINAL]
        assert {request.json["model"] for request in proxy.calls} == {f"{PREFIX}{model}"}
        # The tool for sub-agents has a parameter `model`.
        assert re.search(rb'"name":"spawn_agent".*?"model":\{', proxy.calls[0].body)
    # It has no metadata of unknown models, and works without.
    assert [problem for problem in problems(events) if "Model metadata" not in problem] == []


def test_the_documented_headers_of_a_session_are_forwarded(packages: Path, tmp_path: Path) -> None:
    (setting,) = re.findall(r"forward_headers: \[.+\]", (DOCS / "clients.md").read_text(encoding="utf-8"))
    with setup(tmp_path, responds(session("collaboration")), DOCUMENTED_MODEL, more=setting) as proxy:
        assert messages(execute(packages, proxy, documented(proxy, DOCUMENTED_MODEL), MODELS_PROXY_KEY=KEY)) == [FINAL]
        sessions = {request.headers["session-id"] for request in proxy.calls}
        threads = {request.headers["thread-id"] for request in proxy.calls}
        assert (len(sessions), len(threads)) == (1, 2)
        # It announces that the tools are in `input`.
        assert {request.headers["x-openai-internal-codex-responses-lite"] for request in proxy.calls} == {"true"}
        assert [request.headers.get("x-openai-subagent") for request in proxy.calls].count("collab_spawn") == 1


def searching(items: Sequence[Item]) -> Item:
    """Search the tools for sub-agents, then finish."""
    found = [item["tools"] for item in items if item["type"] == "tool_search_output"]
    if found:
        assert "spawn_agent" in json.dumps(found)
        return message(FINAL)
    search = {"execution": "client", "arguments": {"query": "spawn agent"}}
    return {"type": "tool_search_call", "id": "tsc_1", "call_id": "call_1", "status": "completed", **search}


def test_a_session_with_tools_that_a_search_found_completes(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, responds(searching), SEARCHING_MODEL) as proxy:
        events = execute(packages, proxy, documented(proxy, SEARCHING_MODEL), MODELS_PROXY_KEY=KEY)
        assert (messages(events), problems(events)) == ([FINAL], [])


def test_a_session_over_http_begins_immediately_if_the_client_prefers_a_websocket(
    packages: Path, tmp_path: Path
) -> None:
    with setup(tmp_path, responds(session("collaboration")), DOCUMENTED_MODEL) as proxy:
        config = f'model = "{DOCUMENTED_MODEL}"\nopenai_base_url = "{proxy.url}/v1"\n'
        events = execute(packages, proxy, config, CODEX_API_KEY=KEY)

        assert messages(events) == [FINAL]
        assert not any("Reconnecting" in problem for problem in problems(events))


def test_its_catalog_has_models_that_it_does_not_contain(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, responds(session("multi_agent_v1")), UNKNOWN_MODEL) as proxy:
        by_command = f'[model_providers.models-proxy.auth]\ncommand = "/bin/echo"\nargs = ["{KEY}"]'
        config = documented(proxy, UNKNOWN_MODEL).replace('env_key = "MODELS_PROXY_KEY"', by_command)
        events = execute(packages, proxy, config)

        assert (messages(events), problems(events)) == ([FINAL], [])
        assert codex.INSTRUCTIONS in proxy.calls[0].body.decode()


def test_a_wrong_key_is_reported_with_the_message_of_the_proxy(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, responds(session("collaboration")), DOCUMENTED_MODEL) as proxy:
        # By default it tries five times after every error but a 400.
        config = documented(proxy, DOCUMENTED_MODEL) + "stream_max_retries = 0\n"
        (problem,) = problems(execute(packages, proxy, config, MODELS_PROXY_KEY="sk-canary-unknown"))

        assert "401 Unauthorized: Incorrect API key provided" in problem
        assert proxy.calls == []


COMPRESSING = """
model = "{model}"
model_provider = "models-proxy"

[model_providers.models-proxy]
name = "OpenAI"
base_url = "{url}/v1"
requires_openai_auth = true
env_http_headers = {{ "api-key" = "MODELS_PROXY_KEY" }}
"""
"""With this name, and a login to ChatGPT, Codex compresses its requests."""


def login_to_chatgpt(home: Path) -> None:
    """Write made-up tokens, as after a login. Codex sends the access token in addition to its other headers."""
    claims = {"email": "a@example.com", "https://api.openai.com/auth": {"chatgpt_plan_type": "pro"}}
    parts = ({"alg": "none"}, claims, "signature")
    token = ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    tokens = {"id_token": token, "access_token": token, "refresh_token": "fake", "account_id": "fake"}
    login = {"auth_mode": "chatgpt", "tokens": tokens, "last_refresh": f"{datetime.now(UTC):%FT%TZ}"}
    (home / ".codex").mkdir()
    (home / ".codex" / "auth.json").write_text(json.dumps(login), encoding="utf-8")


def test_a_session_with_compressed_requests_and_a_second_credential_completes(packages: Path, tmp_path: Path) -> None:
    plain = responds(session("collaboration"))

    async def script(exchange: Exchange) -> None:
        await (replies({}, 400) if "content-encoding" in exchange.request.headers else plain)(exchange)

    with setup(tmp_path, script, DOCUMENTED_MODEL) as proxy:
        login_to_chatgpt(proxy.home)
        directly, through = (
            COMPRESSING.format(model=DOCUMENTED_MODEL, url=url) for url in (proxy.provider.url, proxy.url)
        )
        execute(packages, proxy, directly, MODELS_PROXY_KEY="sk-canary-direct")
        assert [request.headers["content-encoding"] for request in proxy.calls] == ["zstd"]

        assert messages(execute(packages, proxy, through, MODELS_PROXY_KEY=KEY)) == [FINAL]
