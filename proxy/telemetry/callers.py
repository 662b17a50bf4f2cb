"""The labels of callers in metrics."""

from __future__ import annotations


def caller_label(identity: str) -> str:
    """Return the label of a caller: the name of its key, or the login of a user (`jwt:<issuer>`, `header:`).

    Users have no label of their own: their number is not bounded, and it would be personal data. That of a login
    contains a colon, so no key has it.
    """
    if ":" not in identity:
        return identity
    source, colon, _ = identity.partition(":")
    return identity.partition("|")[0] if source == "jwt" else source + colon
