"""How metrics name callers."""

from __future__ import annotations

import pytest

from proxy.telemetry.callers import caller_label


@pytest.mark.parametrize(
    ("identity", "label"),
    [
        ("", ""),
        ("alice", "alice"),
        ("header", "header"),
        ("jwt", "jwt"),
        ("jwt:https://login.example|u-1", "jwt:https://login.example"),
        ("jwt:https://login.example:8443/realms/x|a|b", "jwt:https://login.example:8443/realms/x"),
        ("header:alice@example.com", "header:"),
        ("header:a|b", "header:"),
    ],
)
def test_keys_have_their_name_and_users_share_that_of_their_login(identity: str, label: str) -> None:
    assert caller_label(identity) == label
