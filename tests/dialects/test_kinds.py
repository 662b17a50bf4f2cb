"""Every kind of provider: what is asked, what comes out of it, what is asked next. One file for each kind and page.

A file in `tests/payloads/kinds/` is called `<kind>.<page>.json`, or `<kind>-<case>.<page>.json`, and holds

    settings   of the provider, beside its name, kind and key
    asked      the URL of the question, and the headers that matter; null is a header that must not be there
    before     (if anything) the URL that is asked first and what it answers, because the list may be elsewhere
    answer     what the provider says
    entries    what is listed of it, under the shipped rules: in the order of the answer, of twins the first
    dropped    the reasons of those that cannot be listed
    next       the query of the next page, null on the last one
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import respx

from proxy.catalog import Offer, per_provider
from proxy.config import Config, Provider
from proxy.dialects import DIALECTS, Auth, Dialect, InvalidEntry, Paging, Received, next_query, open_page, read_entry
from proxy.dialects.entry import Entry
from proxy.upstream.lists import ListFetcher
from tests.fakes import config_of
from tests.paths import PAYLOADS, ROOT
from tests.providers.faults import HastyClock

pytestmark = pytest.mark.anyio

KINDS = PAYLOADS / "kinds"
KEY = "sk-canary-of-a-kind"
ASKED = sorted(kind for kind, row in DIALECTS.items() if row.is_remote and kind != "custom")


@dataclass(frozen=True)
class Case:
    """One list of one kind, page by page."""

    kind: str
    pages: Sequence[Mapping[str, Any]]

    @property
    def before(self) -> Mapping[str, Any] | None:
        found: Mapping[str, Any] | None = self.pages[0].get("before")
        return found


class OfThisRow(Provider):
    """A provider whose row stands in no table yet."""

    row: Dialect

    @property
    def dialect(self) -> Dialect:
        return self.row


def cases(folder: Path) -> dict[str, Case]:
    """All files of a folder by the names of their cases."""
    pages: dict[str, list[Mapping[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        name, number = path.stem.rsplit(".", 1)
        pages.setdefault(name, []).append(json.loads(path.read_bytes()))
        assert int(number) == len(pages[name]), f"the pages of {name} are numbered from 1"
    return {name: Case(name.partition("-")[0], found) for name, found in pages.items()}


CASES = cases(KINDS)


def configured(case: Case) -> Config:
    provider = {"name": "p", "kind": case.kind, "api_key": KEY, "timeout": "20s", **case.pages[0]["settings"]}
    return config_of(json.dumps({"providers": [provider]}))


def listed(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """Offers as the files write them."""
    return [
        {"id": offer.id, "owned_by": offer.owned_by, "created": offer.created}
        | ({"parent": offer.entry.parent} if offer.entry.parent else {})
        | {"extra": msgspec.json.decode(offer.entry.extra)}
        for offer in offers
    ]


def question(request: httpx.Request, headers: Mapping[str, str | None]) -> dict[str, Any]:
    """A request as the files write it."""
    return {"url": str(request.url), "headers": {name: request.headers.get(name) for name in headers}}


async def check(case: Case, config: Config, provider: Provider) -> None:
    """What is asked, page by page; and what is listed in the end."""
    replies = [page["answer"] for page in case.pages]
    urls = [page["asked"]["url"] for page in case.pages]
    if case.before:
        replies.insert(0, case.before["answer"])
        urls.insert(0, case.before["url"])
    with respx.mock() as router:
        route = router.get(host=httpx.URL(urls[0]).host)
        route.side_effect = [httpx.Response(200, json=reply) for reply in replies]
        answer = await ListFetcher([provider], HastyClock())(provider, 0)

    headers = case.pages[0]["asked"]["headers"]
    wanted = [{"url": url, "headers": headers} for url in urls]
    assert [question(call.request, headers) for call in route.calls] == wanted
    assert listed(list(per_provider(provider, config)(answer.entries))) == [
        entry for page in case.pages for entry in page["entries"]
    ]
    assert answer.dropped == Counter(reason for page in case.pages for reason in page["dropped"])
    check_pages(case, provider, config)


def check_pages(case: Case, provider: Provider, config: Config) -> None:
    """Every page by itself, without any HTTP: its entries, what is dropped of it, and the query that follows."""
    dialect = provider.dialect
    received = 0
    for page in case.pages:
        answer = open_page(dialect, json.dumps(page["answer"]).encode())
        entries: list[Entry] = []
        dropped: list[str] = []
        for raw in answer.items:
            try:
                entries.append(read_entry(dialect, raw, {"model_id": "0a1b"}))
            except InvalidEntry as reason:
                dropped.append(str(reason))
        received += len(answer.items)
        query = dict(httpx.URL(page["asked"]["url"]).params)
        last_id = entries[-1].id if entries else ""
        following = next_query(dialect, query, answer, Received(received, len(answer.items), last_id))
        said = {"entries": listed(list(per_provider(provider, config)(entries))), "dropped": dropped, "next": following}
        assert said == {name: page[name] for name in said}


def test_every_kind_that_is_asked_has_a_payload() -> None:
    assert sorted({case.kind for case in CASES.values()}) == ASKED


@pytest.mark.parametrize("name", CASES)
async def test_a_kind_is_asked_and_read_as_its_documents_say(name: str) -> None:
    config = configured(CASES[name])
    await check(CASES[name], config, config.providers[0])


def test_nothing_that_was_to_stay_hidden_is_listed() -> None:
    """Payloads mark it with a word."""
    said = [json.dumps(page["answer"]) for case in CASES.values() for page in case.pages]
    shown = [json.dumps(page["entries"]) for case in CASES.values() for page in case.pages]
    assert any("canary" in text for text in said)
    assert not any("canary" in text for text in shown)


async def test_a_new_dialect_is_one_row_and_one_payload_and_no_other_change(tmp_path: Path) -> None:
    row = Dialect(
        kind="acme",
        path="/catalog",
        params={"size": "50"},
        auth=Auth("header", "X-Acme-Key"),
        items=("result.models",),
        id=("slug",),
        owner=("vendor",),
        created=("published",),
        extra={"context_length": ("limits.context",), "pricing.prompt": ("price.in",)},
        price_per=1_000_000,
        paging=(Paging("page", send="page", pages="result.pages"),),
    )
    payload = {
        "settings": {"base_url": "https://acme.example/api"},
        "asked": {"url": "https://acme.example/api/catalog?size=50", "headers": {"x-acme-key": KEY}},
        "answer": {
            "result": {
                "pages": 1,
                "models": [
                    {
                        "slug": "rocket-7b",
                        "vendor": "Acme",
                        "published": "2024-05-01",
                        "limits": {"context": "8192"},
                        "price": {"in": 0.15, "currency": "USD"},
                    }
                ],
            }
        },
        "entries": [
            {
                "id": "rocket-7b",
                "owned_by": "acme",
                "created": 1714521600,
                "extra": {
                    "slug": "rocket-7b",
                    "vendor": "Acme",
                    "published": "2024-05-01",
                    "limits": {},
                    "price": {"currency": "USD"},
                    "context_length": 8192,
                    "pricing": {"prompt": "0.00000015"},
                },
            }
        ],
        "dropped": [],
        "next": None,
    }
    (tmp_path / "acme.1.json").write_text(json.dumps(payload))

    await check_new_row(row, tmp_path)


async def check_new_row(row: Dialect, payloads: Path) -> None:
    [case] = cases(payloads).values()
    provider = OfThisRow.model_validate({"name": "p", "api_key": KEY, "row": row, **case.pages[0]["settings"]})
    await check(case, config_of("providers: [{name: p, base_url: http://h}]"), provider)


async def test_the_worked_example_of_contributing_works_as_it_stands(tmp_path: Path) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text().partition("## A new dialect")[2]
    python, payload = (
        guide.partition(f"   ```{language}\n")[2].partition("   ```")[0] for language in ("python", "json")
    )
    names: dict[str, Any] = {"Dialect": Dialect, "Auth": Auth, "Paging": Paging}
    exec(textwrap.dedent(python), names)  # noqa: S102 - our own guide
    (tmp_path / "acme.1.json").write_text(payload)
    await check_new_row(names["ACME"], tmp_path)
