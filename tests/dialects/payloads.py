"""The payloads in `tests/payloads/kinds/`: read them, and compute the current results of the code.

A file is named `<kind>.<page>.json` or `<kind>-<case>.<page>.json`, and contains

    settings   of the provider, except name, kind and key
    request    the URL and the relevant headers of the request; null is a header that must not be sent
    before     (optional) the URL that is requested first and its response, if the list can be at another path
    list       (optional) which list of the kind the page belongs to, 0 is the first
    answer     the body of the response
    entries    the models listed with default rules: in the order of the response, without duplicates
    dropped    reasons of dropped entries, and their number
    next       the query of the next page, null on the last one
    call       (first page) the base URL, credential header and model id of calls, null if models cannot be called

`tests/dialects/test_kinds.py` compares all but `settings`, `before`, `list` and `answer` with the code;
`python -m tests.dialects.expected FILE` updates them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import respx

from proxy.catalog import FetchResult, Offer, per_provider
from proxy.config import Config, Provider
from proxy.dialects import InvalidEntry, Received, next_query, open_page, read_entry
from proxy.dialects.entry import Entry
from proxy.upstream.credentials import auth_headers, kind_headers
from proxy.upstream.lists import ListFetcher
from tests.fakes import HastyClock, config_of
from tests.paths import PAYLOADS

KINDS = PAYLOADS / "kinds"
KEY = "sk-canary-of-a-kind"
EXPECTED = ("request", "entries", "dropped", "next", "call")
"""The parts of a page that are derived from its settings and its response."""

Page = Mapping[str, Any]
Headers = Mapping[str, str | None]


@dataclass(frozen=True)
class Case:
    """One list of one kind, page by page."""

    kind: str
    pages: Sequence[Page]

    @property
    def answers(self) -> Sequence[object]:
        """The bodies of all responses, in the order of the requests."""
        before = [self.pages[0]["before"]["answer"]] if "before" in self.pages[0] else []
        return [*before, *(page["answer"] for page in self.pages)]

    @property
    def urls_before(self) -> Sequence[str]:
        """The URL that is requested before the first page, if any."""
        return [self.pages[0]["before"]["url"]] if "before" in self.pages[0] else []

    @property
    def config(self) -> Config:
        provider = {"name": "p", "kind": self.kind, "api_key": KEY, "timeout": "20s", **self.pages[0]["settings"]}
        return config_of(json.dumps({"providers": [provider]}))


def case_of(path: Path) -> str:
    """`acme` for `acme.1.json`."""
    return path.stem.rsplit(".", 1)[0]


def cases(folder: Path) -> dict[str, Case]:
    """All files of a folder, by case name."""
    pages: dict[str, list[Page]] = {}
    for path in sorted(folder.glob("*.json")):
        name = case_of(path)
        pages.setdefault(name, []).append(json.loads(path.read_bytes()))
        assert path.name == f"{name}.{len(pages[name])}.json", f"the pages of {name} are numbered from 1"
    return {name: Case(name.partition("-")[0], numbered) for name, numbered in pages.items()}


async def fetch(case: Case, provider: Provider) -> tuple[Sequence[httpx.Request], FetchResult]:
    """All requests for the complete list, and the result."""
    with respx.mock() as router:
        route = router.get()
        route.side_effect = [httpx.Response(200, json=answer) for answer in case.answers]
        result = await ListFetcher([provider], HastyClock())(provider, 0)
    return [call.request for call in route.calls], result


def request_of(request: httpx.Request, headers: Headers) -> dict[str, Any]:
    """A request in the format of the files, with these headers."""
    return {"url": str(request.url), "headers": {name: request.headers.get(name) for name in headers}}


def listed(offers: Sequence[Offer]) -> list[dict[str, Any]]:
    """Offers in the format of the files."""
    return [
        {"id": offer.id, "owned_by": offer.owned_by, "created": offer.created}
        | ({"parent": offer.entry.parent} if offer.entry.parent else {})
        | {"extra": msgspec.json.decode(offer.entry.extra)}
        for offer in offers
    ]


def call_of(provider: Provider) -> dict[str, Any] | None:
    """The target of calls in the format of the files."""
    if (target := provider.target) is None:
        return None
    headers = {name.lower(): value for name, value in auth_headers(target.auth, _key_of(provider)).items()}
    return {"base_url": target.base_url, "headers": headers, "model": target.call_id}


async def expected(case: Case, config: Config, provider: Provider) -> list[dict[str, Any]]:
    """The current `EXPECTED` parts of each page; `call` is in the first page only."""
    requests, _ = await fetch(case, provider)
    first = case.pages[0]
    headers: Headers = first["request"]["headers"] if "request" in first else _headers_that_matter(provider)
    made_requests = [request_of(request, headers) for request in requests[-len(case.pages) :]]
    received: Counter[int] = Counter()
    pages: list[dict[str, Any]] = []
    for page, request in zip(case.pages, made_requests, strict=True):
        number = page.get("list", 0)
        made, count = _read_page(page, dict(httpx.URL(request["url"]).params), received[number], config, provider)
        received[number] += count
        pages.append({"request": request, **made})
    pages[0]["call"] = call_of(provider)
    return pages


def _key_of(provider: Provider) -> str:
    return provider.api_key.get_secret_value() if provider.api_key else ""


def _headers_that_matter(provider: Provider) -> Headers:
    """The header with the credential, and those of every request to this kind."""
    names = [*auth_headers(provider.dialect.auth, _key_of(provider)), *kind_headers(provider)]
    return dict.fromkeys(name.lower() for name in names)


def _read_page(
    page: Page, query: Mapping[str, str], received: int, config: Config, provider: Provider
) -> tuple[dict[str, Any], int]:
    """Parse a page without HTTP. Returns its parts and its number of entries; `received` is that of earlier pages."""
    dialect = (provider.dialect, *provider.dialect.also)[page.get("list", 0)]
    answer = open_page(dialect, json.dumps(page["answer"]).encode())
    entries: list[Entry] = []
    dropped: list[str] = []
    for raw in answer.items:
        try:
            entries.append(read_entry(dialect, raw, _placeholder_values(provider)))
        except InvalidEntry as reason:
            dropped.append(str(reason))
    count = len(answer.items)
    last_id = entries[-1].id if entries else ""
    following = next_query(dialect, query, answer, Received(received + count, count, last_id))
    offers = listed(list(per_provider(provider, config)(entries)))
    return {"entries": offers, "dropped": dropped, "next": following}, count


def _placeholder_values(provider: Provider) -> Mapping[str, str]:
    """The placeholder values, such as `model_id`, of the first list."""
    return {
        name.removesuffix("s"): provider.settings[name][0]
        for name, setting in provider.dialect.settings.items()
        if setting.many
    }
