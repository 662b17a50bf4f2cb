"""Authentication: the valid keys of exactly one caller, or no credential at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.access import Access
from proxy.access.keys import MAX_KEY_BYTES, PRIVATE
from proxy.errors import InvalidKey
from proxy.key_headers import KEY_HEADERS
from tests import fakes
from tests.fakes import VARY, config_of, digest, holding

ALICE, BOB, OPS, EXPIRED = "sk-canary-alice", "sk-canary-bob", "sk-canary-ops", "sk-canary-expired"
NEW = "sk-canary-ops-new"
LONGEST, TOO_LONG = b"k" * MAX_KEY_BYTES, b"k" * (MAX_KEY_BYTES + 1)
END_OF_2026 = 1_798_761_600.0
"""2027-01-01T00:00:00Z"""

PROVIDERS = "providers: [{name: a, base_url: 'http://127.0.0.1/v1'}, {name: b, base_url: 'http://127.0.0.1/v1'}]\n"
DEFAULT = "groups: {default: {models: [free]}}\n"


KEYS = f"""
keys:
  - {{name: alice, hash: "{digest(ALICE)}", models: ["*"]}}
  - {{name: bob, hash: "{digest(BOB)}", models: [m, n]}}
  - {{name: ops, hashes: ["{digest(OPS)}", "{digest(NEW)}"], models: [n, m, n], admin: true}}
  - {{name: past, hash: "{digest(EXPIRED)}", models: ["*"], expires: 2026-12-31}}
  - {{name: longest, hash: "{digest(LONGEST)}", models: ["*"]}}
  - {{name: too-long, hash: "{digest(TOO_LONG)}", models: ["*"]}}
"""


def access(text: str, time: float = END_OF_2026 - 0.001) -> Access:
    return Access(config_of(PROVIDERS + text), lambda: time)


def who(access: Access, headers: Sequence[tuple[str, str | bytes]], query: str = "") -> str:
    """The name of the caller's key, `nobody` without a key, or `401`."""
    raw = [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers]
    try:
        return access.identify([header for header in raw if header[0] in KEY_HEADERS], query.encode()).name or "nobody"
    except InvalidKey:
        return "401"


