"""Names of an entry: prefixes that calls do not accept, aliases, and ids that would collide without a prefix."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from proxy.dialects import restore_collisions
from proxy.dialects.entry import Entry
from proxy.dialects.identity import MAX_ALIASES
from tests.fakes import entry


@pytest.mark.parametrize(
    ("listed", "bare"),
    [
        ("models/gemini-9-flash", "gemini-9-flash"),
        ("projects/p-1/models/gemini-9-flash", "gemini-9-flash"),
        ("projects/p-1/locations/us/models/m", "m"),
        ("projects/p-1/locations/us/publishers/acme/models/m", "m"),
    ],
)
def test_resource_names_are_listed_without_their_prefix_which_is_kept_for_calls(listed: str, bare: str) -> None:
    parsed = entry({"id": listed, "owned_by": "google", "root": listed})

    assert (parsed.id, parsed.written, parsed.root) == (bare, listed, bare)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"id": "accounts/acme/models/m"}, id="calls to Fireworks require the complete name"),
        pytest.param({"id": "publishers/acme/models/m"}, id="calls to Vertex AI require the publisher"),
        pytest.param({"id": "tunedModels/m"}, id="a tuned model"),
        pytest.param({"id": "models/acme/m"}, id="a vendor after the prefix"),
        pytest.param({"id": "models/"}, id="nothing after the prefix"),
        pytest.param({"id": "models/m.gguf"}, id="a file"),
        pytest.param({"id": "models/m.Q4.GGUF"}, id="a file in capitals"),
        pytest.param({"id": "models/m", "owned_by": "vllm"}, id="a path of vLLM"),
        pytest.param({"id": "models/m", "owned_by": "llamacpp"}, id="a path of llama.cpp"),
        pytest.param({"id": "models/m", "owned_by": "models/m"}, id="an engine that reports the id as owner"),
        pytest.param({"id": "projects/p-1/m"}, id="a project without models"),
        pytest.param({"id": "my-models/m"}, id="another word"),
    ],
)
def test_other_ids_are_listed_as_they_are_written(payload: Mapping[str, object]) -> None:
    parsed = entry(payload)

    assert (parsed.id, parsed.written) == (payload["id"], "")


def test_kinds_with_prefixes_remember_the_written_id() -> None:
    parsed = entry({"name": "publishers/acme/models/m"}, "vertex")

    assert (parsed.id, parsed.written) == ("m", "publishers/acme/models/m")


@pytest.mark.parametrize(
    ("fields", "aliases"),
    [
        pytest.param({"aliases": ["grok-9", "grok-9-latest"]}, ("grok-9", "grok-9-latest"), id="a list"),
        pytest.param({"alias": "best"}, ("best",), id="one name"),
        pytest.param({"alias_of": "m-2026"}, ("m-2026",), id="the model behind an alias"),
        pytest.param({"aliases": ["a", "m", "a"], "alias": "a"}, ("a",), id="neither the id nor duplicates"),
        pytest.param({"aliases": ["", 5, None, "a\n", "x" * 257, ["b"], "c"]}, ("c",), id="only valid ids"),
        pytest.param({"aliases": {"a": "b"}}, (), id="an object"),
        pytest.param({"aliases": None, "alias": None}, (), id="null"),
        pytest.param({"canonical_slug": "paid"}, (), id="a slug that several variants share"),
        pytest.param({"aliases": [f"a{n}" for n in range(99)]}, tuple(f"a{n}" for n in range(MAX_ALIASES)), id="many"),
    ],
)
def test_aliases_are_the_other_names_in_an_entry(fields: Mapping[str, object], aliases: tuple[str, ...]) -> None:
    assert entry({"id": "m", **fields}).aliases == aliases


def test_prefixes_return_where_different_ids_of_a_list_would_become_equal() -> None:
    listed = [
        entry("models/a"),
        entry("a"),
        entry("models/b"),
        entry("projects/p/models/b"),
        entry("models/c"),
        entry("models/c"),
        entry("d"),
    ]

    assert [(restored.id, restored.written, restored.root) for restored in restore_collisions(listed)] == [
        ("models/a", "", "models/a"),
        ("a", "", "a"),
        ("models/b", "", "models/b"),
        ("projects/p/models/b", "", "projects/p/models/b"),
        ("c", "models/c", "c"),
        ("c", "models/c", "c"),
        ("d", "", "d"),
    ]


def test_lists_without_prefixes_are_returned_unchanged() -> None:
    listed = (Entry("a"), Entry("b"))

    assert restore_collisions(listed) == listed
