"""What differs between two lists of a provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proxy.catalog import Offer
from proxy.cooperative import run_now
from proxy.dialects.entry import Entry
from proxy.store.differences import MAX_MODELS, differences
from proxy.telemetry.changes import Change, FieldChange
from tests.fakes import entry

NOON = 1_800_000_000.0


def offer(model: str | Mapping[str, object], provider: str = "a") -> Offer:
    read = entry(model)
    return Offer(read.id, provider, read.owner or provider, read)


def changes(
    before: Sequence[str | Mapping[str, object]],
    after: Sequence[str | Mapping[str, object]],
    **others: Sequence[str],
) -> Sequence[tuple[str, str, tuple[FieldChange, ...]]]:
    """Of provider `a`."""
    offers = {"a": [offer(each) for each in after]}
    offers |= {name: [offer(each, name) for each in models] for name, models in others.items()}
    found = run_now(differences("a", [offer(each) for each in before], offers, NOON))
    assert all((change.provider, change.at) == ("a", NOON) for change in found)
    return [(change.type, change.model, change.fields) for change in found]


def test_models_are_added_and_removed_in_the_order_of_their_lists() -> None:
    assert changes(["m", "n", "o"], ["x", "n", "y"]) == [
        ("model_added", "x", ()),
        ("model_added", "y", ()),
        ("model_removed", "m", ()),
        ("model_removed", "o", ()),
    ]


def test_a_model_of_other_providers_changes_its_providers() -> None:
    assert changes(["m"], ["n"], b=["m", "n"], c=["n", "z"]) == [
        ("model_changed", "n", (FieldChange("providers", ["b", "c"], ["a", "b", "c"]),)),
        ("model_changed", "m", (FieldChange("providers", ["a", "b"], ["b"]),)),
    ]


def test_owner_and_facts_are_compared() -> None:
    before = {"id": "m", "owned_by": "x", "context_length": 8192, "max_output_tokens": 1, "load": 1}
    after = {"id": "m", "owned_by": "y", "context_length": 8192, "max_output_tokens": 2, "load": 2}

    assert changes([before], [after]) == [
        ("model_changed", "m", (FieldChange("owned_by", "x", "y"), FieldChange("max_output_tokens", 1, 2)))
    ]


def test_prices_are_compared_one_by_one() -> None:
    before, after = (
        Offer("m", "a", "x", Entry("m", extra=b'{"pricing":{"prompt":"%b","completion":"2"}}' % price))
        for price in (b"0.1", b"0.2")
    )
    (change,) = run_now(differences("a", [before], {"a": [after]}, NOON))

    assert change.fields == (FieldChange("pricing.prompt", "0.1", "0.2"),)


def test_a_fact_that_appears_was_missing_before() -> None:
    assert changes(["m"], [{"id": "m", "shutdown_at": 1800000000}]) == [
        ("model_changed", "m", (FieldChange("shutdown_at", None, 1800000000),))
    ]


def test_fields_that_are_no_facts_do_not_count() -> None:
    assert changes([{"id": "m", "load": 1, "created": 5}], [{"id": "m", "load": 2, "created": 6}]) == []


def test_long_values_are_cut() -> None:
    ((_, _, (field,)),) = changes(["m"], [{"id": "m", "display_name": "x" * 1000}])

    assert field == FieldChange("display_name", None, '"' + "x" * 299)


def test_of_many_models_the_first_are_named_and_the_others_counted() -> None:
    before = [offer("kept")]
    after = {"a": [*before, *(offer(f"m{number}") for number in range(20_000))]}

    found = run_now(differences("a", before, after, NOON))

    assert len(found) == MAX_MODELS + 1
    assert found[0].model == "m0"
    assert found[-1] == Change(at=NOON, type="model_added", provider="a", more=20_000 - MAX_MODELS)


def test_long_lists_are_compared_in_steps() -> None:
    before = [offer({"id": f"m{number}", "context_length": 1}) for number in range(10_000)]
    after = [offer({"id": f"m{number}", "context_length": 2}) for number in range(10_000)]

    assert sum(1 for _ in differences("a", before, {"a": after}, NOON)) > 200