@pytest.mark.parametrize(
    ("headers", "query", "caller"),
    [
        pytest.param([("authorization", f"Bearer {ALICE}")], "", "alice", id="Authorization: Bearer"),
        pytest.param([("x-auth-token", ALICE)], "", "alice", id="X-Auth-Token"),
        pytest.param([("x-api-key", ALICE)], "", "alice", id="x-api-key"),
        pytest.param([("api-key", ALICE)], "", "alice", id="api-key"),
        pytest.param([("authorization", f"bearer {ALICE}")], "", "alice", id="lower-case bearer"),
        pytest.param([("authorization", f"BEARER   {ALICE} ")], "", "alice", id="upper case and spaces"),
        pytest.param(
            [("authorization", f"Bearer {ALICE}"), ("x-api-key", ALICE)], "", "alice", id="the same key in two headers"
        ),
        pytest.param(
            [pair for header in fakes.KEY_HEADERS for pair in holding(header, ALICE).items()],
            "",
            "alice",
            id="the same key in all headers",
        ),
        pytest.param([("helicone-auth", ALICE)], "", "alice", id="Helicone-Auth without a scheme"),
        pytest.param([("x-litellm-api-key", f"Bearer {ALICE}")], "", "alice", id="x-litellm-api-key with a scheme"),
        pytest.param([("x-api-key", f"Bearer {ALICE}")], "", "401", id="x-api-key with a scheme"),
        pytest.param([("cf-aig-authorization", "Bearer ")], "", "401", id="empty Bearer in another header"),
        pytest.param([("proxy-authorization", "Bearer x"), ("api-key", ALICE)], "", "alice", id="Proxy-Authorization"),
        pytest.param([("x-forwarded-user", "bob"), ("api-key", ALICE)], "", "alice", id="other headers are ignored"),
        pytest.param([("api-key", ALICE)], "limit=5&name=key", "alice", id="a query without a key"),
        pytest.param([("api-key", EXPIRED)], "", "past", id="a millisecond before the end of its last day"),
        pytest.param([("x-api-key", LONGEST)], "", "longest", id="4 KiB"),
        pytest.param([("x-api-key", TOO_LONG)], "", "401", id="over 4 KiB, although its digest is configured"),
        pytest.param([("authorization", b"Bearer " + TOO_LONG)], "", "401", id="over 4 KiB after Bearer"),
        pytest.param(
            [("authorization", f"Bearer {ALICE}"), ("x-api-key", "sk-fake-elsewhere")],
            "",
            "alice",
            id="a key and one of another service",
        ),
        pytest.param(
            [("authorization", "Bearer sk-fake-elsewhere"), ("x-api-key", ALICE)],
            "",
            "alice",
            id="a key of another service and a key",
        ),
        pytest.param([("x-api-key", ALICE), ("api-key", "")], "", "alice", id="a key and an empty one"),
        pytest.param([("x-api-key", ALICE), ("api-key", TOO_LONG)], "", "alice", id="a key and one over 4 KiB"),
        pytest.param([("x-api-key", ALICE), ("api-key", b"\xff\xfe")], "", "alice", id="a key and invalid UTF-8"),
        pytest.param([("authorization", "Basic eDp5"), ("x-api-key", ALICE)], "", "alice", id="a key and Basic"),
        pytest.param([("authorization", "Bearer"), ("x-api-key", ALICE)], "", "alice", id="a key and only Bearer"),
        pytest.param(
            [(name.decode(), "sk-fake-elsewhere") for name in KEY_HEADERS if name != b"apikey"] + [("apikey", ALICE)],
            "",
            "alice",
            id="a key in one header and others in all others",
        ),
        pytest.param([("x-api-key", ALICE), ("api-key", BOB)], "", "401", id="keys of two callers"),
        pytest.param([("x-api-key", NEW)], "", "ops", id="the second key of a caller"),
        pytest.param([("x-api-key", OPS), ("api-key", NEW)], "", "ops", id="both keys of one caller"),
        pytest.param(
            [("x-api-key", ALICE), ("api-key", "sk-fake-elsewhere"), ("apikey", BOB)],
            "",
            "401",
            id="keys of two callers and one of another service",
        ),
        pytest.param(
            [("x-api-key", "sk-fake-elsewhere"), ("api-key", "sk-fake-other")], "", "401", id="only other services"
        ),
        pytest.param(
            [("x-api-key", ALICE), ("api-key", "sk-fake-elsewhere"), ("api-key", "sk-fake-elsewhere")],
            "",
            "401",
            id="a key and another header twice",
        ),
        pytest.param([("x-api-key", ALICE), ("x-api-key", ALICE)], "", "401", id="the same header twice"),
        pytest.param(
            [("authorization", f"Bearer {ALICE}"), ("authorization", f"Bearer {ALICE}")],
            "",
            "401",
            id="Authorization twice",
        ),
        pytest.param(
            [("authorization", f"Bearer {ALICE}"), ("authorization", "Basic x")],
            "",
            "401",
            id="Authorization with two schemes",
        ),
        pytest.param([("authorization", f"Basic {ALICE}")], "", "401", id="another scheme"),
        pytest.param([("authorization", ALICE)], "", "401", id="no scheme"),
        pytest.param([("authorization", "Bearer")], "", "401", id="only Bearer"),
        pytest.param([("authorization", "Bearer  ")], "", "401", id="an empty Bearer"),
        pytest.param([("authorization", "")], "", "401", id="an empty Authorization"),
        pytest.param([("x-auth-token", "")], "", "401", id="an empty key"),
        pytest.param([("x-api-key", "sk-canary-unknown")], "", "401", id="an unknown key"),
        pytest.param([("x-api-key", ALICE[:-1])], "", "401", id="a prefix of a key"),
        pytest.param([("x-api-key", ALICE.upper())], "", "401", id="a key in another case"),
        pytest.param([("x-api-key", digest(ALICE))], "", "401", id="the digest instead of the key"),
        pytest.param([("x-api-key", b"\xff\xfe\x00")], "", "401", id="invalid UTF-8"),
        pytest.param([("x-api-key", "ключ")], "", "401", id="not Latin"),
        pytest.param([], f"key={ALICE}", "401", id="a key in the query"),
        pytest.param([("x-api-key", ALICE)], f"api_key={ALICE}", "401", id="a key in a header and in the query"),
        pytest.param([("x-api-key", ALICE)], f"a=b&%6bey={ALICE}", "401", id="a key in the query, encoded"),
        pytest.param([], f"x-api-key={ALICE}", "401", id="a key header's name in the query"),
        pytest.param([], f"X-Goog-Api-Key={ALICE}", "401", id="another header's name in the query"),
        pytest.param([], f"subscription-key={ALICE}", "401", id="Azure API Management"),
        pytest.param([("x-api-key", ALICE)], f"Access_Token={ALICE}", "401", id="a key in the query, another case"),
    ],
)
@pytest.mark.parametrize("text", [pytest.param(KEYS, id="no default"), pytest.param(DEFAULT + KEYS, id="default")])
def test_the_key_of_exactly_one_caller_is_accepted_with_or_without_a_default_group(
    headers: list[tuple[str, str | bytes]], query: str, caller: str, text: str
) -> None:
    assert who(access(text), headers, query) == caller


