"""`/status`: what an operator sees first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from proxy.server.app import Proxy
from proxy.states import Calls, OpenCircuit
from tests.api.status.html import Element, faults, parsed
from tests.api.status.scenes import ADMINS, CONFIG, call, failing, overview_of, page_of
from tests.fakes import FakeClock, FakeFetch, Reply, config_of, reply_to, started

pytestmark = pytest.mark.anyio


async def test_providers_have_both_states_and_their_last_hour(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        page = await overview_of(app)

    b, a = page.one("section", id="providers").one("table").rows()  # what fails is first
    assert a[0] == "a openai"
    assert a[1].startswith("ok 2 models, ")
    assert a[2] == "ok 0 of 4"
    assert a[3].endswith("2 calls, 0 errors; at most 2 in a minute. 2 calls")
    assert a[5] == "Fetch now the list of a"
    assert b[1].startswith("stale 2 models, 2 min old 503 Service Unavailable next fetch in ")
    assert b[3].endswith("1 call, 1 error")


async def test_figures_of_callers_and_of_the_hour(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        call(app, key="", first_byte=None, outcome="client_disconnected")
        page = await overview_of(app)

    assert page.one("figcaption").text == "4 calls, 1 error (25 %); 0 in the last full minute, at most 4"
    rows = page.one("section", id="callers").one("table").rows()
    assert [row[:5] for row in rows] == [["plain", "3", "2", "12", "30"], ["without a key", "1", "0", "12", "30"]]
    (link,) = page.one("section", id="callers").all("a")
    assert link.attributes["href"] == "/status/models?as_key=plain"


async def test_a_calm_proxy_says_so(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of("providers: [{name: a, base_url: 'http://127.0.0.1:9/v1'}]"), fetch, clock) as app:
        reply = await reply_to(app, "/status", {"host": "localhost", "accept": "text/html"})
    page = parsed(reply.body)

    assert page.one("h1").text == "Status ok"
    assert page.one("section", id="attention").one("p").text == "All lists are current, and all providers accept calls."
    assert faults(page) == []


async def test_links_and_forms_are_below_the_base_path(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", "m")
    async with started(config_of(f"server: {{base_path: /llm}}\n{CONFIG}"), fetch, clock) as app:
        pages = [
            parsed((await page_of(app, path)).body)
            for path in ("/llm/status", "/llm/status/models", "/llm/status/models/m")
        ]
        reply = await submit(app, pages[0], "/llm/status/reload")

    elements = [each for page in pages for each in page.all()]
    addresses = {each.attributes.get(name, "#") for each in elements for name in ("href", "src", "action")}
    assert {each for each in addresses if not each.startswith(("#", "/llm/status"))} == set()
    assert reply.header("location") == "/llm/status?reloaded=disabled"


async def test_problems_of_the_configuration_are_shown(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        app.reloads.problems, app.reloads.last_failure = ["config.yaml:3: unknown setting <b>"], clock.time()
        app.reloads.restart_needed = ["server.port"]
        page = await overview_of(app)

    assert page.one("section", id="attention").all("h3")[0].text == "Configuration not applied"
    configuration = page.one("section", id="configuration")
    assert configuration.one("ul", class_="problems").text == "config.yaml:3: unknown setting <b>"
    assert "A restart is needed for server.port ." in configuration.text.replace("server.port.", "server.port .")
    assert faults(page) == []


async def test_pages_have_no_inline_code_and_work_with_a_keyboard_and_a_screen_reader(
    fetch: FakeFetch, clock: FakeClock
) -> None:
    async with failing(fetch, clock) as app:
        app.deployment.health._calls = lambda provider: Calls("degraded", 1, 2, [OpenCircuit("m", "", "half_open")])
        paths = ("/status", "/status/models", "/status/models/m?as_key=plain", "/status/models/unknown",
                 "/status/changes?day=today", "/status/models?as_key=unknown")  # fmt: skip
        replies = {path: await reply_to(app, path, {**ADMINS, "accept": "text/html"}) for path in paths}

    assert {path: faults(parsed(reply.body)) for path, reply in replies.items()} == {path: [] for path in paths}
    assert {reply.status for reply in replies.values()} == {200, 404}
    for reply in replies.values():
        assert reply.header("cache-control") == "no-store"
        assert reply.header("content-security-policy") == (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )


# -- forms -------------------------------------------------------------------------------------------------------------


async def submit(app: Proxy, page: Element, action: str, **more: str) -> Reply:
    """Send the first form with this action, as a browser does."""
    form = page.all("form", action=action)[0]
    fields = {each.attributes["name"]: each.attributes["value"] for each in form.all("input", type="hidden")}
    body = urlencode({**fields, **more}).encode()
    headers = {**ADMINS, "content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
    return await reply_to(app, action, headers, method="POST", body=body)


async def test_fetch_now_fetches_the_list_and_says_what_came(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        page = await overview_of(app)
        fetch.lists("b", "m", "n", "o")
        before = fetch.requests["b"]
        reply = await submit(app, page, "/status/refresh", provider="b")
        location = reply.header("location")
        assert location is not None
        after = await overview_of(app, location.removeprefix("/status"))

    assert (reply.status, parse_qs(location.partition("?")[2])) == (303, {"fetched": ["b"]})
    assert fetch.requests["b"] == before + 1
    notice = after.one("p", class_="notice")
    assert (notice.text, notice.attributes["class"]) == ("List of b fetched: ok, 3 models.", "notice")


async def test_a_fetch_that_fails_says_why(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        await submit(app, await overview_of(app), "/status/refresh", provider="b")
        page = await overview_of(app, "?fetched=b")
        unknown = await overview_of(app, "?fetched=%3Cscript%3E")

    notice = page.one("p", class_="notice")
    assert (notice.text, notice.attributes["class"], notice.attributes["role"]) == (
        "Fetching the list of b failed: 503 Service Unavailable; the old list stays in use.",
        "notice bad",
        "alert",
    )
    assert unknown.all("p", class_="notice") == []


async def test_reload_says_how_it_ended(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        reply = await submit(app, await overview_of(app), "/status/reload")
        notices = [
            (await overview_of(app, f"?reloaded={outcome}")).one("p", class_="notice").text
            for outcome in ("ok", "rejected", "disabled")
        ]

    assert (reply.status, reply.header("location")) == (303, "/status?reloaded=disabled")  # it is in no file here
    assert [each.partition(":")[0].partition(".")[0] for each in notices] == [
        "Configuration reloaded",
        "Configuration not reloaded",
        "Configuration not reloaded",
    ]


async def test_a_reload_that_succeeds_says_so(fetch: FakeFetch, clock: FakeClock) -> None:
    async def reload_files() -> Mapping[str, Any]:
        return {"generation": "0123456789ab"}

    async with failing(fetch, clock) as app:
        app.reload_files = reload_files
        reply = await submit(app, await overview_of(app), "/status/reload")

    assert (reply.status, reply.header("location")) == (303, "/status?reloaded=ok")


@pytest.mark.parametrize("path", ["/status/refresh", "/status/reload"])
async def test_forms_of_other_pages_do_nothing(path: str, fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        before = fetch.requests["b"]
        headers = {**ADMINS, "sec-fetch-site": "same-origin"}
        reply = await reply_to(app, path, headers, method="POST", body=b"provider=b&csrf=wrong")

    assert (reply.status, fetch.requests["b"]) == (403, before)


# -- files -------------------------------------------------------------------------------------------------------------


async def test_files_are_cached_under_names_with_their_digest(fetch: FakeFetch, clock: FakeClock) -> None:
    async with failing(fetch, clock) as app:
        page = await overview_of(app)
        urls = [
            each.attributes.get("href") or each.attributes["src"] for each in (*page.all("link"), page.one("script"))
        ]
        replies = [await reply_to(app, url) for url in urls]
        again = await reply_to(app, urls[1], {"if-none-match": replies[1].header("etag") or ""})

    assert [reply.header("content-type") for reply in replies] == [
        "image/svg+xml",
        "text/css; charset=utf-8",
        "text/javascript; charset=utf-8",
    ]
    for url, reply in zip(urls, replies, strict=True):
        assert (reply.status, reply.header("etag")) == (200, f'"{url.partition("?v=")[2]}"')
        assert reply.header("cache-control") == "public, max-age=31536000, immutable"
        assert b"http" not in reply.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert (again.status, again.body) == (304, b"")
