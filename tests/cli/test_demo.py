"""`models-proxy demo`, as somebody meets it at a terminal: every printed line is run by a real shell."""

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

MERGED = "Merged: one list from five providers, for any OpenAI client"
CALL = "Call: a streamed answer through the same `base_url`, with the same key"
WIRE = "The same call without a client, as it comes over the wire"
TWICE = "Two providers have this model: it is listed once, with the only true date"
OWNER = "Owner: the provider says `system`, the list says who made it"
RULES = "Key rules: the same list for the key `team`"
HIDDEN = "What a key may not see does not exist for it"
BY_PROVIDER = "A key for `backup` alone gets the entry of `backup`: it has a context_length"
NO_KEY = "Who brings no key sees the group `default`"
VERSIONS = "Versions: the Pangu contract, every field as Pangu sent it"
MISSING = "Missing: the list says who has not answered, and does not wait for them"
WHY = "Why: `/health` tells an admin"
UNCHANGED = "304: who has the list already gets no second one"


class Demo:
    """A demo that has said everything: its keys, and its lines by what they show."""

    def __init__(self, process: Process) -> None:
        self.process = process
        process.line(process.out, "^Ctrl-C ends the demo.$")
        self.url = process.url
        self.keys = [match[1] for line in process.out if (match := re.match(r"  (\w+-[\w-]{8})  ", line))]
        out = process.out
        numbers = [number for number, line in enumerate(out) if line.startswith("# ")]
        self.lines = {out[n].removeprefix("# "): "\n".join(out[n + 1 : out.index("", n)]) for n in numbers}

    def run(self, shows: str) -> str:
        """What a shell makes of one line; pasted, it must not fail."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        env = {**os.environ, "PATH": path, "PYTHONUTF8": "1"}
        command = ["/bin/sh", "-ec", self.lines[shows]]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=15, check=True)  # noqa: S603
        assert done.stderr == ""
        return done.stdout

    def answer(self, shows: str) -> Any:
        return json.loads(self.run(shows))


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with models_proxy("demo", "--port", "0") as process:
        yield Demo(process)


def entry(model: str, created: int, owner: str, **extra: object) -> dict[str, object]:
    """A listed model, less its permission."""
    fields = {"id": model, "object": "model", "created": created, "owned_by": owner, "root": model, "parent": None}
    return {**fields, **extra}


def without_permission(model: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name != "permission"}


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_at_start_it_says_who_answered_and_which_keys_there_are(demo: Demo) -> None:
    end = demo.process.out.index(f"# {MERGED}")
    ops, team, solo = demo.keys
    assert demo.process.out[0] == f"models-proxy {__version__}, demo: 6 providers"
    assert sorted(demo.process.out[1:6]) == [
        "  ok        aihubmix   2 models",
        "  ok        anthropic  3 models",
        "  ok        backup     2 models",
        "  ok        ctyun      1 model",
        "  ok        pangu      2 models",
    ]
    assert demo.process.out[6:end] == [
        "  failing   slow       sent nothing for 1 s; asked again in 5 s",
        f"Listening on {demo.url}",
        "",
        "Three keys, made for this run:",
        f"  {ops}   may see everything, and is an admin",
        f"  {team}  models of openai and anthropic, less gpt-3.5-*",
        f"  {solo}  only what the provider `backup` has",
        "",
        "Paste these into another terminal; Python needs `pip install openai`.",
        "`models-proxy demo --config` shows the file behind it.",
        "",
    ]


def test_every_line_that_is_printed_is_tried_here(demo: Demo) -> None:
    assert list(demo.lines) == [
        MERGED, CALL, WIRE, TWICE, OWNER, RULES, HIDDEN, BY_PROVIDER, NO_KEY, VERSIONS, MISSING, WHY, UNCHANGED,
    ]  # fmt: skip


def test_most_lines_fit_a_terminal_and_the_others_wrap_once() -> None:
    keys = {name: f"{name}-12345678" for name in KEYS}
    printed = list(lines("http://127.0.0.1:8000", keys, f'"{"0" * 32}"'))
    assert max(len(line.shows) + 2 for line in printed) <= 80
    rows = [row for line in printed for row in line.command.splitlines()]
    assert sum(len(row) <= 80 for row in rows) == 9
    assert max(map(len, rows)) <= 160


# -- what the lines show -----------------------------------------------------------------------------------------------


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


CANNED = "Hello from gpt-4o-mini, word by word: nobody was asked, this answer is canned."


def test_the_openai_client_prints_a_streamed_answer(demo: Demo) -> None:
    assert demo.run(CALL) == f"{CANNED}\n"


def test_over_the_wire_an_answer_is_a_stream_of_events(demo: Demo) -> None:
    *events, done, end = demo.run(WIRE).split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (done, end) == ("data: [DONE]", "")
    assert {(chunk["object"], chunk["model"]) for chunk in chunks} == {("chat.completion.chunk", "gpt-4o-mini")}
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == CANNED


def test_who_brings_no_key_may_list_but_not_call(demo: Demo) -> None:
    answer = httpx.post(f"{demo.url}/v1/chat/completions", json={"model": "测试模型名称1"}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


def test_the_anthropic_client_gets_a_message_streamed_and_whole(demo: Demo) -> None:
    model = "claude-opus-4-1-20250805"
    said = CANNED.replace("gpt-4o-mini", model)
    asked: Any = {"model": model, "max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    key, own = demo.keys[1], anthropic.DefaultHttpxClient(trust_env=False)
    with anthropic.Anthropic(base_url=demo.url, api_key=key, http_client=own) as client:
        whole = client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            streamed = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert (whole.content[0].model_dump()["text"], streamed, last.stop_reason) == (said, said, "end_turn")
    assert (whole.usage.output_tokens, last.usage.output_tokens) == (13, 13)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "DeepSeek-R1", "claude-opus-4-1-20250805", "测试模型名称1"])
def test_every_model_of_a_provider_that_can_be_called_answers_whole(demo: Demo, model: str) -> None:
    answer = ask_model(demo, model)
    assert answer["choices"][0]["message"]["content"] == CANNED.replace("gpt-4o-mini", model)
    assert (answer["object"], answer["usage"]["total_tokens"]) == ("chat.completion", 21)


def test_what_is_listed_only_says_so_when_it_is_called(demo: Demo) -> None:
    assert ask_model(demo, "5b1d7e2f-8a90-4c3d-b6e1-f20a9c8d7e6f")["error"]["code"] == "model_not_callable"


def ask_model(demo: Demo, model: str) -> Any:
    headers = {"api-key": demo.keys[0]}
    call = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{demo.url}/v1/chat/completions", json=call, headers=headers, trust_env=False).json()


def test_a_model_of_two_providers_has_the_first_ones_entry_and_the_true_date(demo: Demo) -> None:
    assert without_permission(demo.answer(TWICE)) == entry("gpt-4o-mini", 1721172741, "openai")


def test_the_owner_is_who_made_it(demo: Demo) -> None:
    listed = entry("DeepSeek-R1", 1737331200, "deepseek", context_length=65536)
    assert without_permission(demo.answer(OWNER)) == listed


def test_a_limited_key_lists_what_its_rules_allow(demo: Demo) -> None:
    assert demo.run(RULES).splitlines() == [
        "claude-3-5-haiku-20241022 anthropic",
        "claude-opus-4-1-20250805 anthropic",
        "claude-sonnet-4-20250514 anthropic",
        "gpt-4o-mini openai",
    ]


def test_a_hidden_model_does_not_exist(demo: Demo) -> None:
    assert demo.answer(HIDDEN)["error"]["code"] == "model_not_found"


def test_a_key_for_one_provider_gets_that_providers_entry(demo: Demo) -> None:
    listed = entry("gpt-4o-mini", 1721172741, "openai", context_length=128000)
    assert without_permission(demo.answer(BY_PROVIDER)) == listed


def test_without_a_key_there_is_the_default_group(demo: Demo) -> None:
    listed = demo.answer(NO_KEY)
    assert [without_permission(model) for model in listed["data"]] == [entry("测试模型名称1", 0, "ctyun")]


def test_the_versions_are_those_of_the_pangu_contract(demo: Demo) -> None:
    assert demo.answer(VERSIONS) == {"total": 2, "versions": contents("pangu")["nlp"]}


def test_the_list_names_who_is_missing_and_health_says_why(demo: Demo) -> None:
    assert demo.run(MISSING) == "x-models-missing: slow\n"
    why = demo.run(WHY)
    assert '"state":"failing","models":0' in why
    assert why.endswith('"last_error":{"class":"timeout","reason":"sent nothing for 1 s"\n')


def test_who_has_the_list_already_gets_a_304(demo: Demo) -> None:
    assert demo.run(UNCHANGED) == "HTTP/1.1 304 Not Modified\n"


# -- beginning and ending ----------------------------------------------------------------------------------------------


def test_ctrl_c_ends_it_without_a_word_even_while_somebody_hangs() -> None:
    with models_proxy("demo", "--port", "0") as process:
        process.line(process.out, "^  ok        aihubmix")
        took = process.seconds_to_end_by(signal.SIGINT)
        assert (process.wait(), process.err) == (0, [])
        assert not any("slow" in line for line in process.out), "it still hung"
    assert took < 3


def test_ctrl_c_after_everything_was_said_ends_it_too_and_keys_are_never_logged(demo: Demo) -> None:
    """The last test of the demo that the others share."""
    first = list(demo.keys)
    with models_proxy("demo", "--port", "0") as process:
        again = Demo(process)
        assert not set(first) & set(again.keys)
        assert httpx.get(f"{again.url}/v1/models", headers={"api-key": first[0]}, trust_env=False).status_code == 401
        assert (process.stop(), process.err) == (0, [])
    assert (demo.process.stop(), demo.process.err) == (0, [])


def test_where_the_usual_port_is_taken_it_finds_another() -> None:
    with socket.socket() as taken:
        with suppress(OSError):  # somebody else has it: as good
            taken.bind(("127.0.0.1", 8000))
            taken.listen()
        with models_proxy("demo") as process:
            assert re.fullmatch(r"http://127\.0\.0\.1:(?!8000$)\d+", process.url)
            assert process.stop() == 0


def test_a_port_that_was_named_and_is_taken_is_an_error_with_its_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, ["demo", "--port", str(taken.getsockname()[1])])
    assert (result.exit_code, result.stdout) == (1, "")
    assert re.fullmatch(r"Error: cannot listen on 127\.0\.0\.1: .*in use.*; --port names another one\n", result.stderr)


def test_the_config_that_is_shown_is_the_one_that_is_served_and_holds_no_secret() -> None:
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


def test_the_answers_are_the_examples_of_the_providers_documents() -> None:
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
async def test_an_upstream_refuses_another_credential_in_its_own_words(path: str, refusal: str, header: str) -> None:
    answer = await ask(path, {header: f"Bearer {OTHER_KEY}" if header == "authorization" else OTHER_KEY})
    assert (answer.status_code, answer.json()) == (401, contents(refusal))


@pytest.mark.anyio
async def test_the_anthropic_upstream_has_pages() -> None:
    models = contents("anthropic")["data"]
    first = await ask("/anthropic/v1/models", {"x-api-key": UPSTREAM_KEY})
    last = await ask(f"/anthropic/v1/models?after_id={models[1]['id']}", {"x-api-key": UPSTREAM_KEY})
    ids = [model["id"] for model in models]
    assert first.json() == {"data": models[:2], "has_more": True, "first_id": ids[0], "last_id": ids[1]}
    assert last.json() == {"data": models[2:], "has_more": False, "first_id": ids[2], "last_id": ids[2]}


@pytest.mark.anyio
async def test_the_pangu_upstream_counts_what_it_has() -> None:
    token = {"x-auth-token": UPSTREAM_KEY}
    versions = contents("pangu")["nlp"]
    assert (await ask(f"{PANGU}/nlp/versions?offset=1", token)).json() == {"total": 2, "versions": versions[1:]}
    assert (await ask(f"{PANGU}/none/versions", token)).json() == {"total": 0, "versions": []}


async def ask(path: str, headers: Mapping[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(application(UPSTREAM_KEY))
    async with httpx.AsyncClient(transport=transport, base_url="http://upstream", headers=headers) as client:
        return await client.get(path)


# -- the picture -------------------------------------------------------------------------------------------------------


def test_the_recorded_picture_shows_what_the_demo_says_today(tmp_path: Path) -> None:
    """Where this fails, `python scripts/record_demo.py` makes it anew."""
    subprocess.run([sys.executable, "scripts/record_demo.py", str(tmp_path / "demo.svg")], cwd=ROOT, check=True)  # noqa: S603
    assert words_of(ROOT / "docs" / "demo.svg") == words_of(tmp_path / "demo.svg")


def words_of(picture: Path) -> list[str]:
    """All that is written in it, less the version."""
    words = re.findall(r"<text [^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return [word for word in words if not word.startswith("models-proxy&#160;")]