@pytest.mark.parametrize("header", fakes.KEY_HEADERS)
@pytest.mark.parametrize("text", [pytest.param(KEYS, id="no default"), pytest.param(DEFAULT + KEYS, id="default")])
def test_every_key_header_is_checked(header: str, text: str) -> None:
    keys = access(text)
    alice, bob, wrong = (list(holding(header, key).items()) for key in (ALICE, BOB, "sk-canary-unknown"))
    other = "x-api-key" if header != "x-api-key" else "api-key"

    assert [who(keys, pairs) for pairs in (alice, bob, wrong, [(header, "")])] == ["alice", "bob", "401", "401"]
    assert who(keys, [*alice, (other, ALICE)]) == "alice"
    assert who(keys, [*wrong, (other, BOB)]) == "bob"
    assert who(keys, [*alice, (other, BOB)]) == "401"
    assert who(keys, [*alice, *alice]) == "401"


def test_requests_without_a_key_are_rejected_unless_there_is_a_default_group() -> None:
    assert who(access(KEYS), []) == "401"
    assert who(access(DEFAULT + KEYS), []) == "nobody"
    assert access(DEFAULT + KEYS).identify([]).policy.rules == ("free",)


@pytest.mark.parametrize(
    ("time", "caller"),
    [
        pytest.param(END_OF_2026 - 86_400, "past", id="at the start of its last day"),
        pytest.param(END_OF_2026 - 0.001, "past", id="at the end of its last day"),
        pytest.param(END_OF_2026, "401", id="at midnight, UTC"),
        pytest.param(END_OF_2026 + 1e9, "401", id="long after"),
        pytest.param(-1.0, "past", id="a clock before 1970"),
    ],
)
def test_a_key_is_valid_until_the_end_of_its_day_utc(time: float, caller: str) -> None:
    assert who(access(DEFAULT + KEYS, time), [("x-api-key", EXPIRED)]) == caller


@pytest.mark.parametrize("header", ["authorization", "api-key"])
def test_an_expired_key_is_rejected_next_to_a_valid_one(header: str) -> None:
    pairs = [("x-api-key", ALICE), *holding(header, EXPIRED).items()]

    assert who(access(KEYS, END_OF_2026 - 1), [*holding(header, EXPIRED).items()]) == "past"
    assert [who(access(text, END_OF_2026), pairs) for text in (KEYS, DEFAULT + KEYS)] == ["401", "401"]
    assert who(access(KEYS, END_OF_2026), pairs[::-1]) == "401"


def test_two_keys_of_the_same_caller_are_accepted_together_until_one_expires() -> None:
    config = config_of(PROVIDERS + KEYS)
    alice, past = config.keys[0], config.keys[3]
    rotated = replace(config, keys=(alice, msgspec.structs.replace(past, name="alice")))
    before, after = Access(rotated, lambda: END_OF_2026 - 1), Access(rotated, lambda: END_OF_2026)
    pairs = [("x-api-key", ALICE), ("api-key", EXPIRED)]

    assert [who(before, pairs), who(after, pairs), who(after, pairs[::-1])] == ["alice", "401", "401"]
    assert who(after, pairs[:1]) == "alice"


