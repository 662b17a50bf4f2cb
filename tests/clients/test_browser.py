"""The package `openai` in Chromium, in a page of another origin, which sees only what CORS allows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import npm, processes
from tests.clients.running import KEY, PREFIX, setup
from tests.providers.calls import DONE, chunk_event, completion, streams
from tests.providers.scripted import Exchange, Script, replies

MODEL = "lab-chat"
OWN = f"{PREFIX}{MODEL}"


@dataclass(frozen=True)
class Seen:
    """What the page received, and the request ids that the provider received, in the same order."""

    page: Any
    requests: list[str]


async def _respond(exchange: Exchange) -> None:
    limits = {"x-ratelimit-remaining-requests": "41"}
    events = streams(chunk_event(OWN, "one"), chunk_event(OWN, "two"), DONE)
    script: Script = events if exchange.request.json.get("stream") else replies(completion(OWN), headers=limits)
    await script(exchange)


@pytest.fixture(scope="module")
def seen(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    origin = f"http://127.0.0.1:{processes.free_port()}"
    with setup(tmp_path_factory.mktemp("browser"), _respond, MODEL, origin=origin) as proxy:
        variables = {"ORIGIN": origin, "URL": f"{proxy.url}/v1", "KEY": KEY, "MODEL": MODEL, "CHROMIUM": chromium}
        printed = proxy.output(str(npm.NODE), str(packages / "browser.mjs"), **variables)
        yield Seen(json.loads(printed), [request.headers["x-request-id"] for request in proxy.calls])


def test_a_page_reads_a_response_with_its_request_id_and_rate_limits(seen: Seen) -> None:
    created = {"model": MODEL, "text": "hello", "request": seen.requests[0], "remaining": "41"}
    assert seen.page["created"] == created


def test_a_page_reads_a_stream_with_its_request_id(seen: Seen) -> None:
    assert seen.page["streamed"] == {"parts": ["one", "two"], "request": seen.requests[1]}


def test_a_page_reads_errors_with_their_request_ids(seen: Seen) -> None:
    unknown, rejected = seen.page["unknown"], seen.page["rejected"]
    assert (unknown["status"], unknown["code"]) == (404, "model_not_found")
    assert (rejected["status"], rejected["code"]) == (401, "invalid_api_key")
    assert "Incorrect API key provided" in rejected["message"]
    assert unknown["request"]
    assert rejected["request"]


def test_a_page_reads_the_list_of_models(seen: Seen) -> None:
    assert seen.page["listed"] == [MODEL]
