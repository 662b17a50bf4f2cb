"""Owners of models: 900 real ids, 400 pairs of a reported owner and an id, values that name no maker, the tables."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.catalog.families import FAMILIES, OPEN
from proxy.catalog.hosts import HOSTS, PLACEHOLDER_OWNERS, PLACES
from proxy.catalog.maker_names import canonical
from proxy.catalog.makers import COMMON_WORDS, SPELLINGS
from proxy.catalog.owners import owner_from_entry, owner_from_id, owner_of_model
from tests.paths import PAYLOADS

NOBODY = "-"


def _by_owner() -> Mapping[str, list[str]]:
    """`payloads/owners.tsv`: an id, a tab, its maker; `-` if the id has none."""
    ids: dict[str, list[str]] = {}
    for line in (PAYLOADS / "owners.tsv").read_text(encoding="utf-8").splitlines():
        model_id, owner = line.split("\t")
        ids.setdefault(owner, []).append(model_id)
    return ids


IDS = _by_owner()
MAKERS = {maker for maker, _ in FAMILIES if maker}


@pytest.mark.parametrize("owner", IDS)
def test_real_ids_map_to_their_makers(owner: str) -> None:
    expected = "" if owner == NOBODY else owner
    assert {model_id: owner_from_id(model_id) for model_id in IDS[owner]} == dict.fromkeys(IDS[owner], expected)


def test_table_of_ids_is_large_and_has_no_duplicates() -> None:
    ids = [model_id for model_ids in IDS.values() for model_id in model_ids]
    assert len(ids) == len(set(ids)) >= 800
    assert len(IDS) >= 100


@pytest.mark.parametrize("owner", IDS)
def test_owner_is_independent_of_case(owner: str) -> None:
    for model_id in IDS[owner]:
        assert owner_from_id(model_id.upper()) == owner_from_id(model_id), model_id


@pytest.mark.parametrize(
    ("own_id", "owner"),
    [
        pytest.param("nvidia/llama-3.1-nemotron-70b-instruct", "nvidia", id="the vendor of a derivative"),
        pytest.param("someuser/gpt-4o-clone", "someuser", id="a user's name before a family"),
        pytest.param("unsloth/gemma-3-27b-it-GGUF", "google", id="a converter is skipped"),
        pytest.param("openrouter/anthropic/claude-opus-4", "anthropic", id="a host is skipped"),
        pytest.param("openrouter/somebody/new-model", "somebody", id="a host before an unknown vendor"),
        pytest.param("projects/acme-prod/locations/eu/publishers/meta/models/x", "meta", id="a maker within a path"),
        pytest.param("projects/acme-prod/locations/eu/models/x", "", id="a path without a maker"),
        pytest.param("deepseek-r1-distill-qwen-32b", "deepseek", id="a distillate is attributed to its maker"),
        pytest.param("text-embedding-nomic-embed-text-v1.5", "nomic", id="LM Studio's prefix"),
        pytest.param("eu.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic", id="Bedrock's region and vendor"),
    ],
)
def test_vendor_part_takes_precedence_over_the_family(own_id: str, owner: str) -> None:
    assert owner_from_id(own_id) == owner


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=300) | st.text("abcdeglmopt-./:@ 0123", max_size=40))
def test_owner_of_any_id_is_short_printable_and_canonical(own_id: str) -> None:
    owner = owner_from_id(own_id)
    assert len(owner) <= 64
    assert owner.isprintable()
    assert "/" not in owner
    assert canonical(owner) == owner
    assert owner not in PLACEHOLDER_OWNERS or owner == ""
    assert owner_from_id(own_id) == owner


# Reported owners


@pytest.mark.parametrize(
    ("reported", "owner"),
    [
        pytest.param("OpenAI", "openai", id="capital letters"),
        pytest.param("openai-internal", "openai", id="openai-internal"),
        pytest.param("Alibaba Cloud", "alibaba", id="a space"),
        pytest.param("  Moonshot\tAI ", "moonshot", id="more spaces"),
        pytest.param("DeepSeek / Meta", "deepseek", id="two makers: the first one"),
        pytest.param("Mistral AI", "mistral", id="Mistral AI"),
        pytest.param("mistralai", "mistral", id="mistralai"),
        pytest.param("Meta", "meta", id="Meta"),
        pytest.param("meta-llama", "meta", id="meta-llama"),
        pytest.param("google gemini", "google", id="One-API's Gemini"),
        pytest.param("zhipu_4v", "zhipu", id="New-API's Zhipu"),
        pytest.param("xunfei", "iflytek", id="One-API's iFlytek"),
        pytest.param("stepai", "stepfun", id="StepFun"),
        pytest.param("z-ai", "zhipu", id="Z.ai"),
        pytest.param("01-ai", "01ai", id="01.AI"),
        pytest.param("claude", "anthropic", id="claude"),
        pytest.param("SDAIA", "sdaia", id="SDAIA"),
        pytest.param("some-lab", "some-lab", id="an unknown maker"),
        pytest.param("某公司", "某公司", id="a Chinese name"),
        pytest.param("team/a", "team-a", id="a slash, which would look like the end of the owner in `owner/id`"),
        pytest.param("", "", id="empty (ctyun, MaaS)"),
        pytest.param("   ", "", id="spaces only"),
        pytest.param("system", "", id="system (DashScope)"),
        pytest.param("library", "", id="library (Ollama)"),
        pytest.param("custom", "", id="custom (One-API)"),
        pytest.param("vllm", "", id="vllm"),
        pytest.param("llamacpp", "", id="llama.cpp"),
        pytest.param("organization_owner", "", id="organization_owner (LM Studio)"),
        pytest.param("organization-owner", "", id="organization-owner (OpenAI's example)"),
        pytest.param("unknown", "", id="unknown (PPIO)"),
        pytest.param("N/A", "", id="not available"),
        pytest.param("no-reply@sambanova.example", "", id="an e-mail address (SambaNova)"),
        pytest.param("the-model", "", id="the model's own id (TGI)"),
        pytest.param("org-AbCdEf1234567890aBcDeF", "", id="an organization's id"),
        pytest.param("user-abcdef1234567890abcdef", "", id="a user's id"),
        pytest.param("Cerebras", "", id="a host"),
        pytest.param("vertex-ai", "", id="a host (New-API)"),
        pytest.param("Azure", "", id="a host (One-API)"),
        pytest.param("mlx-community", "", id="a converter (LM Studio)"),
        pytest.param("evil\x00name", "", id="NUL"),
        pytest.param("evil\x1b[2J", "", id="an escape"),
        pytest.param("\u202eevil", "", id="right to left"),
        pytest.param("x" * 65, "", id="too long"),
    ],
)
def test_reported_owner_is_canonical_or_empty(reported: str, owner: str) -> None:
    assert owner_from_entry(reported, "the-model") == owner


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=100))
def test_any_reported_owner_becomes_short_printable_and_canonical(reported: str) -> None:
    owner = owner_from_entry(reported, "the-model")
    assert len(owner) <= 64
    assert owner.isprintable()
    assert "/" not in owner
    assert owner not in PLACEHOLDER_OWNERS | HOSTS or owner == ""


# Reported owners and ids together

REPORTED = PAYLOADS / "reported_owners.tsv"
GATEWAYS = REPORTED.read_text(encoding="utf-8").split("\n\n")[1:]
"""Each: a line `# name: habit`, and lines of a reported owner, the owner, and ids."""
BASE_IDS = {
    model_id: owner
    for owner, ids in IDS.items()
    if owner in MAKERS
    for model_id in ids
    if "/" not in model_id and not model_id.startswith("ft:")
}
"""Ids of known families without a vendor part, and their makers."""


def _pairs(gateway: str) -> dict[tuple[str, str], str]:
    """(reported owner, id) -> the owner, "" if neither names one."""
    rows = [line.split("\t") for line in gateway.splitlines() if not line.startswith("#")]
    return {(reported, own_id): owner.strip("-") for reported, owner, ids in rows for own_id in ids.split(" ")}


@pytest.mark.parametrize("gateway", GATEWAYS, ids=[gateway.partition(":")[0].strip("# ") for gateway in GATEWAYS])
def test_owner_is_found_in_the_ids_and_owners_of_gateways(gateway: str) -> None:
    expected = _pairs(gateway)
    assert {(reported, own_id): owner_of_model(reported, own_id) for reported, own_id in expected} == expected


def test_table_of_reported_owners_is_large() -> None:
    assert sum(len(_pairs(gateway)) for gateway in GATEWAYS) >= 400
    assert len(GATEWAYS) >= 25


def test_no_other_maker_owns_a_known_family() -> None:
    owners = {
        (reported, own_id): owner_of_model(reported, own_id)
        for reported in MAKERS | set(SPELLINGS.values())
        for own_id in BASE_IDS
    }
    assert [pair for pair, owner in owners.items() if owner != BASE_IDS[pair[1]]] == []


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(HOSTS | PLACEHOLDER_OWNERS)), st.sampled_from(sorted(BASE_IDS)))
def test_gateways_channels_and_placeholders_never_own_a_model(reported: str, own_id: str) -> None:
    assert owner_of_model(reported, own_id) == BASE_IDS[own_id]
    assert owner_of_model(reported, "house-model") == ""


def test_unknown_name_does_not_own_a_known_family() -> None:
    expected = {own_id: owner for own_id, owner in BASE_IDS.items() if own_id not in COMMON_WORDS}
    assert {own_id: owner_of_model("acme-corp", own_id) for own_id in expected} == expected


@pytest.mark.parametrize("own_id", sorted(COMMON_WORDS))
def test_unknown_name_may_own_a_model_that_is_named_like_a_common_word(own_id: str) -> None:
    assert (owner_of_model("acme-corp", own_id), owner_of_model("vllm", own_id)) == ("acme-corp", owner_from_id(own_id))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted({*HOSTS, *PLACEHOLDER_OWNERS, *SPELLINGS, *MAKERS})),
    st.sampled_from(["", " ", "-", "_", "."]),
    st.booleans(),
)
def test_case_and_separators_of_reported_owners_make_no_difference(name: str, separator: str, upper: bool) -> None:
    written = separator.join(re.split("[-_. ]", name))
    assert owner_from_entry(written.upper() if upper else written, "m") == owner_from_entry(name, "m")


def test_names_of_open_families_begin_patterns() -> None:
    assert [name for name in OPEN if not any(pattern.startswith(name) for _, pattern in _patterns())] == []


# The tables


def test_names_in_the_tables_are_canonical() -> None:
    assert {maker: canonical(maker) for maker in MAKERS} == {maker: maker for maker in MAKERS}
    assert {maker: canonical(maker) for maker in SPELLINGS.values()} == {maker: maker for maker in SPELLINGS.values()}
    names = [*SPELLINGS, *PLACEHOLDER_OWNERS, *HOSTS, *PLACES]
    assert [name for name in names if name != "-".join(name.replace("/", " ").split()).lower()] == []


def test_names_are_in_only_one_table() -> None:
    tables = [set(SPELLINGS), PLACEHOLDER_OWNERS, HOSTS, PLACES]
    assert [table & other for i, table in enumerate(tables) for other in tables[:i] if table & other] == []


def test_makers_and_patterns_are_unique() -> None:
    makers = [maker for maker, _ in FAMILIES]
    patterns = [pattern for _, pattern in _patterns()]
    assert sorted(set(makers)) == sorted(makers)
    assert sorted(set(patterns)) == sorted(patterns)
    assert [pattern for pattern in patterns if pattern != pattern.lower()] == []


def test_patterns_are_not_shadowed_by_patterns_of_other_makers() -> None:
    shortest = {re.sub(r"\[(.)[^]]*\]", r"\1", pattern).replace("*", ""): maker for maker, pattern in _patterns()}
    assert {name: owner_from_id(name) for name in shortest} == shortest


def _patterns() -> list[tuple[str, str]]:
    return [(maker, pattern) for maker, patterns in FAMILIES for pattern in patterns]
