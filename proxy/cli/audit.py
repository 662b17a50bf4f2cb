"""What follows from contacting every provider once: catalogs, findings, and whether `check` fails. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

from proxy.access import Policy
from proxy.catalog import Catalog
from proxy.catalog.virtual import catalog_of
from proxy.cli.audited_models import AuditedModels, offers_of
from proxy.cli.findings import Finding, Findings
from proxy.cli.probe_result import ProbeResult
from proxy.cli.text import count
from proxy.config import Config
from proxy.config.fields import Globs
from proxy.config.identities import GROUP
from proxy.config.settings import Merge
from proxy.cooperative import run_now
from proxy.errors import UpstreamError

DUPLICATES: tuple[str, ...] = get_args(Merge.model_fields["duplicates"].annotation)


@dataclass(frozen=True)
class DuplicatesPreview:
    """The catalog under another value of `merge.duplicates`."""

    duplicates: str
    models: int
    collisions: Mapping[str, tuple[str, ...]]
    """Public id -> the providers that would share it, in the order of the file."""


class Audit:
    """The results of all providers, in the order of the file, and what follows from them."""

    def __init__(self, config: Config, results: Sequence[ProbeResult], now: float) -> None:
        """`now`: Unix seconds, to find expired keys."""
        self._models = AuditedModels(config, results, now)
        self.config = config
        self.now = now
        self.results = self._models.results
        self.offers = self._models.offers
        self.failed = tuple(result.provider.name for result in results if result.error)
        self.partial = tuple(r.provider.name for r in results if r.fetched and r.fetched.partial)
        """Providers whose list may lack models."""
        self.empty = tuple(result.provider.name for result in results if result.state == "empty")

    def catalog(self, rules: Iterable[str] = ("*",)) -> Catalog:
        """The catalog that these rules allow."""
        return run_now(catalog_of(self._models.all_offers, Policy(rules), self.config))

    def catalog_of(self, key: str | None) -> Catalog:
        """The catalog of one key, or of all models."""
        return self.catalog(self.rules_of(key))

    def rules_of(self, key: str | None) -> Globs:
        """The access rules of one key, or of a group (`group:staff`); all models for None."""
        return ("*",) if key is None else self.config.rules_of(key) or ()

    def other_duplicates(self) -> tuple[DuplicatesPreview, ...]:
        """A preview of each value of `merge.duplicates` that the file does not set."""
        chosen = self.config.merge.duplicates
        return tuple(self._preview(duplicates) for duplicates in DUPLICATES if duplicates != chosen)

    def _preview(self, duplicates: str) -> DuplicatesPreview:
        other = self.config.merge.model_copy(update={"duplicates": duplicates})
        by_id: dict[str, list[str]] = {}
        for name, offers in offers_of(replace(self.config, merge=other), self.results, self.now).items():
            for offer in offers:
                by_id.setdefault(offer.id, []).append(name)
        shared = {model_id: tuple(by_id[model_id]) for model_id in sorted(by_id) if len(by_id[model_id]) > 1}
        return DuplicatesPreview(duplicates, len(by_id), shared)

    def findings(self, key: str | None = None) -> tuple[Finding, ...]:
        """All findings, or only those of one key and of its group, or of a group."""
        if key is None:
            return self._findings
        group = next((each.group for each in self.config.keys if each.name == key), key.removeprefix(GROUP))
        holders = {f"key {key}", f"group {group}"}
        return tuple(finding for finding in self._findings if finding.who in holders)

    @cached_property
    def _findings(self) -> tuple[Finding, ...]:
        return Findings(self._models).all()

    def errors(self) -> tuple[Finding, ...]:
        return errors_of(self._findings)


def findings_of_file(config: Config, now: float) -> tuple[Finding, ...]:
    """The findings about a configuration that was read offline. `now`: Unix seconds.

    They are those that remain if no provider responds. While values are not available, the providers and callers are
    not all known: then only those that do not depend on models.
    """
    not_fetched = UpstreamError("no_connection", "not contacted")
    results = [ProbeResult(each, error=not_fetched if each.is_remote else None) for each in config.providers]
    findings = Findings(AuditedModels(config, results, now))
    is_complete = not config.unchecked and all(each.state == "disabled" for each in config.skipped)
    return findings.all() if is_complete else findings.without_models()


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with which the configuration shows models that it should hide."""
    return tuple(finding for finding in findings if finding.kind == "hides_nothing")


def failures(audit: Audit, *, strict: bool = False) -> tuple[str, ...]:
    """Why `check` fails, one sentence each. `strict`: optional, skipped, incomplete and empty providers count, too."""
    results = [result for result in audit.results if strict or not result.provider.optional]
    failed = [result.provider.name for result in results if result.error]
    reasons = []
    if failed:
        hint = "fix the errors above" if strict else "fix the errors above, or set `optional: true`"
        reasons.append(f"{count(len(failed), 'provider')} failed: {', '.join(failed)}; {hint}")
    if strict:
        empty = [result.provider.name for result in audit.results if _lacks_models(result, audit)]
        skipped = [provider.name for provider in audit.config.skipped if provider.state == "skipped"]
        for names, state in ((skipped, "skipped"), (audit.partial, "incomplete"), (empty, "without models")):
            if names:
                reasons.append(f"{count(len(names), 'provider')} {state}: {', '.join(names)} (--strict)")
    return (*reasons, *map(str, audit.errors()))


def _lacks_models(result: ProbeResult, audit: Audit) -> bool:
    """Whether a provider responded, but none of its models is shown, and that is not declared as normal."""
    is_normal = result.provider.may_be_empty and not result.entries
    return not result.error and not audit.offers[result.provider.name] and not is_normal
