"""Redact what the caller must not see in a provider's error, and rename models. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from proxy.upstream.redaction import redact_known

_ACCOUNT_NAMES = frozenset(
    {
        *("organization", "organizationid", "orgid", "accountid", "projectid", "projectnumber", "teamid", "tenantid"),
        *("workspaceid", "subscriptionid", "customerid", "userid", "apikeyid", "keyid"),
    }
)
"""Members with account ids, in lower case without separators."""


class Redaction:
    """Redacts texts and JSON values."""

    def __init__(
        self,
        secrets: Sequence[str],
        credentials: Sequence[str],
        ids: Mapping[str, str],
        *,
        hides_forms: bool = False,
    ) -> None:
        """`credentials` are also redacted where they are masked. `ids`: requested id -> the provider's id.

        `hides_forms`: longer forms of an id, such as `vendor/gpt-5-2025-08-07`, are replaced, too.
        """
        self._secrets = secrets
        self._credentials = credentials
        self._names = {own: public for public, own in ids.items() if own != public or hides_forms}
        self._pattern = _any_form if hides_forms else _whole

    def text(self, text: str) -> str:
        """Return the text without secrets, account ids and queries of links, with the ids that the caller requested."""
        renamed = self._own_ids.sub(self._public_id, text) if self._own_ids else text
        return self.log_text(renamed)

    def log_text(self, text: str) -> str:
        """Return the text as operators may see it: with the provider's ids of models."""
        return redact_known(text, self._secrets, self._credentials)

    def value(self, payload: Any, name: str = "") -> Any:
        """Return a JSON value, the member `name` of its object, with all its texts redacted. Raises RecursionError."""
        if isinstance(payload, dict):
            return {self.text(key): self.value(value, key) for key, value in payload.items()}
        if isinstance(payload, list):
            return [self.value(item, name) for item in payload]
        if payload and _is_account(name) and isinstance(payload, str | int) and payload is not True:
            return "***"
        if name == "model" and payload in self._names:
            return self._names[payload]
        return self.text(payload) if isinstance(payload, str) else payload

    @cached_property
    def _own_ids(self) -> re.Pattern[str] | None:
        patterns = [self._pattern(own) for own in sorted(self._names, key=len, reverse=True)]
        return re.compile("|".join(patterns)) if patterns else None

    def _public_id(self, match: re.Match[str]) -> str:
        longest_first = sorted(self._names, key=len, reverse=True)
        return next(self._names[own] for own in longest_first if match[0].startswith(own))


def _is_account(name: str) -> bool:
    return re.sub("[_-]", "", name).lower() in _ACCOUNT_NAMES


def _any_form(own_id: str) -> str:
    """Return a pattern of an id with everything that makes it longer, except for the vendor in front of it."""
    if own_id.isalpha():
        return _whole(own_id)
    return rf"(?<![\w-]){re.escape(own_id)}(?:[-.:@/]?\w++)*+"


def _whole(own_id: str) -> str:
    """Return a pattern of an id that is not a part of a longer one. An ordinary word is an id only in quotes."""
    word = re.escape(own_id)
    if own_id.isalpha():
        return rf"(?<=[\"'`]){word}(?=[\"'`])"
    return rf"(?:(?<=\bmodels/)|(?<![\w-])(?<!\w[./@])){word}(?![\w-]|[./:@]\w)"
