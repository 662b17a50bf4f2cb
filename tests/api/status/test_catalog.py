"""`/status/models`: the catalog, its filters, and the views of keys and groups; the page of one model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import quote, urlsplit

import pytest

from proxy.api.status.catalog import PAGE_SIZE, Browser, Page
from proxy.api.status.presentation import digest_of, model_link
from proxy.cooperative import Cooperative
from proxy.server.app import Proxy
from proxy.states import Calls, OpenCircuit
from tests.api.status.html import Element, faults, parsed
from tests.api.status.scenes import ADMIN, ADMINS, PLAIN, page_of
from tests.fakes import FakeClock, FakeFetch, config_of, digest, reply_to, started

pytestmark = pytest.mark.anyio

CONFIG = f"""
providers:
  - {{name: a, base_url: "http://127.0.0.1/a/v1"}}
  - {{name: b, base_url: "http://127.0.0.1/b/v1"}}
models: [{{id: smart, targets: [gpt-5, embed-1]}}]
groups:
  default: {{models: ["gpt-*"]}}
  staff: {{models: ["*", "!secret-*"]}}
  nobody: {{models: []}}
keys:
  - {{name: ops, hash: '{digest(ADMIN)}', models: ['*'], admin: true}}
  - {{name: plain, hash: '{digest(PLAIN)}', group: staff}}
  - {{name: only-b, hash: '{digest("sk-fake-of-b")}', models: ['provider:b']}}
  - {{name: old, hash: '{digest("sk-fake-old")}', models: ['*'], expires: 2020-01-01}}
