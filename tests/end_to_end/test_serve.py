"""The real process, real sockets and the real `openai` client, and fake providers of the source documents."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

from tests.processes import CONSOLE, Process, cpu_seconds, free_port, kibibytes, serving, until
from tests.providers.lists import AIHUBMIX, CTYUN, CTYUN_WRONG_KEY, lists, pages_of_versions, version
from tests.providers.scripted import FakeProviders, replies, requires_header

IDS = [
    "meta-llama/Llama-3.3-70B-Instruct",
    "accounts/fireworks/models/deepseek-v3",
    "openrouter/free:nitro",
    "anthropic.claude-v2:1",
    "@cf/meta/llama-3.1-8b-instruct",
    "claude-3@20240229",
    "two words",
    "通义千问/最大",
    "100%",
    "a%2Fb",
    "question?x=1&y=2#z",
    "plus+plus",
    "models/of-its-own",
    "ends-with/",
]
"""Ids with characters that are special in URLs."""

VERSIONS = {
    "m-1": [version(f"0a1b2c3d-0000-4000-8000-00000000000{n}", f"盘古 NLP {n}.0") for n in range(5)],
    "m-2": [version("0a1b2c3d-0000-4000-8000-0000000000ff", "Pangu CV")],
}
VERSION_IDS = [str(entry["id"]) for model in VERSIONS.values() for entry in model]

SECRETS = {
    "AIHUBMIX_API_KEY": "k1hxq-canary-7c1f0a9e52",
    "CTYUN_APP_KEY": "k2cyw-canary-b83d6e14f7",
    "WRONG_APP_KEY": "k3wzj-canary-19e5d2c6a0",
    "PANGU_TOKEN": "k4pvx-canary-e02b9471dc",
    "TEAM_HEADER": "k5tqz-canary-55aa0b3c8e",
    "ALICE_KEY": "k6azw-canary-4f6d8b20c1",
    "CI_KEY": "k7cxj-canary-9a3e7705bd",
    "OPS_KEY": "k8oqv-canary-d1c2b3a495",
    "HUB_KEY": "k9hub-canary-3b8e62f0d7",
}
ALICE, CI, OPS, HUB = (SECRETS[f"{name}_KEY"] for name in ("ALICE", "CI", "OPS", "HUB"))

CONFIG = """
server: {{drain_delay: 500ms}}
defaults: {{headers: {{X-Team: "${{TEAM_HEADER}}"}}}}
providers:
  - {{name: aihubmix, base_url: "{aihubmix}", api_key: "${{AIHUBMIX_API_KEY}}"}}
  - {{name: ctyun, base_url: "{ctyun}/v1/models", api_key: "${{CTYUN_APP_KEY}}", owner: ctyun}}
  - {{name: ctyun-wrong, base_url: "{ctyun}/v1", api_key: "${{WRONG_APP_KEY}}"}}
  - name: pangu
    kind: pangu
    base_url: "{pangu}"
    workspace_id: w-1
    model_ids: [m-1, m-2]
    api_key: "${{PANGU_TOKEN}}"
  - {{name: odd, base_url: "{odd}"}}
  - {{name: parrot, base_url: "{parrot}", api_key: "${{WRONG_APP_KEY}}"}}
groups:
  staff: {{models: ["*"]}}
keys:
  - {{name: alice, key: "${{ALICE_KEY}}", group: staff}}
  - {{name: ci, key: "${{CI_KEY}}", models: ["gpt-*", "owner:ctyun"]}}
  - {{name: ops, key: "${{OPS_KEY}}", group: staff, admin: true}}
  - {{name: hub, key: "${{HUB_KEY}}", models: ["provider:aihubmix"]}}
