"""Explanations of configurations and lists, without a server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from proxy.catalog import per_provider
from proxy.catalog.names import Source
from proxy.cli.explain_text import lines_of
from proxy.config import Config, Provider
from proxy.cooperative import run_now
from proxy.dialects import read_entry, restore_collisions
from proxy.dialects.entry import Entry
from proxy.explain.calls import CallStates, NoCalls
from proxy.explain.context import Context, Lists, ProviderList
from proxy.explain.explanation import explaining
from proxy.explain.values import Explanation
from proxy.states import ListState
from proxy.store.names import Lazy, name_index
from tests.fakes import config_of

NOW = 1_800_000_000.0
Listed = Mapping[str, Sequence[str | Mapping[str, Any]]]
"""Provider -> the models that it lists, as ids or in the OpenAI dialect. Providers that are missing do not respond."""


def context_of(config: Config, listed: Listed, calls: CallStates | None = None) -> Context:
    lists = []
    for provider in config.providers:
        is_known = provider.name in listed or not provider.is_remote
        entries = restore_collisions([_entry(provider, each) for each in listed.get(provider.name, ())])
        offers = tuple(per_provider(provider, config, lambda: NOW)(entries))
        known: ListState = "ok" if provider.is_remote else "declared"
        state: ListState = known if is_known else "failing"
        source = Source(provider, entries, offers, is_known)
        lists.append(ProviderList(source, state, "" if is_known else "connection refused"))
    index = Lazy(lambda: name_index([each.source for each in lists], config))
    return Context(config, Lists(lists, index), calls or NoCalls(), NOW)


def _entry(provider: Provider, model: str | Mapping[str, Any]) -> Entry:
    payload = {"id": model} if isinstance(model, str) else model
    return read_entry(provider.dialect, msgspec.json.encode(payload), {})


def explained(
    text: str, listed: Listed, model: str, key: str | None = None, calls: CallStates | None = None
) -> Explanation:
    return explanation_of(config_of(text), listed, model, key, calls)


def explanation_of(
    config: Config, listed: Listed, model: str, key: str | None = None, calls: CallStates | None = None
) -> Explanation:
    context = context_of(config, listed, calls)
    caller = context.caller(key)
    assert caller is not None
    return run_now(explaining(context, model, caller, context.names(caller)))


def text_of(explanation: Explanation) -> str:
    return "\n".join(lines_of(explanation)) + "\n"
