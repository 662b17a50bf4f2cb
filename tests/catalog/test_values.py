"""The values of the catalog."""

from __future__ import annotations

import pytest

from proxy.catalog import Catalog, Model, Offer
from proxy.dialects.entry import Entry

FIRST = Offer("public", "a", "maker", Entry("own-a", created=5))
SECOND = Offer("public", "b", "other", Entry("own-b", created=3))
OTHER = Offer("Public", "b", "other", Entry("own-c"))
CATALOG = Catalog((Model((OTHER,), 0), Model((FIRST, SECOND), 3)))


def test_model_has_the_fields_of_its_first_offer_and_its_own_created() -> None:
    model = Model((FIRST, SECOND), 3)

    assert (model.id, model.owned_by, model.created) == ("public", "maker", 3)
    assert (FIRST.created, SECOND.created) == (5, 3)


@pytest.mark.parametrize("unknown", ["", "PUBLIC", "public ", "own-a", "maker/public", "p"])
def test_find_returns_only_exact_public_ids(unknown: str) -> None:
    assert CATALOG.find("public") == Model((FIRST, SECOND), 3)
    assert CATALOG.find("Public") == Model((OTHER,), 0)
    assert CATALOG.find(unknown) is None


def test_catalog_lists_its_providers() -> None:
    assert CATALOG.providers() == {"a", "b"}
    assert Catalog(()).providers() == frozenset()


def test_catalogs_with_equal_models_are_equal() -> None:
    assert Catalog(CATALOG.models) == CATALOG
    assert Catalog(()) != CATALOG


@pytest.mark.parametrize(
    ("value", "name"), [(FIRST, "id"), (FIRST.entry, "id"), (CATALOG.models[0], "created"), (CATALOG, "models")]
)
def test_values_are_immutable(value: object, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, name, "changed")