"""


@dataclass(frozen=True)
class Deployment:
    """A running proxy and its fake providers."""

    process: Process
    url: str
    responses: list[httpx.Response]
    """Every response to a plain HTTP request."""

    def get(self, path: str, **headers: str) -> httpx.Response:
        response = httpx.get(self.url + path, headers=headers, timeout=30, trust_env=False)
        self.responses.append(response)
        return response


@pytest.fixture(scope="module")
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture(scope="module")
def proxy(upstreams: FakeProviders, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The systems of the source documents, each with its key; and two that reject the proxy's key."""
    rejected = {"error_code": "APIG.0301", "error_msg": "Incorrect IAM authentication information", "solution_msg": ""}
    bearer = "Bearer {}".format
    echo = {"error": {"message": f"Incorrect API key provided: {SECRETS['WRONG_APP_KEY']} ({SECRETS['TEAM_HEADER']})"}}
    urls = {
        "aihubmix": requires_header(
            "authorization",
            bearer(SECRETS["AIHUBMIX_API_KEY"]),
            replies({"error": {"message": "?"}}, 401),
            replies(AIHUBMIX),
        ),
        "ctyun": requires_header(
            "authorization", bearer(SECRETS["CTYUN_APP_KEY"]), replies(CTYUN_WRONG_KEY, 401), replies(CTYUN)
        ),
        "pangu": requires_header(
            "x-auth-token", SECRETS["PANGU_TOKEN"], replies(rejected, 401), pages_of_versions("w-1", VERSIONS)
        ),
        # an engine that lists paths, so that `models/of-its-own` keeps its prefix
        "odd": lists(*({"id": own_id, "owned_by": "vllm"} for own_id in IDS)),
        "parrot": replies(echo, 401, {"X-Echo": SECRETS["WRONG_APP_KEY"]}),
    }
    text = CONFIG.format(**{name: upstreams.open(reply).url for name, reply in urls.items()})
    config = tmp_path_factory.mktemp("end-to-end") / "config.yaml"
    with serving(config, text, env=SECRETS) as process:
        yield Deployment(process, process.url, [])


@contextmanager
def client_of(base_url: str, api_key: str = ALICE, max_retries: int = 0) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key=api_key, max_retries=max_retries, timeout=30) as client:
        yield client


# -- an OpenAI client needs only a new base_url ------------------------------------------------------------------------

BASES = ["", "/", "/v1", "/v1/", "/v1/models", "/v1/models/"]


@pytest.mark.parametrize("base", [pytest.param(base, id=f"http://host{base}") for base in BASES])
def test_the_openai_client_lists_and_retrieves_every_model_under_each_base_url(proxy: Deployment, base: str) -> None:
    with client_of(proxy.url + base) as client:
        listed = client.models.list().data
        assert [model.id for model in listed] == sorted(["gpt-3.5-turbo-16k", "测试模型名称1", *VERSION_IDS, *IDS])
        assert [client.models.retrieve(model.id) for model in listed] == listed


@pytest.mark.anyio
@pytest.mark.parametrize("base", [pytest.param(base, id=f"http://host{base}") for base in BASES])
async def test_the_async_openai_client_lists_and_retrieves_every_model(proxy: Deployment, base: str) -> None:
    async with openai.AsyncOpenAI(base_url=proxy.url + base, api_key=ALICE, max_retries=0) as client:
        listed = (await client.models.list()).data
        assert len(listed) == 2 + len(VERSION_IDS) + len(IDS)
        assert [await client.models.retrieve(model.id) for model in listed] == listed


@pytest.mark.parametrize("model_id", IDS)
def test_ids_are_found_with_and_without_percent_encoding(proxy: Deployment, model_id: str) -> None:
    # A bare `%`, `?` or `#` has another meaning in a URL.
    plainly = quote(model_id, safe="/:@+")
    for spelling in (quote(model_id, safe=""), plainly):
        answer = proxy.get(f"/v1/models/{spelling}", Authorization=f"Bearer {ALICE}")
        assert (answer.status_code, answer.json()["id"]) == (200, model_id)


def test_the_list_is_one_page_that_can_be_iterated(proxy: Deployment) -> None:
    with client_of(f"{proxy.url}/v1") as client:
        page = client.models.list()
        assert (page.object, page.has_next_page()) == ("list", False)
        assert [model.id for model in page] == [model.id for model in page.data]


@pytest.mark.anyio
async def test_the_async_page_can_be_iterated_without_await(proxy: Deployment) -> None:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=CI, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["gpt-3.5-turbo-16k", "测试模型名称1"]


def test_raw_responses_have_the_freshness_headers(proxy: Deployment) -> None:
    with client_of(f"{proxy.url}/v1") as client:
        raw = client.models.with_raw_response.list()
        assert raw.headers["x-models-missing"] == "ctyun-wrong, parrot"
        assert "x-models-stale" not in raw.headers
        assert int(raw.headers["age"]) < 60
        assert raw.headers["cache-control"] == "private, no-cache"
        assert raw.request_id == raw.headers["x-request-id"]
        again = client.models.with_raw_response.list()
        assert again.headers["etag"] == raw.headers["etag"]
        with pytest.raises(openai.APIStatusError) as unchanged:
            client.models.list(extra_headers={"If-None-Match": raw.headers["etag"]})
        assert (unchanged.value.status_code, unchanged.value.response.content) == (304, b"")


