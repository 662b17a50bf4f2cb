"""After a login the browser is sent to the page that was requested, and never to another site."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from proxy.api.status.return_path import return_path
from tests.api.status.html import parsed
from tests.fakes import FakeClock, FakeFetch, config_of, digest, started
from tests.server.status_browser import ADMIN, Browser

pytestmark = pytest.mark.anyio

CONFIG = f"""
server: {{base_path: /llm}}
providers: [{{name: a, base_url: 'http://127.0.0.1:9/v1'}}]
keys: [{{name: root, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}]
"""


@pytest.mark.parametrize(
    ("requested", "returned"),
    [
        ("/status/models?q=gpt&as_key=a%26b", "/status/models?q=gpt&as_key=a%26b"),
        ("/status/models/gpt-5?as_key=plain", "/status/models/gpt-5?as_key=plain"),
        ("/status/models/openai%2Fgpt-5", "/status/models/openai%2Fgpt-5"),
        ("/status/models/openai/gpt-5", "/status/models/openai%2Fgpt-5"),
        ("/status/models/%E6%97%A5", "/status/models/%E6%97%A5"),
        ("/status/changes?day=today", "/status/changes?day=today"),
    ],
)
async def test_a_login_returns_to_the_requested_page(
    requested: str, returned: str, fetch: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        browser = Browser(app)
        location = (await browser.get(f"/llm{requested}")).header("location") or ""
        form = parsed((await browser.get(location)).body).one("form")
        hidden = {each.attributes["name"]: each.attributes["value"] for each in form.all("input", type="hidden")}
        wrong = parsed((await browser.post("/llm/status/login", {**hidden, "key": "sk-fake-wrong"})).body)
        reply = await browser.post("/llm/status/login", {**hidden, "key": ADMIN})

    assert parse_qs(urlsplit(location).query) == {"next": [returned]}
    assert wrong.one("input", name="next").attributes["value"] == returned
    assert (reply.status, reply.header("location")) == (303, f"/llm{returned}")


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/status",
        "//evil.example/status",
        "/\\evil.example",
        "/status//evil.example",
        "/status@evil.example",
        "/status.evil.example",
        "/status/../admin/reload",
        "/status/models/..",
        "/status/models/%2e%2e",
        "/status/models/a/../../../v1/models",
        "/status/models\\..",
        "/status\r\nset-cookie: a=b",
        "/status/models?q=a#b",
        "/status/models?q=\u65e5",
        "/status/login",
        "/status/logout",
        "/status/oidc",
        "/status.json",
        "/v1/models",
        "javascript:alert(1)",
        "status/models",
        "/status/models\n",
        "/status/models?q=" + "x" * 1000,
        "",
    ],
)
async def test_other_targets_lead_to_the_overview(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    assert return_path({"next": path}) == "/status"
    async with started(config_of(CONFIG), fetch, clock) as app:
        browser = Browser(app)
        form = (await browser.get(f"/llm/status/login?{urlencode({'next': path})}")).body
        reply = await browser.post("/llm/status/login", {"key": ADMIN, "next": path})

    assert parsed(form).one("form").all("input", name="next") == []
    assert reply.header("location") == "/llm/status"


@pytest.mark.parametrize("path", ["/status", f"/status/models/{quote('..', safe='')}", "/status/unknown"])
async def test_the_form_has_no_target_without_a_page(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), fetch, clock) as app:
        reply = await Browser(app).get(f"/llm{path}")
        many = await Browser(app).get("/llm/status/login?" + "&".join(f"a{number}=b" for number in range(20)))

    assert (reply.header("location"), many.status) == ("/llm/status/login", 200)
