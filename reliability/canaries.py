"""Made-up secrets. None of them may occur in a response or in a line of the log."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from urllib.parse import quote

CONTROL_KEY = "sk-control-canary-7f3a91c2d4e5"
ATTACKER_KEY = "sk-attacker-canary-0b1c2d3e4f5a"
PROVIDER_KEY = "sk-provider-canary/+9e8d7c6b5a49"
WRONG_KEY = "sk-wrong-canary-1122334455667"


def forms_of(secret: str) -> Iterator[bytes]:
    """The forms in which a secret can leak."""
    yield secret.encode()
    yield quote(secret, safe="").encode()
    yield secret.replace("/", "\\/").encode()
    yield base64.b64encode(secret.encode())[:-4]


FORMS = frozenset(form for secret in (CONTROL_KEY, ATTACKER_KEY, PROVIDER_KEY, WRONG_KEY) for form in forms_of(secret))


def found_in(text: bytes) -> int:
    """The number of canaries in a text."""
    return sum(form in text for form in FORMS)
