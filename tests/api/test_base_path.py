"""`server.base_path`: all paths begin with it, and those outside are not served."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.main import main
from proxy.config import ConfigError
from tests import processes
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started
from tests.listening import serving
from tests.providers.calls import completion
from tests.providers.scripted import fake_provider, replies

pytestmark = pytest.mark.anyio

KEY = "sk-fake-of-a-client"
HEADERS = {"authorization": f"Bearer {KEY}"}
PROVIDERS = "providers: [{name: lab, kind: static, models: [m, a/b]}]"
TEXT = f"""
server: {{base_path: /llm}}
{PROVIDERS}
keys: [{{name: k, hash: "{digest(KEY)}", models: ["*"], admin: true}}]
"""
CONFIG = config_of(TEXT)


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/models", "/v1/models/m", "/v1/models/a%2Fb", "/v1//models", "/health", "/metrics", "/readyz"],
)
async def test_path_below_the_base_path_is_served(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(CONFIG, fetch, clock) as app:
        assert (await reply_to(app, f"/llm{path}", HEADERS)).status == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
async def test_probe_is_also_served_at_the_root(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(CONFIG, fetch, clock) as app:
        assert (await reply_to(app, path)).status == 200


@pytest.mark.parametrize("path", ["/v1/models", "/", "/llm2/v1/models", "/LLM/v1/models", "/metrics", "/admin/catalog"])
async def test_path_outside_the_base_path_is_not_found(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(CONFIG, fetch, clock) as app:
        reply = await reply_to(app, path, HEADERS)
        unauthenticated = await reply_to(app, path)
    assert (reply.status, reply.json["error"]["message"]) == (
        404,
        f"Unknown path {path}; all paths begin with /llm: check the client's base URL.",
    )
    assert unauthenticated.status == 401


@pytest.mark.parametrize("path", ["/llm", "/llm/", "/llm/v2"])
async def test_unknown_path_below_the_base_path_names_both(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(CONFIG, fetch, clock) as app:
        reply = await reply_to(app, path, HEADERS)
    shown = path if path != "/llm" else "/llm/"
    assert (reply.status, reply.json["error"]["message"]) == (
        404,
        f"Unknown path {shown}; the model list is at /llm/v1/models.",
    )


async def test_call_is_forwarded_without_the_base_path(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("lab", "m")
    async with fake_provider(replies(completion("m"))) as provider:
        lab = f"providers: [{{name: lab, base_url: '{provider.url}/v1'}}]"
        config = config_of(f"server: {{base_path: /llm/}}\n{lab}\ngroups: {{default: {{models: ['*'], call: true}}}}")
        async with serving(config, fetch, clock) as served:
            replies_ = [
                await served.call(path=f"/llm{path}")
                for path in ("/v1/chat/completions", "/openai/deployments/m/chat/completions")
            ]
        assert [reply.status_code for reply in replies_] == [200, 200]
        assert [request.path for request in provider.requests] == ["/v1/chat/completions"] * 2


@pytest.mark.parametrize("path", ["llm", "/a//b", "/a b", "/%6clm", "/..", "/a/./b"])
def test_base_path_is_plain_segments(path: str) -> None:
    with pytest.raises(ConfigError, match="must be a path like /llm"):
        config_of(f"server: {{base_path: '{path}'}}\n{PROVIDERS}")


@pytest.mark.parametrize(("given", "path"), [("/", "/"), ("/llm/", "/llm"), ("/a/b-c.d", "/a/b-c.d")])
def test_base_path_has_no_slash_at_the_end(given: str, path: str) -> None:
    assert config_of(f"server: {{base_path: '{given}'}}\n{PROVIDERS}").server.base_path == path


def test_printed_url_has_the_base_path_and_commands_accept_it(tmp_path: Path) -> None:
    with processes.serving(tmp_path / "config.yaml", TEXT) as process:
        environ = {"MODELS_PROXY_URL": process.url, "MODELS_PROXY_KEY": KEY}
        results = [CliRunner().invoke(main, [name], env=environ) for name in ("health", "models", "reload")]
        assert process.url.endswith("/llm")
        assert process.stop() == 0
    assert [result.exit_code for result in results] == [0, 0, 0], [result.output for result in results]
