"""How metrics name callers."""

from __future__ import annotations


def caller_label(identity: str) -> str:
    """The label of a caller: the name of its key, or the login of a user (`jwt:<issuer>`, `header`).

    Not of each user: their number is not bounded, and they are people.
    """
    if ":" not in identity:
        return identity
    login = identity.partition("|")[0]
    return login if login.startswith("jwt:") else login.partition(":")[0]
