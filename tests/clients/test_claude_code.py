"""Claude Code with the documented variables, in sessions without a terminal."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests import npm
from tests.clients.running import KEY, PREFIX, UPSTREAM_KEY, Setup, setup
from tests.docs.pages import DOCS, blocks, lines_to_paste
from tests.providers.calls import streams
from tests.providers.scripted import Exchange, replies

(DOCUMENTED,) = [block for block in blocks(DOCS / "clients.md", "sh") if "ANTHROPIC_BASE_URL" in block]
MODEL = "claude-opus-5"
OWN = f"{PREFIX}{MODEL}"
QUIET = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"}


def execute(
    packages: Path, proxy: Setup, prompt: str, lines: str = DOCUMENTED, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `claude -p` with the documented variables and options."""
    adapted = lines.replace("http://127.0.0.1:8000", proxy.url).replace("mp-...", KEY)
    documented = dict(re.findall(r"(?m)^export (\w+)=(\S+)", adapted))
    command, *model = shlex.split(adapted.splitlines()[-1])
    assert command == "claude"
    named = {} if model else {"ANTHROPIC_MODEL": MODEL}
    assert documented == {"ANTHROPIC_BASE_URL": proxy.url, "ANTHROPIC_AUTH_TOKEN": KEY, **named}
    assert f"`{'='.join(*QUIET.items())}`" in (DOCS / "clients.md").read_text(encoding="utf-8")
    # The program is in a package of its own for each platform; this launcher finds it without an install script.
    program = packages / "node_modules" / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    options = (*model, "-p", prompt, "--output-format", "stream-json", "--verbose", "--allowedTools", "Bash")
    return proxy.run(str(npm.NODE), str(program), *options, **{**documented, **QUIET, **variables})


def result(finished: subprocess.CompletedProcess[str]) -> Mapping[str, Any]:
    """The last event."""
    last: Mapping[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    assert last["type"] == "result"
    return last


def event(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode({"type": name, **fields}) + b"\n\n"


def answer(block: Mapping[str, Any], delta: Mapping[str, Any], stop_reason: str) -> Sequence[bytes]:
    """The events of a message with one block."""
    message: Mapping[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": OWN,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    return (
        event("message_start", message=message),
        event("content_block_start", index=0, content_block=block),
        event("content_block_delta", index=0, delta=delta),
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": stop_reason, "stop_sequence": None}, usage={"output_tokens": 5}),
        event("message_stop"),
    )


COMMAND = answer(
    {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"command": "echo from-the-shell", "description": "Prints"}'},
    "tool_use",
)


async def session(exchange: Exchange) -> None:
    """Run a command, then answer with what it printed."""
    blocks = [block for message in exchange.request.json["messages"] for block in message["content"]]
    printed = [block["content"] for block in blocks if isinstance(block, dict) and block["type"] == "tool_result"]
    final = answer({"type": "text", "text": ""}, {"type": "text_delta", "text": "".join(printed)}, "end_turn")
    await streams(*(final if printed else COMMAND))(exchange)


def test_a_session_with_a_command_completes_and_connects_to_the_proxy_only(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, session, MODEL, kind="anthropic") as proxy:
        finished = result(execute(packages, proxy, "Print it.", lines_to_paste()["Claude Code"].text))
        assert (finished["subtype"], finished["is_error"], finished["result"]) == ("success", False, "from-the-shell")
        assert list(finished["modelUsage"]) == [MODEL]
        assert [request.path for request in proxy.calls] == ["/v1/messages"] * 2
        assert [request.json["model"] for request in proxy.calls] == [OWN] * 2
        assert [request.headers["x-api-key"] for request in proxy.calls] == [UPSTREAM_KEY] * 2
        assert all("claude-code-" in request.headers["anthropic-beta"] for request in proxy.calls)
        assert proxy.egress.requests == []


def test_a_session_with_a_second_key_of_another_service_completes(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, session, MODEL, kind="anthropic") as proxy:
        # It sends this key as `x-api-key`, in addition to the documented `Authorization`.
        finished = result(execute(packages, proxy, "Print it.", ANTHROPIC_API_KEY="sk-canary-of-another-service"))
        assert (finished["is_error"], finished["result"]) == (False, "from-the-shell")
        assert [request.headers["x-api-key"] for request in proxy.calls] == [UPSTREAM_KEY] * 2


def test_it_discovers_the_models_of_the_list(packages: Path, tmp_path: Path) -> None:
    (documented,) = re.findall(
        r"`(CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY)=1`", (DOCS / "clients.md").read_text("utf-8")
    )
    with setup(tmp_path, session, MODEL, "claude-haiku-5", "gpt-6", kind="anthropic") as proxy:
        assert not result(execute(packages, proxy, "Print it.", **{documented: "1"}))["is_error"]
        found = json.loads((proxy.home / ".claude" / "cache" / "gateway-models.json").read_text(encoding="utf-8"))

    # It shows only ids with `claude` or `anthropic`.
    assert [model["id"] for model in found["models"]] == ["claude-haiku-5", MODEL]


def test_the_tokens_of_a_context_are_counted(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, replies({"input_tokens": 1_200}), MODEL, kind="anthropic") as proxy:
        finished = result(execute(packages, proxy, "/context"))
        assert not finished["is_error"]
        assert {request.path for request in proxy.calls} == {"/v1/messages/count_tokens"}
        assert "1.2k" in finished["result"]


def test_a_wrong_key_is_reported_without_retries(packages: Path, tmp_path: Path) -> None:
    with setup(tmp_path, session, MODEL, kind="anthropic") as proxy:
        finished = result(execute(packages, proxy, "Print it.", ANTHROPIC_AUTH_TOKEN="sk-canary-unknown"))
        assert finished["is_error"]
        assert "401 Incorrect API key provided" in finished["result"]
        assert proxy.calls == []
        assert len([line for line in proxy.log if "error=invalid_api_key method=POST route=/v1/messages " in line]) == 1
