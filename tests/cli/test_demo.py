"""`models-proxy demo`: every printed command is run by a real shell."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli.demo.command import KEYS, lines
from proxy.cli.demo.upstreams import application
from proxy.cli.main import main
from proxy.config import parse
from tests.paths import PAYLOADS, ROOT
from tests.processes import Process, models_proxy

UPSTREAM_KEY = "sk-canary-upstream"
OTHER_KEY = "sk-canary-other"

MERGED = "Merged: one model list from five providers, for any OpenAI client"
CALL = "Call: a streaming chat completion with the same `base_url` and API key"
WIRE = "The same call with curl: server-sent events"
TWICE = "Two providers have this model: it is listed once, with its real creation time"
OWNER = "Owner: the provider returns `system`, the list contains the vendor"
RULES = "Access rules: the same list for the key `team`"
HIDDEN = "A model that a key cannot access gets 404, like an unknown one"
BY_PROVIDER = "A key for `backup` only gets the entry of `backup`, with a context_length"
NO_KEY = "Requests without an API key get the models of the group `default`"
VERSIONS = "Versions: the Pangu API, with every field as returned by Pangu"
MISSING = "Missing: a header names failing providers; the list does not wait for them"
HEALTH = "Health: `/health` shows admins why a provider fails"
UNCHANGED = "304: an unchanged list is not sent again"


class Demo:
    """A demo that has printed everything: its keys, and its commands by title."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.line(process.out, "^Press Ctrl-C to stop.$")
        self.url = process.url
        self.keys = [match[1] for line in process.out if (match := re.match(r"  (\w+-[\w-]{8})  ", line))]
        out = process.out
        [self.slow_url] = [match[0] for line in out if (match := re.search(r"http://127\S+/slow/v1/models", line))]
        numbers = [number for number, line in enumerate(out) if line.startswith("# ")]
        self.lines = {out[n].removeprefix("# "): "\n".join(out[n + 1 : out.index("", n)]) for n in numbers}

    def run(self, shows: str) -> str:
        """The output of one command in a shell, which must not fail."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
        command = ["/bin/sh", "-ec", self.lines[shows]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
        assert done.stderr == ""
        return done.stdout

    def answer(self, shows: str) -> Any:
        return json.loads(self.run(shows))


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with models_proxy("demo", "--port", "0") as process:
        yield Demo(process)


def entry(model: str, created: int, owner: str, **extra: object) -> dict[str, object]:
    """A listed model without its permission."""
    fields = {"id": model, "object": "model", "created": created, "owned_by": owner, "root": model, "parent": None}
    return {**fields, **extra}


def without_permission(model: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name != "permission"}


# -- output ------------------------------------------------------------------------------------------------------------


def test_the_start_shows_the_providers_and_the_keys(demo: Demo) -> None:
    end = demo.process.out.index(f"# {MERGED}")
    ops, team, solo = demo.keys
    assert demo.process.out[0] == f"models-proxy {__version__}, demo: 6 providers"
    assert sorted(demo.process.out[1:6]) == [
        "  ok          aihubmix   2 models",
        "  ok          anthropic  3 models",
        "  ok          backup     2 models",
        "  ok          ctyun      1 model",
        "  ok          pangu      2 models",
    ]
    assert demo.process.out[6:end] == [
        f"  failing     slow       timed out: no data for 1 s; URL: {demo.slow_url}; retrying in 5 s",
        f"Listening on {demo.url}",
        "",
        "Three API keys, valid for this run:",
        f"  {ops}   access to all models, admin",
        f"  {team}  models of openai and anthropic, except gpt-3.5-*",
        f"  {solo}  models of the provider `backup` only",
        "",
        "Commands for another terminal (the Python ones need `pip install openai`).",
        "`models-proxy demo --config` prints the configuration.",
        "",
    ]


def test_every_printed_command_is_tested_here(demo: Demo) -> None:
    assert list(demo.lines) == [
        MERGED, CALL, WIRE, TWICE, OWNER, RULES, HIDDEN, BY_PROVIDER, NO_KEY, VERSIONS, MISSING, HEALTH, UNCHANGED,
    ]  # fmt: skip


def test_most_commands_fit_a_terminal_and_the_others_wrap_once() -> None:
    keys = {name: f"{name}-12345678" for name in KEYS}
    printed = list(lines("http://127.0.0.1:8000", keys, f'"{"0" * 32}"'))
    assert max(len(line.shows) + 2 for line in printed) <= 80
    rows = [row for line in printed for row in line.command.splitlines()]
    assert sum(len(row) <= 80 for row in rows) == 9
    assert max(map(len, rows)) <= 160


# -- commands ---------------------------------------------------------------------------------------------------------


def test_the_openai_client_lists_the_models_of_five_providers(demo: Demo) -> None:
    assert demo.run(MERGED).splitlines() == [
        "0f3c9a52-6f0e-4b7e-9a55-2d1f6a7b8c90 pangu",
        "5b1d7e2f-8a90-4c3d-b6e1-f20a9c8d7e6f pangu",
        "DeepSeek-R1 deepseek",
        "claude-3-5-haiku-20241022 anthropic",
        "claude-opus-4-1-20250805 anthropic",
        "claude-sonnet-4-20250514 anthropic",
        "gpt-3.5-turbo-16k openai",
        "gpt-4o-mini openai",
        "测试模型名称1 ctyun",
    ]


CANNED = "Hello from gpt-4o-mini, word by word: a canned response, no model was called."


def test_the_openai_client_prints_a_streamed_completion(demo: Demo) -> None:
    assert demo.run(CALL) == f"{CANNED}\n"


def test_the_response_to_curl_is_a_stream_of_events(demo: Demo) -> None:
    *events, done, end = demo.run(WIRE).split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (done, end) == ("data: [DONE]", "")
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "gpt-4o-mini")}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == CANNED


def test_requests_without_a_key_can_list_models_but_cannot_call_them(demo: Demo) -> None:
    answer = httpx.post(f"{demo.url}/v1/chat/completions", json={"model": "测试模型名称1"}, trust_env=False, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_anthropic_client_gets_a_message_with_and_without_streaming(demo: Demo) -> None:
    model = "claude-opus-4-1-20250805"
    text = CANNED.replace("gpt-4o-mini", model)
    call: Any = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    key, own = demo.keys[1], anthropic.DefaultHttpxClient(trust_env=False)
    with anthropic.Anthropic(base_url=demo.url, api_key=key, http_client=own) as client:
        whole = client.messages.create(**call)
        with client.messages.stream(**call) as stream:
            streamed = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert (whole.content[0].model_dump()["text"], streamed, last.stop_reason) == (text, text, "end_turn")
    assert (whole.usage.output_tokens, last.usage.output_tokens) == (13, 13)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "DeepSeek-R1", "claude-opus-4-1-20250805", "测试模型名称1"])
def test_every_callable_model_returns_a_complete_response(demo: Demo, model: str) -> None:
    answer = ask_model(demo, model)
    assert answer["choices"][0]["message"]["content"] == CANNED.replace("gpt-4o-mini", model)
    assert (answer["object"], answer["usage"]["total_tokens"]) == ("chat.completion", 21)


def test_a_call_of_a_list_only_model_is_an_error(demo: Demo) -> None:
    assert ask_model(demo, "5b1d7e2f-8a90-4c3d-b6e1-f20a9c8d7e6f")["error"]["code"] == "model_not_callable"


def ask_model(demo: Demo, model: str) -> Any:
    headers = {"api-key": demo.keys[0]}
    call = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{demo.url}/v1/chat/completions", json=call, headers=headers, trust_env=False, timeout=30).json()


def test_a_model_of_two_providers_has_the_entry_of_the_first_and_the_real_creation_time(demo: Demo) -> None:
    assert without_permission(demo.answer(TWICE)) == entry("gpt-4o-mini", 1721172741, "openai")


def test_the_owner_is_the_vendor(demo: Demo) -> None:
    listed = entry("DeepSeek-R1", 1737331200, "deepseek", context_length=65536)
    assert without_permission(demo.answer(OWNER)) == listed


def test_a_restricted_key_lists_the_models_that_its_rules_allow(demo: Demo) -> None:
    assert demo.run(RULES).splitlines() == [
        "claude-3-5-haiku-20241022 anthropic",
        "claude-opus-4-1-20250805 anthropic",
        "claude-sonnet-4-20250514 anthropic",
        "gpt-4o-mini openai",
    ]


def test_a_model_that_is_not_allowed_is_not_found(demo: Demo) -> None:
    assert demo.answer(HIDDEN)["error"]["code"] == "model_not_found"


def test_a_key_for_one_provider_gets_the_entry_of_that_provider(demo: Demo) -> None:
    listed = entry("gpt-4o-mini", 1721172741, "openai", context_length=128000)
    assert without_permission(demo.answer(BY_PROVIDER)) == listed


def test_requests_without_a_key_get_the_default_group(demo: Demo) -> None:
    listed = demo.answer(NO_KEY)
    assert [without_permission(model) for model in listed["data"]] == [entry("测试模型名称1", 0, "ctyun")]


def test_the_versions_equal_those_of_the_pangu_api(demo: Demo) -> None:
    assert demo.answer(VERSIONS) == {"total": 2, "versions": contents("pangu")["nlp"]}


def test_the_list_names_the_missing_provider_and_health_contains_the_reason(demo: Demo) -> None:
    assert demo.run(MISSING) == "x-models-missing: slow\n"
    health = demo.run(HEALTH)
    assert '"state":"failing","calls":"ok","account_rejected":false,"in_flight":0,"queued":0' in health
    assert '"open_circuits":[],"models":0' in health
    error = '"last_error":{"kind":"timeout","reason":"timed out: no data for 1 s"'
    assert health.endswith(f'{error},"url":"{demo.slow_url}"\n')


def test_an_unchanged_list_gets_304(demo: Demo) -> None:
    assert demo.run(UNCHANGED) == "HTTP/1.1 304 Not Modified\n"


# -- start and stop ----------------------------------------------------------------------------------------------------


def test_ctrl_c_stops_the_demo_without_output_even_while_a_provider_hangs() -> None:
    for _ in range(5):  # on a busy machine, the provider may have timed out before the signal
        with models_proxy("demo", "--port", "0") as process:
            process.line(process.out, "^  ok          aihubmix")
            process.send(signal.SIGINT)
            assert (process.wait(), process.err) == (0, [])
        if not any("slow" in line for line in process.out):
            return
    raise AssertionError("the provider was never pending")


def test_ctrl_c_after_the_start_stops_the_demo_and_keys_are_never_logged(demo: Demo) -> None:
    """The last test of the shared demo."""
    first = list(demo.keys)
    with models_proxy("demo", "--port", "0") as process:
        again = Demo(process)
        assert not set(first) & set(again.keys)
        assert (
            httpx.get(f"{again.url}/v1/models", headers={"api-key": first[0]}, trust_env=False, timeout=30).status_code
            == 401
        )
        assert (process.stop(), process.err) == (0, [])
    assert (demo.process.stop(), demo.process.err) == (0, [])


def test_another_port_is_used_if_the_default_port_is_in_use() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections do not count
        with suppress(OSError):  # in use by another process: the test works as well
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        with models_proxy("demo") as process:
            assert re.fullmatch(r"http://127\.0\.0\.1:(?!8000$)\d+", process.url)
            assert process.stop() == 0


def test_a_given_port_that_is_in_use_is_an_error_with_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, ["demo", "--port", str(taken.getsockname()[1])])
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(
        r"Error: cannot listen on 127\.0\.0\.1, port \d+: Address already in use; use --port to choose another port\n",
        result.stderr,
    )


def test_the_printed_configuration_is_the_served_one_and_contains_no_secret() -> None:
    result = CliRunner().invoke(main, ["demo", "--config"])
    assert (result.exit_code, result.stderr) == (0, "")
    given = {f"{name.upper()}_KEY": f"sk-canary-{name}" for name in ("upstream", *KEYS)}
    config = parse(result.stdout, environ={"UPSTREAM_PORT": "9", **given})
    assert [provider.name for provider in config.providers] == [
        "aihubmix", "ctyun", "anthropic", "pangu", "backup", "slow",
    ]  # fmt: skip
    assert ([key.name for key in config.keys], config.warnings) == (list(KEYS), ())


# -- the upstreams -----------------------------------------------------------------------------------------------------


def contents(name: str) -> Any:
    return json.loads(files("proxy.cli.demo").joinpath(f"{name}.json").read_bytes())


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / f"{name}.json").read_bytes())


def test_the_lists_are_the_examples_in_the_documentation_of_the_providers() -> None:
    assert contents("aihubmix") == {"data": payload("aihubmix_zh")["data"] + payload("aihubmix_ja")["data"]}
    assert contents("ctyun") == payload("ctyun")
    assert contents("ctyun_refusal") == payload("ctyun_error")


PANGU = "/pangu/v1/workspaces/demo/models"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        pytest.param("/aihubmix/v1/models", "openai_refusal", id="aihubmix"),
        pytest.param("/ctyun/v1/models", "ctyun_refusal", id="ctyun"),
        pytest.param("/anthropic/v1/models", "anthropic_refusal", id="anthropic"),
        pytest.param(f"{PANGU}/nlp/versions", "pangu_refusal", id="pangu"),
        pytest.param("/backup/v1/models", "openai_refusal", id="backup"),
    ],
)
@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-auth-token"])
async def test_an_upstream_rejects_another_credential_in_its_own_format(path: str, refusal: str, header: str) -> None:
    answer = await ask(path, {header: f"Bearer {OTHER_KEY}" if header == "authorization" else OTHER_KEY})
    assert (answer.status_code, answer.json()) == (401, contents(refusal))


@pytest.mark.anyio
async def test_the_anthropic_upstream_returns_pages() -> None:
    models = contents("anthropic")["data"]
    first = await ask("/anthropic/v1/models", {"x-api-key": UPSTREAM_KEY})
    last = await ask(f"/anthropic/v1/models?after_id={models[1]['id']}", {"x-api-key": UPSTREAM_KEY})
    ids = [model["id"] for model in models]
    assert first.json() == {"data": models[:2], "has_more": True, "first_id": ids[0], "last_id": ids[1]}
    assert last.json() == {"data": models[2:], "has_more": False, "first_id": ids[2], "last_id": ids[2]}


@pytest.mark.anyio
async def test_the_pangu_upstream_returns_the_total() -> None:
    token = {"x-auth-token": UPSTREAM_KEY}
    versions = contents("pangu")["nlp"]
    assert (await ask(f"{PANGU}/nlp/versions?offset=1", token)).json() == {"total": 2, "versions": versions[1:]}
    assert (await ask(f"{PANGU}/none/versions", token)).json() == {"total": 0, "versions": []}


async def ask(path: str, headers: Mapping[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(application(UPSTREAM_KEY))
    async with httpx.AsyncClient(transport=transport, base_url="http://upstream", headers=headers) as client:
        return await client.get(path)


# -- picture -----------------------------------------------------------------------------------------------------------


def test_the_recorded_picture_equals_the_current_output(tmp_path: Path) -> None:
    """If this fails, record it with `python scripts/record_demo.py`."""
    subprocess.run([sys.executable, "scripts/record_demo.py", str(tmp_path / "demo.svg")], cwd=ROOT, check=True)  # noqa: S603
    assert words_of(ROOT / "docs" / "demo.svg") == words_of(tmp_path / "demo.svg")


def words_of(picture: Path) -> list[str]:
    """All texts in it, except the version."""
    words = re.findall(r"<text [^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return [word for word in words if not word.startswith("models-proxy&#160;")]
