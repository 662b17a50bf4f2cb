"""What a provider's list keeps when its settings change: pure functions over two configurations of one provider."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from proxy.config import Config, Provider
from proxy.dialects import Dialect

_SOURCE = ("base_url", "settings")
"""Settings that decide, besides the dialect, where entries come from and how they are read."""
_REQUEST = (
    "iam", "oauth", "access_key_id", "secret_access_key", "session_token", "headers", "proxy", "ca_file", "timeout",
    "retries", "max_body", "max_pages", "max_models", "all_api_keys", "extra_fields", "dialect",
)  # fmt: skip
"""Settings of the requests for a list, besides those that decide what its entries are."""
RULES = ("where", "hide_retired")
"""Rules that read fields which are not shown. Stored lists contain their results instead: see `storable`."""
_SHARED_RULES = ("owners", "merge", "facts", "has_fact_rules")
"""The rules, besides the settings of a provider, that turn its entries into offers."""
FETCH_SETTINGS = (*_SOURCE, *_REQUEST, *RULES)
"""All settings on which a stored list depends."""


def reads_alike(before: Provider, after: Provider) -> bool:
    """Whether entries that were read with the earlier settings can be shown with the later ones until the next fetch.

    They cannot if they come from elsewhere, or would be read in another way: no rule may deny an id that was read
    differently. Credentials do not count, as with those in files: replacing one must not empty the list. Nor do the
    fields that only rules read: a rule does not match an entry without them.
    """
    # Entries contain the private fields that `extra_fields` names. Without it nothing would remove them again.
    shows_private = bool(before.extra_fields) and after.extra_fields is None
    return _are_equal(_SOURCE, before, after) and _read_alike(before.dialect, after.dialect) and not shows_private


def fetches_alike(before: Provider, after: Provider) -> bool:
    """Whether the later settings would send the same requests, and read the responses in the same way."""
    return reads_alike(before, after) and _are_equal(_REQUEST, before, after)


def has_same_rules(before: Provider, after: Provider) -> bool:
    """Whether the results of rules in a stored list are those of the later settings, too."""
    return _are_equal(RULES, before, after)


def _are_equal(names: Iterable[str], before: Provider, after: Provider) -> bool:
    return all(getattr(before, name) == getattr(after, name) for name in names)


def _read_alike(before: Dialect, after: Dialect) -> bool:
    return before == after or _without_fields_of_rules(before) == _without_fields_of_rules(after)


def _without_fields_of_rules(row: Dialect) -> Dialect:
    """A row without what `where` and `hide_retired` add to it."""
    extra = {name: paths for name, paths in row.extra.items() if name != "shutdown_at"}
    return replace(row, kept=(), extra=extra, also=tuple(map(_without_fields_of_rules, row.also)))


def shares_rules(before: Config, after: Config) -> bool:
    """Whether entries become the same offers, if the settings of their provider are the same."""
    has_same_style = before.server.facts_style == after.server.facts_style
    return has_same_style and all(getattr(before, name) == getattr(after, name) for name in _SHARED_RULES)


def lists_alike(before: Config, after: Config) -> bool:
    """Whether lists of the same offers are the same, if both share the rules."""
    return before.providers == after.providers and before.models == after.models
