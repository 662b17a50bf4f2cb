"""The labels of callers in metrics."""

from __future__ import annotations


def caller_label(identity: str) -> str:
    """Return the label of a caller: the name of its key, or the login of a user (`jwt:<issuer>`, `header`). Users have
    no label of their own: their number is not bounded, and it would be personal data.
    """
    if ":" not in identity:
        return identity
    login = identity.partition("|")[0]
    return login if login.startswith("jwt:") else login.partition(":")[0]
