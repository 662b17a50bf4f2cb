"""Convert entries to a catalog: pure functions over values."""

from proxy.catalog.fetch import Fetch, FetchResult
from proxy.catalog.merge import merge
from proxy.catalog.provider_rules import per_provider
from proxy.catalog.values import Catalog, Model, Offer

__all__ = ["Catalog", "Fetch", "FetchResult", "Model", "Offer", "merge", "per_provider"]
