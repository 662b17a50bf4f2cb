"""The Pangu contract: pages of versions, and errors."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.errors import ApiError
from proxy.wire.encoder import encode
from proxy.wire.format import Format


def versions_page(total: int, versions: Iterable[bytes]) -> bytes:
    """Return one page of versions. `versions`: JSON objects as the provider sent them."""
    return b'{"total":%d,"versions":[%b]}' % (total, b",".join(versions))


def pangu_error(error: ApiError) -> bytes:
    """Return the body of an error in the Pangu contract."""
    return encode({"error_code": f"PROXY.{error.status:04d}", "error_msg": error.message, "solution_msg": error.hint})


FORMAT = Format(
    "pangu",
    recognizes=lambda path: path.startswith(("/v1/workspaces/", "/workspaces/")),
    error=pangu_error,
)
