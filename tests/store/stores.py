"""Shared by the tests of the store: small configurations, and functions that read a store."""

from __future__ import annotations

from proxy.access import Policy
from proxy.store import Report, Store
from tests.fakes import FakeClock, FakeFetch, config_of, middle

ALL = Policy(["*"])

TWO = """
cache: {ttl: 100s, max_stale: 1000s, initial_wait: 4s}
providers:
  - {name: a, base_url: "http://127.0.0.1/a/v1"}
  - {name: b, base_url: "http://127.0.0.1/b/v1"}
"""
ONE = TWO.replace('  - {name: b, base_url: "http://127.0.0.1/b/v1"}\n', "")


def store_of(text: str, fetch: FakeFetch, clock: FakeClock, reports: list[Report] | None = None) -> Store:
    """A store without randomness. `reports` collects every report."""
    on_report = reports.append if reports is not None else lambda _: None
    return Store(config_of(text), fetch, clock, uniform=middle, on_report=on_report)


def listed(store: Store, policy: Policy = ALL) -> list[str]:
    return [model.id for model in store.view(policy).catalog.models]


def report(store: Store, name: str) -> Report:
    return next(report for report in store.reports() if report.name == name)
