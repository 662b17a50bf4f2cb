"""The results of `check --call`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class CallResult:
    """One call of a model to one provider."""

    provider: str
    id: str
    """The provider's own id."""
    target: str | None
    """Of a virtual model."""
    state: str
    """`ok`, `limited` (429), `failing` or `not_callable`."""
    path: str | None = None
    status: int | None = None
    """Of the response that a client would get."""
    seconds: float | None = None
    tokens: Mapping[str, int] | None = None
    """`{input, output}`, as the provider reports them."""
    error: Mapping[str, str] | None = None
    """`{code, message}`, as a client would get them."""
