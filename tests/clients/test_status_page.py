"""The status page in Chromium, with and without JavaScript: what an operator does there, and what a page never does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import npm, processes
from tests.fakes import digest
from tests.providers.calls import completion
from tests.providers.scripted import Exchange, FakeProvider, FakeProviders, replies

ADMIN, ALICE = "sk-canary-of-an-operator", "sk-canary-of-alice"
HOSTILE = (
    "</title><script>alert(1)</script>",
    "x\"onmouseover='alert(1)",
    "../../admin/reload?x=%2f#y",
    "\u0646\u0645\u0648\u0630\u062c-right-to-left",
    "long-" + "m" * 250,
)
REVERSED, TOO_LONG = "reversed-\u202eodom\u202c", "m" * 10_000
CONFIG = """
providers:
  - {{name: up, base_url: "{url}/v1", api_key: sk-canary-of-a-provider, max_in_flight: 5}}
  - {{name: down, base_url: "http://127.0.0.1:{closed}/v1", api_key: sk-canary-of-another}}
groups:
  team: {{models: [moderate, "generate-*"]}}
keys:
  - {{name: root, hash: "{admin}", models: ["*"], admin: true}}
  - {{name: alice, hash: "{alice}", group: team}}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    models = ["moderate", "generate-1", "other", *HOSTILE, REVERSED, TOO_LONG]
    listed = replies({"object": "list", "data": [{"id": model, "object": "model"} for model in models]})
    called = replies(completion("moderate"))

    async def respond(exchange: Exchange) -> None:
        await (listed if exchange.request.method == "GET" else called)(exchange)

    with FakeProviders() as providers:
        yield providers.open(respond)


@pytest.fixture(scope="module")
def seen(provider: FakeProvider, packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    chromium = shutil.which("chromium")
    assert chromium, "chromium is not installed"
    text = CONFIG.format(url=provider.url, closed=processes.free_port(), admin=digest(ADMIN), alice=digest(ALICE))
    path = tmp_path_factory.mktemp("status")
    with processes.serving(path / "config.yaml", text) as process:
        variables = {"URL": process.url, "KEY": ADMIN, "WRONG": ALICE, "HOSTILE": json.dumps([*HOSTILE, REVERSED])}
        result = subprocess.run(  # noqa: S603  # our own command
            [npm.NODE, packages / "status_page.mjs"],
            env={**os.environ, **variables, "CHROMIUM": chromium},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        yield {**json.loads(result.stdout), "own": process.url.removeprefix("http://")}


MODES = pytest.mark.parametrize("mode", ["withScript", "withoutScript"])


@MODES
def test_only_an_admin_key_begins_a_session(mode: str, seen: Any) -> None:
    steps = seen[mode]
    assert steps["before"] == "/status/login"
    assert steps["wrong"] == "Login failed. This key is not an admin key (`admin: true`)."
    assert steps["cookies"] == [{"httpOnly": True, "sameSite": "Strict", "containsKey": False}]


@MODES
def test_log_out_ends_the_session_for_copies_of_its_cookie_too(mode: str, seen: Any) -> None:
    assert (seen[mode]["after"], seen[mode]["replayed"]) == ("/status/login", "/status/login")


@MODES
def test_what_fails_is_at_the_top(mode: str, seen: Any) -> None:
    attention = seen[mode]["attention"].splitlines()
    assert attention[:2] == ["What needs attention", "down list failing"]
    assert attention[attention.index("Reason") + 1] == "connection refused"


@MODES
def test_models_are_found_and_explained(mode: str, seen: Any) -> None:
    steps = seen[mode]
    assert steps["found"] == ["generate-1", "moderate"]
    assert steps["model"] == "moderate"
    assert "2 of 2 keys" in steps["audience"]
    assert "Access of key alice" in steps["explained"]
    assert "moderate allows it at up" in steps["explained"]


@MODES
def test_hostile_ids_are_shown_as_text(mode: str, seen: Any) -> None:
    assert seen[mode]["hostile"] == [*HOSTILE, r"reversed-\u202eodom\u202c"]
    assert seen["dialogs"] == []


@MODES
def test_buttons_fetch_a_list_and_reload_the_configuration(mode: str, seen: Any, provider: FakeProvider) -> None:
    assert seen[mode]["fetched"] == f"List of up fetched: ok, {3 + len(HOSTILE) + 1} models.", (
        "all but the one that is too long"
    )
    assert seen[mode]["reloaded"].startswith("Configuration reloaded: generation ")
    assert len(provider.requests) == 3, "at the start, and by the button with and without JavaScript"


def test_pages_load_nothing_from_another_host_and_break_no_rule_of_their_own(seen: Any) -> None:
    assert seen["hosts"] == [seen["own"]]
    assert seen["problems"] == []


def test_axe_finds_no_violation_in_light_and_dark(seen: Any) -> None:
    assert seen["violations"] == []


def test_no_page_scrolls_sideways_on_a_narrow_screen(seen: Any) -> None:
    assert seen["wide"] == []


def test_updates_keep_the_focus_and_wait_for_a_selection(seen: Any) -> None:
    shown = {"isCurrent": True, "focused": "/status/models?provider=down", "button": "Pause updates", "notice": ""}
    notice = "Updates continue when no text is selected."
    updates = seen["updates"]
    focused = updates["selected"].pop("focused"), updates["continued"].pop("focused"), updates["paused"].pop("focused")
    assert focused[2] is None, "the button has it"
    assert updates == {
        "focused": shown,
        "selected": {"isCurrent": False, "button": "Pause updates", "notice": notice},
        "continued": {"isCurrent": True, "button": "Pause updates", "notice": ""},
        "paused": {"isCurrent": False, "button": "Resume updates", "notice": ""},
    }


def test_a_narrow_screen_shows_the_state_of_calls_and_the_menu_in_one_line(seen: Any) -> None:
    assert seen["narrow"] == {"callsAreVisible": True, "menuHasOneLine": True}
