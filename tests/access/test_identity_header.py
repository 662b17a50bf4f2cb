"""Users whom a login proxy names: only connections from its address are trusted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from proxy.access import Access
from proxy.asgi import Header
from proxy.errors import InvalidKey, NoGroup
from tests.fakes import config_of, digest

ALICE = "sk-canary-of-alice"
CONFIG = f"""
server: {{trusted_proxies: [203.0.113.0/24]}}
providers: [{{name: a, base_url: 'http://127.0.0.1/v1'}}]
groups: {{staff: {{models: [m]}}, guests: {{models: [n], call: false}}, default: {{models: [free]}}}}
keys: [{{name: alice, hash: '{digest(ALICE)}', models: [m]}}]
auth:
  header:
    name: X-Auth-Request-Groups
    user: X-Auth-Request-User
    from: [10.1.2.3/32, 2001:db8::/64]
    groups: {{users: staff, guests: guests}}
    admin: [ops]
"""
ACCESS = Access(config_of(CONFIG), lambda: 0.0)
USER, GROUPS = "x-auth-request-user", "x-auth-request-groups"


class Request:
    """A request from an address."""

    def __init__(self, peer: str, headers: Sequence[tuple[str, str | bytes]], query: bytes = b"") -> None:
        self.peer = peer
        self.forwarded_for = b""
        self.cost = 0
        self.query = query
        self.headers: Sequence[Header] = [
            (name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers
        ]
        self.credentials = [header for header in self.headers if header[0] in (b"authorization", b"api-key")]


def who(*headers: tuple[str, str | bytes], peer: str = "10.1.2.3", query: bytes = b"") -> str:
    request = Request(peer, headers, query)
    try:
        caller = ACCESS.caller_of(request)
    except (InvalidKey, NoGroup) as error:
        return error.code
    return f"{caller.identity or 'nobody'} in {caller.group}{' admin' * caller.admin}"


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ([(USER, "u"), (GROUPS, "users")], "header:u in staff"),
        ([(USER, "u"), (GROUPS, "other, guests ,users")], "header:u in staff"),
        ([(USER, "u"), (GROUPS, "guests,ops")], "header:u in guests admin"),
        ([(USER, " alice@example.com "), (GROUPS, "users\t, x")], "header:alice@example.com in staff"),
        ([(USER, "alice"), (GROUPS, "users")], "header:alice in staff"),
        ([(USER, "Zoë"), (GROUPS, "users")], "header:Zo%C3%AB in staff"),
        ([], "nobody in default"),
        ([(USER, ""), (GROUPS, "")], "nobody in default"),
        ([(USER, "u")], "no_group"),
        ([(USER, "u"), (GROUPS, "ops")], "no_group"),
        ([(USER, "u"), (GROUPS, "USERS")], "no_group"),
        ([(GROUPS, "users")], "invalid_api_key"),
        ([(USER, ""), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "u"), (USER, "u"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "u"), (GROUPS, "users"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, ""), (USER, "u"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, ""), (USER, "")], "invalid_api_key"),
        ([(GROUPS, ""), (GROUPS, "")], "invalid_api_key"),
        ([(USER, "u, root"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, b"\xff"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "a\tb"), (GROUPS, "users")], "invalid_api_key"),
        # Other blanks belong to names: a login can have both `u` and `u` after a no-break space.
        ([(USER, "\u00a0u"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "u\u2003"), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "u"), (GROUPS, "\u00a0users")], "no_group"),
        ([(USER, "u"), (GROUPS, "guests,ops\u3000")], "header:u in guests"),
        ([(USER, "u" * 256), (GROUPS, "users")], "invalid_api_key"),
        ([(USER, "u"), (GROUPS, "g," * 10_000 + "users")], "invalid_api_key"),
    ],
)
def test_the_headers_of_the_login_proxy_name_the_user(headers: list[tuple[str, str | bytes]], caller: str) -> None:
    assert who(*headers) == caller


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::7", True),
        ("10.1.2.4", False),
        ("2001:db8:1::7", False),
        ("203.0.113.9", False),  # of `server.trusted_proxies`
        ("127.0.0.1", False),
        ("", False),  # a Unix socket
        ("10.1.2.3.evil.example", False),
    ],
)
def test_only_the_address_of_the_connection_counts(peer: str, is_trusted: bool) -> None:
    headers = [(USER, "u"), (GROUPS, "users"), ("x-forwarded-for", "10.1.2.3"), ("forwarded", "for=10.1.2.3")]

    assert who(*headers, peer=peer) == ("header:u in staff" if is_trusted else "nobody in default")


@pytest.mark.parametrize(
    ("credential", "caller"),
    [
        (("api-key", ALICE), "alice in None"),
        (("authorization", f"Bearer {ALICE}"), "alice in None"),
        (("api-key", "sk-fake-elsewhere"), "invalid_api_key"),
        (("api-key", ""), "invalid_api_key"),
        (("authorization", "Basic eDp5"), "invalid_api_key"),
    ],
)
def test_a_request_with_any_credential_is_identified_by_that_alone(credential: tuple[str, str], caller: str) -> None:
    assert who((USER, "u"), (GROUPS, "users"), credential) == caller
    assert who((USER, "u"), (USER, "u"), credential) == caller


def test_a_key_in_the_query_is_rejected() -> None:
    assert who((USER, "u"), (GROUPS, "users"), query=b"limit=5") == "header:u in staff"
    assert who((USER, "u"), (GROUPS, "users"), query=b"key=sk-canary") == "invalid_api_key"


def test_a_request_without_user_and_credential_is_anonymous() -> None:
    assert ACCESS.is_anonymous(Request("10.1.2.3", []))
    assert ACCESS.is_anonymous(Request("10.1.2.4", [(USER, "u"), (GROUPS, "users")]))
    assert not ACCESS.is_anonymous(Request("10.1.2.3", [(USER, "u"), (GROUPS, "users")]))
    assert not ACCESS.is_anonymous(Request("10.1.2.3", [("api-key", "x")]))
