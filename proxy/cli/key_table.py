"""The table of `models-proxy keys list`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from proxy.cli.key_edits import digests
from proxy.cli.key_positions import Entry
from proxy.cli.terminal import Column

_COLUMNS = {
    "name": "fold", "group": "fold", "models": "fold", "valid from": "left", "expires": "left", "allowed IPs": "fold",
    "admin": "left", "keys": "right", "limits": "fold", "file": "fold",
}  # fmt: skip
"""Heading of a column -> its layout."""


def _is_shown(column: str, keys: Sequence[dict[str, Any]]) -> bool:
    """Columns in which all cells would be equal are left out."""
    optional = {"valid from": "not_before", "allowed IPs": "allowed_ips", "limits": "limits"}
    if column == "file":
        return len({key["file"] for key in keys}) > 1
    return column not in optional or any(key[optional[column]] for key in keys)


def described(entry: Entry, path: str) -> dict[str, Any]:
    expires, not_before = entry.get("expires"), entry.get("not_before")
    return {
        "name": str(entry.get("name")),
        "group": entry.get("group"),
        "models": entry.get("models"),
        "not_before": None if not_before is None else str(not_before),
        "expires": None if expires is None else str(expires),
        "expired": str(expires) < today().isoformat() if expires else False,
        "allowed_ips": entry.get("allowed_ips"),
        "admin": entry.get("admin") is True,
        "limits": entry.get("limits"),
        "digests": len(digests(entry)),
        "file": path,
    }


def _row(key: dict[str, Any], columns: Sequence[str]) -> Sequence[str]:
    cells = {
        "name": key["name"],
        "group": key["group"] or "-",
        "models": "of the group" if key["models"] is None else ", ".join(map(str, key["models"])) or "none",
        "valid from": key["not_before"] or "-",
        "expires": (key["expires"] or "-") + " (expired)" * key["expired"],
        "allowed IPs": "everywhere" if key["allowed_ips"] is None else ", ".join(map(str, key["allowed_ips"])),
        "admin": "yes" if key["admin"] else "-",
        "keys": str(key["digests"] or "variable"),
        "limits": _limits(key),
        "file": key["file"],
    }
    return [cells[column] for column in columns]


def _limits(key: dict[str, Any]) -> str:
    """The limits of a key itself, in one line."""
    limits = key["limits"]
    if not isinstance(limits, dict):
        return "of the group" if key["group"] else "-"
    values = ((name, limits[name]) for name in limits)
    return ", ".join(f"{name} {' '.join(map(str, each)) if isinstance(each, list) else each}" for name, each in values)


def table(keys: Sequence[dict[str, Any]]) -> tuple[Sequence[Column], Sequence[Sequence[str]]]:
    """The columns and the rows of keys as `described` returns them."""
    columns = [name for name in _COLUMNS if _is_shown(name, keys)]
    return [(name, _COLUMNS[name]) for name in columns], [_row(key, columns) for key in keys]


def today() -> date:
    return datetime.now(UTC).date()
