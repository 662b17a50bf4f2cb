"""Which identities a configuration allows."""

from __future__ import annotations

import pytest

from proxy.config.identities import Identities
from tests.config.outcomes import DIGEST, PROVIDER, parsed, problems_of

NAME = "must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit"


def test_those_of_keys_are_their_names_and_those_of_users_begin_with_their_source() -> None:
    identities = Identities(["alice"], ["jwt:https://login.example|"])
    known = ["alice", "jwt:https://login.example|alice"]
    unknown = ["", "bob", "jwt:https://other.example|alice", "header:alice", "jwt:https://login.example"]

    assert [identity for identity in (*known, *unknown) if identity in identities] == known
    assert None not in identities


def test_without_users_only_keys_have_one() -> None:
    config = parsed(f"keys: [{{name: alice, hash: '{DIGEST}', models: []}}]\n{PROVIDER}")

    assert [name for name in ("alice", "bob", "", "jwt:x|alice", "header:alice") if name in config.identities] == [
        "alice"
    ]


@pytest.mark.parametrize("name", ["jwt:https", "jwt:x", "header:alice", "jwt:", "header:"])
def test_no_key_can_have_the_identity_of_a_user(name: str) -> None:
    keys = f"keys: [{{name: '{name}', hash: '{DIGEST}', models: []}}]\n"

    assert NAME in "\n".join(problems_of(keys + PROVIDER))
