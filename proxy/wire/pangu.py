"""The Pangu contract: pages of versions, and errors."""

from __future__ import annotations

from collections.abc import Iterable

from proxy.errors import ApiError
from proxy.wire.openai import _encode


def versions_page(total: int, versions: Iterable[bytes]) -> bytes:
    """The answer of the Pangu contract; `versions` are JSON objects as the provider sent them."""
    return b'{"total":%d,"versions":[%b]}' % (total, b",".join(versions))


def pangu_error(error: ApiError) -> bytes:
    """The body of an error in the Pangu contract."""
    return _encode({"error_code": f"PROXY.{error.status:04d}", "error_msg": error.message, "solution_msg": error.hint})
