"""The JSON document that `check` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from proxy.catalog import Catalog
from proxy.cli.against import Differences
from proxy.cli.against_report import differences_object
from proxy.cli.audit import Audit, errors_of
from proxy.cli.call_result import CallResult
from proxy.cli.check_report import merged_models
from proxy.cli.findings import Finding
from proxy.config.problems import Problem
from proxy.upstream.list_url import list_url


def document_of_file(
    problems: Sequence[Problem], warnings: Sequence[str] = (), findings: Sequence[Finding] = ()
) -> dict[str, Any]:
    """The JSON document of a file that was only read: it has problems, or providers are not to be contacted."""
    is_ok = not problems and not errors_of(findings)
    read = {"ok": is_ok, "problems": problems, "warnings": warnings, "findings": findings}
    return {**_document(None, None), **read}


def document(
    audit: Audit,
    key: str | None = None,
    *,
    is_ok: bool,
    found: Differences | None = None,
    calls: Sequence[CallResult] | None = None,
) -> dict[str, Any]:
    """The JSON document after all providers were contacted. Its fields are documented in the help text of `check`.

    `is_ok`: whether there are no errors.
    """
    return {
        **_document(audit, key),
        "ok": is_ok and (found is None or found.is_empty),
        "warnings": audit.config.warnings,
        "against": found and differences_object(found),
        "calls": calls,
    }


def _document(audit: Audit | None, key: str | None) -> dict[str, Any]:
    catalog = audit.catalog_of(key) if audit else Catalog(())
    return {
        "ok": False,
        "problems": (),
        "warnings": (),
        "providers": list(_provider_objects(audit)) if audit else (),
        "key": key,
        "models": [
            {
                "id": model.id,
                "owned_by": model.owned_by,
                "created": model.created,
                "offers": [{"provider": offer.provider, "id": offer.entry.id} for offer in model.offers],
            }
            for model in catalog.models
        ],
        "merged": [model.id for model in merged_models(catalog)],
        "duplicates": audit.config.merge.duplicates if audit else None,
        "other_duplicates": audit.other_duplicates() if audit else (),
        "findings": audit.findings(key) if audit else (),
        "against": None,
        "calls": None,
    }


def _provider_objects(audit: Audit) -> Iterator[dict[str, Any]]:
    for result in audit.results:
        provider, fetched, error = result.provider, result.fetched, result.error or result.shortcoming
        yield {
            "name": provider.name,
            "kind": provider.kind,
            "optional": provider.optional,
            "state": result.state,
            "url": list_url(provider) if provider.is_remote else None,
            "models": len(result.entries),
            "listed": len(audit.offers[provider.name]),
            "pages": fetched.pages if fetched else 0,
            "attempts": fetched.attempts if fetched else error.attempts if error else 0,
            "seconds": round(result.seconds, 3),
            "dropped": fetched.dropped if fetched else {},
            "error": {"kind": error.kind, "reason": error.reason} if error else None,
            "reason": None,
        }
    for skipped in audit.config.skipped:
        yield {
            "name": skipped.name, "kind": None, "optional": skipped.state == "skipped", "state": skipped.state,
            "url": None, "models": 0, "listed": 0, "pages": 0, "attempts": 0, "seconds": 0.0, "dropped": {},
            "error": None, "reason": skipped.reason,
        }  # fmt: skip