def test_a_restricted_key_sees_only_the_number_of_missing_providers(proxy: Deployment) -> None:
    with client_of(f"{proxy.url}/v1", CI) as client:
        assert client.models.with_raw_response.list().headers["x-models-missing"] == "2"


# -- errors, as the client raises them ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("no-such-model", id="unknown"),
        pytest.param(VERSION_IDS[0], id="forbidden"),
        pytest.param("no/such model/测试", id="unknown, with special characters"),
    ],
)
def test_unknown_and_forbidden_models_raise_the_same_not_found_error(proxy: Deployment, model: str) -> None:
    with client_of(f"{proxy.url}/v1", HUB) as client, pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve(model)
    assert error.value.body == {
        "message": f"The model '{model}' does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize("model", ["no-such-model", VERSION_IDS[0]])
def test_a_model_that_may_be_in_a_missing_list_can_be_retried(proxy: Deployment, model: str) -> None:
    with client_of(f"{proxy.url}/v1", CI) as client, pytest.raises(openai.InternalServerError) as error:
        client.models.retrieve(model)
    assert (error.value.status_code, error.value.code) == (503, "model_list_incomplete")
    assert int(error.value.response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("base", [pytest.param(base, id=f"http://host{base}") for base in ("", "/v1", "/v1/models")])
def test_an_invalid_key_raises_an_authentication_error_with_a_request_id(proxy: Deployment, base: str) -> None:
    with client_of(proxy.url + base, "sk-canary-nobody") as client, pytest.raises(openai.AuthenticationError) as error:
        client.models.list()
    assert (error.value.status_code, error.value.code, error.value.type) == (
        401,
        "invalid_api_key",
        "invalid_request_error",
    )
    assert "Incorrect API key provided" in error.value.message
    assert "canary" not in error.value.message
    assert error.value.request_id
    assert error.value.request_id == error.value.response.headers["x-request-id"]


@pytest.mark.anyio
async def test_the_asynchronous_client_raises_the_same_errors(proxy: Deployment) -> None:
    async with openai.AsyncOpenAI(base_url=f"{proxy.url}/v1", api_key=HUB, max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.models.retrieve("no-such-model")
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
            await client.with_options(api_key="sk-canary-nobody").models.list()
        with pytest.raises(openai.APIStatusError) as error:
            await client.models.delete("gpt-3.5-turbo-16k")
        assert (error.value.status_code, error.value.code) == (405, "method_not_allowed")


def test_the_client_retries_a_503_after_retry_after(upstreams: FakeProviders, tmp_path: Path) -> None:
    upstream = upstreams.open(replies({"error": {"message": "starting"}}, 500))
    text = f"""
cache: {{ttl: 1s}}
providers:
  - {{name: slow-starter, base_url: "{upstream.url}", retries: 0}}
"""
    with serving(tmp_path / "config.yaml", text) as process:
        with client_of(process.url) as client, pytest.raises(openai.InternalServerError) as error:
            client.models.list()
        assert (error.value.status_code, error.value.code) == (503, "no_models_known")
        assert error.value.response.headers["retry-after"] == "1"
        upstream.script = lists("at-last")
        with client_of(process.url, max_retries=3) as client:
            raw = client.models.with_raw_response.list()
            assert ([model.id for model in raw.parse().data], raw.retries_taken) == (["at-last"], 1)


# -- the three systems of the source documents -------------------------------------------------------------------------


def test_an_aihubmix_entry_keeps_every_documented_field(proxy: Deployment) -> None:
    listed = proxy.get("/v1/models", Authorization=f"Bearer {ALICE}").json()["data"]
    entry = next(model for model in listed if model["id"] == "gpt-3.5-turbo-16k")
    documented: dict[str, Any] = AIHUBMIX["data"][0]
    permission = {
        **documented["permission"][0],
        # generated from the id: some providers generate one per request. `created` of the example is a placeholder.
        "id": entry["permission"][0]["id"],
        "created": entry["permission"][0]["created"],
    }
    assert entry == {
        **documented,
        "owned_by": "openai",
        "created": entry["created"],
        "permission": [permission],
    }


def test_a_ctyun_entry_gets_created_zero_and_the_configured_owner(proxy: Deployment) -> None:
    with client_of(f"{proxy.url}/v1") as client:
        model = client.models.retrieve("测试模型名称1")
    assert (model.id, model.object, model.created, model.owned_by) == ("测试模型名称1", "model", 0, "ctyun")


def test_the_call_pattern_of_the_ctyun_sample_works(proxy: Deployment) -> None:
    headers = {"Authorization": f"Bearer {ALICE}", "Content-Type": "application/json", "Accept": "*/*"}
    response = proxy.get("/v1/models", **headers)
    assert response.status_code == 200
    assert "测试模型名称1" in [model["id"] for model in response.json()["data"]]
    rejected = proxy.get("/v1/models", **{**headers, "Authorization": "Bearer 884c8fc4054548a7b1ca1123592f5b7"})
    assert rejected.status_code != 200
    assert {"code", "message", "type", "param"} == set(rejected.json()["error"])


def test_a_ctyun_authentication_error_is_shown_at_start_and_in_health(proxy: Deployment) -> None:
    reason = "authentication failed (401: AppKey不正确,请使用正确的AppKey): check the provider's api_key"
    assert proxy.process.line(proxy.process.out, "^  failing     ctyun-wrong  .*$")[0].startswith(
        f"  failing     ctyun-wrong  {reason}; URL: http://127.0.0.1:"
    )
    health = proxy.get("/health", Authorization=f"Bearer {OPS}").json()
    assert health["status"] == "degraded"
    assert next(p for p in health["providers"] if p["name"] == "ctyun-wrong")["state"] == "failing"
    assert reason in json.dumps(health, ensure_ascii=False)


def test_a_pangu_version_is_listed_with_name_and_parent_without_the_account(proxy: Deployment) -> None:
    with client_of(f"{proxy.url}/v1") as client:
        model = client.models.retrieve(VERSION_IDS[0]).to_dict()
    assert (model["display_name"], model["parent"], model["created"]) == ("盘古 NLP 0.0", "m-1", 1734652800)
    assert "create_user" not in model
    assert "obs://" not in json.dumps(model)


def test_the_pangu_contract_is_served_over_http_with_an_x_auth_token(proxy: Deployment) -> None:
    path = "/v1/workspaces/w-1/models/m-1/versions"
    headers = {"X-Auth-Token": ALICE}
    assert proxy.get(path, **headers).json() == {"total": 5, "versions": VERSIONS["m-1"]}
    assert proxy.get(f"{path}?offset=1&limit=2", **headers).json() == {"total": 5, "versions": VERSIONS["m-1"][1:3]}
    named = quote("nlp 3")
    assert proxy.get(f"{path}?name={named}", **headers).json() == {"total": 1, "versions": [VERSIONS["m-1"][3]]}
    assert proxy.get(f"{path}?version_id={VERSION_IDS[4]}", **headers).json() == {
        "total": 1,
        "versions": [VERSIONS["m-1"][4]],
    }


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        pytest.param("w-1/models/m-1/versions?limit=101", ALICE, 400, id="a limit above 100"),
        pytest.param("w-1/models/m-1/versions", "sk-canary-nobody", 401, id="a wrong token"),
        pytest.param("w-1/models/m-1/versions", CI, 403, id="a key without any Pangu provider"),
        pytest.param("w-1/models/m-9/versions", ALICE, 404, id="an unknown model"),
        pytest.param("w-9/models/m-1/versions", ALICE, 404, id="an unknown workspace"),
    ],
)
def test_errors_of_the_pangu_contract_have_its_three_fields(
    proxy: Deployment, path: str, token: str, status: int
) -> None:
    answer = proxy.get(f"/v1/workspaces/{path}", **{"X-Auth-Token": token})
    assert (answer.status_code, set(answer.json())) == (status, {"error_code", "error_msg", "solution_msg"})


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_secret_appears_in_logs_bodies_or_headers(proxy: Deployment) -> None:
    """Includes the responses of all previous tests; one provider quotes the proxy's key and header in its error."""
    for key in (ALICE, CI, OPS, SECRETS["AIHUBMIX_API_KEY"]):
        for path in ("/v1/models", "/v1/models/x", "/health", "/nowhere", "/v1/workspaces/w-1/models/m-1/versions"):
            proxy.get(path, Authorization=f"Bearer {key}")
            proxy.get(path, **{"x-api-key": key, "api-key": "sk-canary-another"})
        proxy.get(f"/v1/models?api_key={key}")
    assert_no_secret_leaked(SECRETS, proxy)
    assert "parrot" in "".join(proxy.process.out), "its error was logged"


def test_no_secret_is_logged_even_at_debug_level(upstreams: FakeProviders, tmp_path: Path) -> None:
    secret = SECRETS["WRONG_APP_KEY"]
    upstream = upstreams.open(replies({"error": f"what is {secret}?"}, 403))
    away = upstreams.open(replies(b"", 302, {"Location": f"http://me:{secret}@127.0.0.1:9/?key={secret}"}))
    config = tmp_path / "config.yaml"
    config.write_text(f"""
cache: {{ttl: 200ms}}
providers:
  - {{name: a, base_url: "{upstream.url}", api_key: "${{WRONG_APP_KEY}}", headers: {{X-Team: "${{TEAM_HEADER}}"}}}}
  - {{name: b, base_url: "http://127.0.0.1:9", proxy: "http://me:${{CTYUN_APP_KEY}}@127.0.0.1:9", retries: 0}}
  - {{name: c, base_url: "{away.url}", api_key: "${{WRONG_APP_KEY}}"}}
keys:
  - {{name: alice, key: "${{ALICE_KEY}}", models: ["*"]}}
""")
    at_debug = (
        "import atexit, logging; logging.basicConfig(level='DEBUG'); "
        "logging.getLogger().setLevel = lambda level: None; "
        "atexit.register(logging.getLogger('httpx2').debug, 'still at DEBUG'); from proxy.cli.main import main; main()"
    )
    with Process("-c", at_debug, "serve", "--config", str(config), "--port", "0", *CONSOLE, env=SECRETS) as process:
        proxy = Deployment(process, process.url, [])
        proxy.get(f"/v1/models?key={ALICE}", Authorization=f"Bearer {ALICE}")
        proxy.get("/v1/models", Authorization=f"Bearer {secret}")
        until(lambda: len(upstream.requests) >= 3)
        process.stop()
        assert process.err[-1] == "DEBUG:httpx2:still at DEBUG"
        assert upstream.requests[0].headers["authorization"] == f"Bearer {secret}"
        assert_no_secret_leaked(SECRETS, proxy)


def assert_no_secret_leaked(secrets: dict[str, str], proxy: Deployment) -> None:
    output = "\n".join([*proxy.process.out, *proxy.process.err])
    for answer in proxy.responses:
        output += f"\n{answer.headers!r}\n{dict(answer.headers)}\n{answer.text}"
    for secret in secrets.values():
        encoded = base64.b64encode(secret.encode()).decode().rstrip("=")
        for form in (secret, quote(secret), encoded, secret[:5], secret[-8:]):
            assert form not in output


# -- figures -----------------------------------------------------------------------------------------------------------


def test_startup_is_fast_and_20_providers_with_500_models_need_little_memory(
    upstreams: FakeProviders, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Prints the measurements. CPU time does not depend on other load; the limits are generous."""
    entries = [{**AIHUBMIX["data"][0], "id": f"model-{n}", "root": f"model-{n}"} for n in range(500)]
    providers = "".join(
        f'  - {{name: p{n}, base_url: "{upstreams.open(replies({"data": entries})).url}", prefix: "p{n}/"}}\n'
        for n in range(20)
    )
    port = free_port()
    with serving(tmp_path / "config.yaml", f"providers:\n{providers}", port=port) as process:
        until(lambda: _is_alive(port))
        listening = cpu_seconds(process.pid)
        assert process.url
        known = cpu_seconds(process.pid)
        answer = httpx.get(f"{process.url}/v1/models", trust_env=False, timeout=30)
        assert len(answer.json()["data"]) == 10_000
        resident = kibibytes(process.pid, "VmRSS") / 1024
    with capsys.disabled():
        print(
            f"\n  20 providers x 500 models: listening after {listening:.2f} s of CPU, "
            f"all known after {known:.2f} s of CPU, {resident:.0f} MiB resident"
        )
    assert listening < 3
    assert resident < 200


def _is_alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez", trust_env=False, timeout=30).status_code == 200
    except httpx.TransportError:
        return False