def test_an_unknown_key_is_rejected_even_if_the_clock_is_before_1970() -> None:
    assert who(access(DEFAULT + KEYS, -1.0), [("x-api-key", "sk-canary-unknown")]) == "401"


@pytest.mark.parametrize("text", [pytest.param("", id="nothing"), pytest.param(DEFAULT, id="default")])
@pytest.mark.parametrize(
    ("headers", "query"),
    [
        pytest.param([], "", id="no key"),
        pytest.param([("authorization", "Bearer anything")], "", id="any key"),
        pytest.param([("authorization", "Basic x"), ("authorization", "")], "", id="nonsense"),
        pytest.param([("x-api-key", TOO_LONG)], "", id="a long key"),
        pytest.param([], "key=anything", id="in the query"),
    ],
)
def test_a_proxy_without_keys_ignores_credentials(
    text: str, headers: list[tuple[str, str | bytes]], query: str
) -> None:
    assert who(access(text), headers, query) == "nobody"


def test_an_open_proxy_without_a_default_group_shows_everything() -> None:
    assert access("").identify([]).policy.sees_everything
    assert access(DEFAULT).identify([]).policy.rules == ("free",)


def test_only_an_admin_key_has_admin_permission() -> None:
    keys = access(KEYS)

    assert keys.identify([(b"x-api-key", OPS.encode())]).admin
    assert not keys.identify([(b"x-api-key", ALICE.encode())]).admin


def test_keys_with_equal_rules_share_one_policy() -> None:
    keys = access(KEYS)
    alice, bob, ops = (keys.identify([(b"x-api-key", key.encode())]).policy for key in (ALICE, BOB, OPS))

    assert bob is ops
    assert bob is not alice


def test_the_identity_of_a_caller_is_the_name_of_its_key_and_its_group_that_of_the_configuration() -> None:
    keys = access(
        "groups: {default: {models: [free]}, staff: {models: [m]}}\n"
        f"keys: [{{name: alice, hash: '{digest(ALICE)}', group: staff}},"
        f"{{name: bob, hash: '{digest(BOB)}', models: []}}]\n"
    )
    callers = [keys.identify(headers) for headers in ([(b"api-key", ALICE.encode())], [(b"api-key", BOB.encode())], [])]

    assert [(caller.identity, caller.group) for caller in callers] == [
        ("alice", "staff"),
        ("bob", None),
        ("", "default"),
    ]
    assert access("").identify([]).group is None


def test_repr_contains_no_key() -> None:
    caller = access(KEYS).identify([(b"x-api-key", ALICE.encode())])

    assert repr(caller) == (
        "Caller(name='alice', policy=Policy(['*']), admin=False, may_call=True, identity='alice', group=None, "
        "quota=None)"
    )
    assert "canary" not in repr(config_of(PROVIDERS + KEYS))
    assert hashlib.sha256(ALICE.encode()).hexdigest() not in repr(config_of(PROVIDERS + KEYS))


header_names = st.sampled_from([*KEY_HEADERS, b"x-other", b"host"])
header_values = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([ALICE, BOB, f"Bearer {ALICE}", f"bearer {BOB}", "Bearer ", "Basic x"]).map(str.encode),
)


@given(st.lists(st.tuples(header_names, header_values), max_size=5), st.binary(max_size=40))
@example([(b"authorization", b"Bearer \xa0")], b"")
@example([], b"%ff=&=&&key")
@settings(max_examples=500, deadline=None)
def test_any_headers_return_a_caller_or_raise_invalid_key(headers: list[tuple[bytes, bytes]], query: bytes) -> None:
    keys = access(DEFAULT + KEYS)
    credentials = [(name, value) for name, value in headers if name in KEY_HEADERS]
    sent = {KEY_HEADERS[name](value) for name, value in credentials}
    try:
        caller = keys.identify(credentials, query)
    except InvalidKey:
        assert credentials or query, "with a default group, requests without a key are accepted"
    else:
        keys_of_callers = {ALICE.encode(): "alice", BOB.encode(): "bob"}
        assert {keys_of_callers[key] for key in sent if key in keys_of_callers} == {caller.name} - {None}
        assert caller.name or not credentials


def test_private_responses_vary_by_every_key_header() -> None:
    assert dict(PRIVATE) == {
        b"cache-control": b"private, no-cache",
        b"vary": VARY,
    }