"""
OPEN_FOR_PLAIN = Calls("degraded", open_circuits=[OpenCircuit("embed-1", "plain", "open")])
HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "../../admin/reload",
    "..",
    "a%2fb%00",
    "a&b=c?d#e;f",
    "{{ 7+7 }}",
    "ids/with space",
    "\u202egnp.exe",
    "日本語",
    "x" * 250,
)


async def test_pages_of_the_catalog_are_computed_one_after_the_other(
    fetch: FakeFetch, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = [0]
    most = 0
    page = Browser.page

    def counted(
        browser: Browser, rules: Sequence[str], parameters: Mapping[str, str], calls: Mapping[str, Calls]
    ) -> Cooperative[Page]:
        nonlocal most
        running[0] += 1
        most = max(most, running[0])
        found = yield from page(browser, rules, parameters, calls)
        yield
        running[0] -= 1
        return found

    monkeypatch.setattr(Browser, "page", counted)
    fetch.lists("a", "gpt-5")
    async with started(config_of(CONFIG), fetch, clock) as app:
        await asyncio.gather(*(page_of(app, f"/status/models?as_key={key}") for key in ("ops", "plain", "only-b")))

    assert (running, most) == ([0], 1)


async def browsing(app: Proxy, query: str = "") -> Element:
    return parsed((await page_of(app, f"/status/models{query}")).body)


def ids_in(page: Element) -> list[str]:
    return [row[0] for row in page.one("table").rows()] if page.all("table") else []


@pytest.fixture
def lists(fetch: FakeFetch) -> FakeFetch:
    tools = {"supports_tools": True, "context_length": 200_000}
    fetch.lists("a", {"id": "gpt-5", "owned_by": "openai", "type": "chat", **tools}, "secret-1", "embed-1")
    fetch.lists("b", "gpt-5", {"id": "claude-5", "owned_by": "anthropic", "type": "chat"})
    return fetch


async def test_the_catalog_has_owners_facts_and_offers_in_their_order(lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = await browsing(app)

    assert page.one("h2", id="found-title").text == "5 models"
    rows = {row[0]: row[1:] for row in page.one("table").rows()}
    assert rows["gpt-5"] == ["openai", "chat", "200,000", "tools", "a, b"]
    assert rows["claude-5"] == ["anthropic", "chat", "–", "–", "b"]
    assert [*rows] == ["claude-5", "embed-1", "gpt-5", "secret-1", "smart"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=GPT", ["gpt-5"]),
        ("owner=anthropic", ["claude-5"]),
        ("provider=b", ["claude-5", "gpt-5", "smart"]),
        ("type=embedding", ["embed-1"]),
        ("capability=tools", ["gpt-5", "smart"]),
        ("provider=b&q=gpt&owner=openai&type=&capability=", ["gpt-5"]),
        ("q=nothing", []),
        ("page=99", ["claude-5", "embed-1", "gpt-5", "secret-1", "smart"]),
        ("page=-1", ["claude-5", "embed-1", "gpt-5", "secret-1", "smart"]),
    ],
)
async def test_filters_work_together_and_stay_in_the_form(
    query: str, expected: list[str], lists: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = await browsing(app, f"?{query}")

    assert ids_in(page) == expected
    form = page.one("form", role="search")
    given = dict(pair.split("=") for pair in query.split("&"))
    assert form.one("input", id="q").attributes["value"] == given.get("q", "")
    for name in ("owner", "provider", "type", "capability"):
        chosen = form.one("select", id=name).all("option", selected="")
        assert [option.attributes["value"] for option in chosen] == [*filter(None, [given.get(name)])]


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("as_key=ops", ADMIN),
        ("as_key=plain", PLAIN),
        ("as_key=only-b", "sk-fake-of-b"),
        ("as_group=staff", PLAIN),
        ("as_group=default", ""),
    ],
)
async def test_the_view_of_a_key_is_what_its_list_shows(
    query: str, key: str, lists: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = await browsing(app, f"?{query}")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        listed = (await reply_to(app, "/v1/models", headers)).json["data"]

    assert ids_in(page) == [model["id"] for model in listed]
    assert [row[1] for row in page.one("table").rows()] == [model["owned_by"] for model in listed]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("as_key=plain&q=secret-1", "The key plain cannot use secret-1: the page of the model shows why."),
        ("as_key=plain&q=secret", "The key plain cannot use secret-1: the page of the model shows why."),
        ("as_group=nobody&q=5", "Members of nobody cannot use claude-5, gpt-5: the page of a model shows why."),
        ("as_group=default&q=embed-1", "Requests without a key cannot use embed-1: the page of the model shows why."),
        ("as_key=plain&q=gpt-5", ""),
        ("as_key=plain&q=unknown", ""),
        ("as_key=unknown&q=gpt-5", ""),
        ("as_key=plain", ""),
        ("q=secret-1", ""),
    ],
)
async def test_a_search_says_which_models_a_key_may_not_use(
    query: str, text: str, lists: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = parsed((await reply_to(app, f"/status/models?{query}", ADMINS)).body)
        notices = page.all("p", class_="bad")
        links = [link.attributes["href"] for notice in notices for link in notice.all("a")]
        targets = [(await page_of(app, link)).body for link in links]

    assert [notice.text for notice in notices] == [text] * bool(text)
    assert all(link.endswith(query.partition("&")[0]) for link in links)
    for target in targets:
        assert " cannot use " in parsed(target).one("p", class_="bad").text


@pytest.mark.parametrize(
    ("query", "calls", "marked"),
    [
        ("", {}, []),
        ("", {"a": Calls("open")}, ["embed-1", "secret-1"]),
        ("?q=gpt", {"a": Calls("open"), "b": Calls("ok", account_rejected=True)}, ["gpt-5"]),
        ("", {"a": OPEN_FOR_PLAIN}, []),
        ("?as_key=plain", {"a": OPEN_FOR_PLAIN}, ["embed-1"]),
        ("?as_key=plain", {"a": Calls("degraded", open_circuits=[OpenCircuit("embed-1", None, "open")])}, ["embed-1"]),
        ("", {"a": Calls("not_callable"), "b": Calls("open")}, ["claude-5", "gpt-5", "smart"]),
    ],
)
async def test_models_that_cannot_be_called_now_are_marked(
    query: str, calls: Mapping[str, Calls], marked: list[str], lists: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        app.deployment.health._calls = lambda provider: calls.get(provider, Calls("ok"))
        page = await browsing(app, query)

    ending = " cannot be called now"
    assert [id.removesuffix(ending) for id in ids_in(page) if id.endswith(ending)] == marked


@pytest.mark.parametrize("query", ["as_key=unknown", "as_group=unknown", "as_key=group:staff"])
async def test_an_unknown_key_has_no_view(query: str, lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        reply = await reply_to(app, f"/status/models?{query}", ADMINS)

    assert (reply.status, ids_in(parsed(reply.body))) == (404, [])


async def test_the_group_that_sees_nothing_has_an_empty_view(lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        assert ids_in(await browsing(app, "?as_group=nobody")) == []


async def test_long_catalogs_have_pages_that_keep_the_filters(fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", *(f"m-{number:04}" for number in range(PAGE_SIZE * 2 + 5)))
    async with started(config_of(CONFIG), fetch, clock) as app:
        first = await browsing(app, "?q=m-&provider=a")
        following = first.one("a", rel="next").attributes["href"]
        second = await browsing(app, following.removeprefix("/status/models"))
        last = await browsing(app, second.one("a", rel="next").attributes["href"].removeprefix("/status/models"))

    ids = [*ids_in(first), *ids_in(second), *ids_in(last)]
    assert ids == [f"m-{number:04}" for number in range(PAGE_SIZE * 2 + 5)]
    assert last.one("nav", class_="pager").text == "Previous Page 3 of 3"
    assert second.one("input", id="q").attributes["value"] == "m-"
    assert last.all("a", rel="next") == []


async def test_a_changed_list_is_shown_at_once(lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        before = ids_in(await browsing(app, "?provider=b"))
        lists.lists("b", "new")
        await app.refresh(["b"], 5, accept=True)
        after = ids_in(await browsing(app, "?provider=b"))

    assert (before, after) == (["claude-5", "gpt-5", "smart"], ["new"])


# -- one model ---------------------------------------------------------------------------------------------------------


async def model_page(app: Proxy, model: str, query: str = "") -> Element:
    return parsed((await page_of(app, f"/status/models/{quote(model, safe='')}{query}")).body)


async def test_the_page_of_a_model_explains_it(lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = await model_page(app, "gpt-5")
        explained = (await reply_to(app, "/admin/explain?model=gpt-5", ADMINS)).json

    assert page.one("p", class_="lead").text == explained["text"]
    calls, offers, facts = page.all("table")
    assert [row[:3] for row in calls.rows()] == [["1", "a", "gpt-5"], ["2", "b", "gpt-5"]]
    assert [row[:3] for row in offers.rows()] == [["a", "gpt-5", "openai"], ["b", "gpt-5", "openai"]]
    assert [row[0] for row in facts.rows()] == [fact["name"] for fact in explained["facts"]]
    sources = {row[0]: row[1:3] for row in facts.rows()}
    assert sources["context_length"] == ["200000", "provider a"]


@pytest.mark.parametrize(
    ("model", "summary", "groups", "keys"),
    [
        ("gpt-5", "4 of 4 keys, and requests without a key.", ["default", "staff"], ["ops", "plain", "only-b", "old"]),
        ("secret-1", "2 of 4 keys. Requests without a key cannot see it.", [], ["ops", "old"]),
        (
            "claude-5",
            "4 of 4 keys. Requests without a key cannot see it.",
            ["staff"],
            ["ops", "plain", "only-b", "old"],
        ),
        ("smart", "3 of 4 keys. Requests without a key cannot see it.", ["staff"], ["ops", "plain", "old"]),
    ],
)
async def test_who_may_see_a_model(
    model: str, summary: str, groups: list[str], keys: list[str], lists: FakeFetch, clock: FakeClock
) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        page = await model_page(app, model)
        seen = {
            name: model in {each["id"] for each in (await reply_to(app, "/v1/models", headers)).json["data"]}
            for name, headers in {
                "ops": ADMINS,
                "plain": {"authorization": f"Bearer {PLAIN}"},
                "only-b": {"authorization": "Bearer sk-fake-of-b"},
            }.items()
        }

    section = page.one("section", **{"aria-labelledby": "audience-title"})
    assert section.all("p")[0].text == summary
    hrefs = [link.attributes["href"].partition("?")[2] for link in section.all("a")]
    assert [href.removeprefix("as_group=") for href in hrefs if href.startswith("as_group=")] == groups
    found = [href.removeprefix("as_key=") for href in hrefs if href.startswith("as_key=")]
    assert sorted(found) == sorted(keys)
    assert {name for name, sees in seen.items() if sees} == set(found) - {"old"}
    assert (section.all("span", class_="off") != []) == ("old" in keys)  # it has expired


async def test_the_page_of_a_model_as_a_key_names_the_rule(lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        key = await model_page(app, "secret-1", "?as_key=plain")
        group = await model_page(app, "secret-1", "?as_group=staff")
        unknown = await reply_to(app, "/status/models/secret-1?as_key=unknown", ADMINS)

    for page in (key, group):
        rules = page.one("section", **{"aria-labelledby": "access-title"}).one("ul", class_="plain")
        assert ["denies it" in rule.text for rule in rules.all("li")] == [False, True]
    texts = [page.one("p", class_="bad").text for page in (key, group)]
    assert texts == [
        "key plain cannot use secret-1: the rules of group staff",
        "members of group staff cannot use secret-1: the rules of group staff",
    ]
    assert unknown.status == 404


@pytest.mark.parametrize("model", ["unknown", "gpt-6", "y" * 5000, ".."])
async def test_a_model_that_does_not_exist_is_not_found(model: str, lists: FakeFetch, clock: FakeClock) -> None:
    async with started(config_of(CONFIG), lists, clock) as app:
        reply = await reply_to(app, f"/status/models/{quote(model, safe='')}", ADMINS)
        by_digest = await reply_to(app, f"/status/models?digest={digest_of(model)}", ADMINS)

    assert (reply.status, by_digest.status) == (404, 404)
    assert faults(parsed(reply.body)) == []


@pytest.mark.parametrize("model", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_ids_are_only_text_and_their_links_work(model: str, fetch: FakeFetch, clock: FakeClock) -> None:
    fetch.lists("a", model)
    async with started(
        config_of(CONFIG.replace("models: [{id: smart, targets: [gpt-5, embed-1]}]", "")), fetch, clock
    ) as app:
        reply = await page_of(app, "/status/models")
        page = parsed(reply.body)
        (link,) = page.one("table").all("a")
        url = urlsplit(link.attributes["href"])
        target = parsed((await page_of(app, f"{url.path}?{url.query}".rstrip("?"))).body)

    for each in (page, target):
        assert faults(each) == []
        assert len(each.all("script")) == 1
        assert each.all("img") == []
    assert "\u202e" not in reply.body.decode()
    shown = model.replace("\u202e", r"\u202e")
    assert target.one("h1").text == shown
    assert link.text == (shown if len(shown) <= 100 else shown[:99] + "…")
    assert link.all("bdi") != []


def test_ids_that_cannot_be_in_a_path_have_a_digest_instead() -> None:
    assert model_link("a/b%2f") == "/a%2Fb%252f"
    assert model_link("..") == f"?digest={digest_of('..')}"
    assert model_link("\ud800").startswith("?digest=")
    assert model_link("é" * 10_000).startswith("?digest=")
