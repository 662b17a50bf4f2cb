"""Every kind of provider: requests, listed models, pagination, and targets of calls.

Each kind has a payload in `tests/payloads/kinds/`; `tests/dialects/payloads.py` documents the files.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from proxy.catalog import per_provider
from proxy.config import Config, Provider
from proxy.dialects import DIALECTS, Auth, Dialect, Paging
from tests.dialects.expected import filled, text_of
from tests.dialects.expected import main as expected_command
from tests.dialects.payloads import EXPECTED, KEY, KINDS, Case, cases, expected, fetch, listed, request_of
from tests.fakes import config_of
from tests.paths import ROOT

pytestmark = pytest.mark.anyio

CASES = cases(KINDS)
REMOTE = sorted(kind for kind, row in DIALECTS.items() if row.is_remote and kind != "custom")


class OfThisRow(Provider):
    """A provider whose row is not in the table."""

    row: Dialect

    @property
    def dialect(self) -> Dialect:
        return self.row


async def check(case: Case, config: Config, provider: Provider) -> None:
    """The complete list request by request; then each page separately, without HTTP."""
    requests, result = await fetch(case, provider)
    headers = case.pages[0]["request"]["headers"]
    urls = [*case.urls_before, *(page["request"]["url"] for page in case.pages)]
    assert [request_of(request, headers) for request in requests] == [{"url": url, "headers": headers} for url in urls]
    assert listed(list(per_provider(provider, config)(result.entries))) == [
        entry for page in case.pages for entry in page["entries"]
    ]
    assert result.dropped == Counter(reason for page in case.pages for reason in page["dropped"])
    parts = [{part: page[part] for part in EXPECTED if part in page} for page in case.pages]
    assert await expected(case, config, provider) == parts


def test_kinds_with_a_remote_list_have_a_payload() -> None:
    assert sorted({case.kind for case in CASES.values()}) == REMOTE


@pytest.mark.parametrize("name", CASES)
async def test_kind_is_requested_parsed_and_called_as_documented(name: str) -> None:
    config = CASES[name].config
    await check(CASES[name], config, config.providers[0])


def test_hidden_fields_are_not_listed() -> None:
    """Payloads mark such values with a word."""
    payload = [json.dumps(page["answer"]) for case in CASES.values() for page in case.pages]
    shown = [json.dumps(page["entries"]) for case in CASES.values() for page in case.pages]
    assert any("canary" in text for text in payload)
    assert not any("canary" in text for text in shown)


async def test_new_dialect_needs_only_one_row_and_one_payload(tmp_path: Path) -> None:
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
        "request": {"url": "https://acme.example/api/catalog?size=50", "headers": {"x-acme-key": KEY}},
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
        "call": None,
    }
    (tmp_path / "acme.1.json").write_text(json.dumps(payload))

    await check_new_row(row, tmp_path)


async def check_new_row(row: Dialect, payloads: Path) -> None:
    [case] = cases(payloads).values()
    provider = OfThisRow.model_validate({"name": "p", "api_key": KEY, "row": row, **case.pages[0]["settings"]})
    await check(case, config_of("providers: [{name: p, base_url: http://h}]"), provider)


def test_example_in_contributing_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## A new dialect")[2]
    row, payload, printed = (
        textwrap.dedent(block) for block in re.findall(r"^   ```(?:python|json)\n(.*?)^   ```$", guide, re.M | re.S)
    )
    names: dict[str, Any] = {"Dialect": Dialect, "Auth": Auth, "Paging": Paging}
    exec(row, names)  # noqa: S102 - our guide
    monkeypatch.setitem(cast(dict[str, Dialect], DIALECTS), "acme", names["ACME"])
    file = tmp_path / "acme.1.json"
    file.write_text(payload, encoding="utf-8")

    expected_command([file])

    assert capsys.readouterr().out == (
        f"acme.1.json\n{printed}\nCompare every value above with the provider's documentation before you commit it.\n"
    )
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(payload) | json.loads(printed)
    (case,) = cases(tmp_path).values()
    anyio.run(check, case, case.config, case.config.providers[0])


@pytest.mark.parametrize("name", CASES)
def test_updating_a_correct_payload_changes_no_byte(name: str) -> None:
    files = [KINDS / f"{name}.{number}.json" for number in range(1, len(CASES[name].pages) + 1)]

    assert [text_of(page) for page in filled(CASES[name])] == [file.read_text(encoding="utf-8") for file in files]
