"""Tokens: who is identified by which, and everything that makes one invalid."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.access import Access
from proxy.access.jwt import MAX_VALIDATED, SigningKeyNeeded, Tokens
from proxy.access.signing_keys import SigningKeys, parse_keys
from proxy.access.token import MAX_TOKEN_BYTES
from proxy.config import Config
from proxy.errors import InvalidKey, LoginUnavailable, NoGroup
from proxy.limits.quota import Quotas
from tests.fakes import config_of, digest
from tests.providers.oidc import NOW, OidcProvider, encoded, key_of, signed, signed_text

ISSUER = "https://login.example"
ALICE = "sk-canary-of-alice"
TOKEN_KEY = "eyJ-canary.that-looks.like-a-token"
CONFIG = f"""
providers: [{{name: a, base_url: 'http://127.0.0.1/v1'}}]
groups: {{staff: {{models: [m, n]}}, guests: {{models: [n], call: false}}, default: {{models: [free]}}}}
keys:
  - {{name: alice, hash: '{digest(ALICE)}', models: [m]}}
  - {{name: odd, hash: '{digest(TOKEN_KEY)}', models: [m]}}
auth:
  jwt:
    - issuer: {ISSUER}
      audience: [models-proxy, other]
      groups: {{llm-users: staff, llm-guests: guests}}
      admin: [llm-admins]
"""
IDP = OidcProvider(ISSUER)


class Source:
    """A `KeySource` with the keys of `IDP`."""

    def __init__(self, keys: SigningKeys | None, *, may_fetch: bool = False) -> None:
        self.keys = keys
        self.removals = 0
        self.fetches = may_fetch

    def of(self, issuer: str) -> SigningKeys | None:
        return self.keys

    def may_fetch(self, issuer: str) -> bool:
        return self.fetches


class CountingKeys(SigningKeys):
    """Counts look-ups of keys: one for each signature that is checked."""

    def __init__(self, keys: SigningKeys) -> None:
        super().__init__(keys._keys)
        self.looked_up = 0

    def find(self, key_id: str | None, algorithm: str) -> Any:
        self.looked_up += 1
        return super().find(key_id, algorithm)


def keys_of(idp: OidcProvider) -> SigningKeys:
    keys = parse_keys(idp.document("/keys") or b"")
    assert keys is not None
    return keys


def access(settings: str = "", *, source: Source | None = None, now: float = NOW) -> Access:
    """`settings`: further ones of the issuer."""
    return Access(config_with(settings), lambda: now, source or Source(keys_of(IDP)))


def config_with(settings: str) -> Config:
    return config_of(f"{CONFIG}      {settings}\n")


def who(access: Access, token: str, header: str = "authorization", *more: tuple[str, str]) -> str:
    """The identity of the caller and its group, or the code of the error."""
    value = f"Bearer {token}" if header == "authorization" else token
    credentials = [(name.encode(), text.encode()) for name, text in ((header, value), *more)]
    try:
        caller = access.identify(credentials)
    except (InvalidKey, NoGroup, LoginUnavailable) as error:
        return error.code
    except SigningKeyNeeded as needed:
        return f"needs the keys of {needed.issuer}"
    return f"{caller.identity} in {caller.group}{' admin' * caller.admin}"


USER = f"jwt:{ISSUER}|u-1"


@pytest.mark.parametrize(
    ("claims", "caller"),
    [
        ({}, f"{USER} in staff"),
        ({"aud": ["else", "models-proxy"]}, f"{USER} in staff"),
        ({"aud": "other"}, f"{USER} in staff"),
        ({"aud": "else"}, "invalid_api_key"),
        ({"aud": []}, "invalid_api_key"),
        ({"aud": None}, "invalid_api_key"),
        ({"aud": {"models-proxy": 1}}, "invalid_api_key"),
        ({"aud": [["models-proxy"]]}, "invalid_api_key"),
        ({"aud": "MODELS-PROXY"}, "invalid_api_key"),
        ({"exp": NOW - 59}, f"{USER} in staff"),
        ({"exp": NOW - 60}, "invalid_api_key"),
        ({"exp": None}, "invalid_api_key"),
        ({"exp": str(NOW + 60)}, "invalid_api_key"),
        ({"exp": True}, "invalid_api_key"),
        ({"exp": 1e999}, "invalid_api_key"),
        ({"exp": 10**400}, "invalid_api_key"),
        ({"nbf": -(10**400)}, "invalid_api_key"),
        ({"iat": 10**400}, "invalid_api_key"),
        ({"nbf": NOW + 60}, f"{USER} in staff"),
        ({"nbf": NOW + 61}, "invalid_api_key"),
        ({"nbf": "soon"}, "invalid_api_key"),
        ({"iat": NOW + 61}, "invalid_api_key"),
        ({"iat": None}, f"{USER} in staff"),
        ({"sub": None}, "invalid_api_key"),
        ({"sub": ""}, "invalid_api_key"),
        ({"sub": 7}, "invalid_api_key"),
        ({"sub": "x" * 256}, "invalid_api_key"),
        ({"sub": "\ud800"}, "invalid_api_key"),
        ({"sub": "alice"}, f"jwt:{ISSUER}|alice in staff"),
        ({"sub": "auth0|a b\n"}, f"jwt:{ISSUER}|auth0|a%20b%0A in staff"),
        ({"sub": "ü"}, f"jwt:{ISSUER}|%C3%BC in staff"),
        ({"groups": "llm-guests"}, f"{USER} in guests"),
        ({"groups": ["llm-guests", "llm-users"]}, f"{USER} in staff"),
        ({"groups": ["llm-users", "llm-admins"]}, f"{USER} in staff admin"),
        ({"groups": ["llm-admins"]}, "no_group"),
        ({"groups": ["LLM-USERS"]}, "no_group"),
        ({"groups": ["llm-users llm-guests"]}, "no_group"),
        ({"groups": [["llm-users"], 7, None]}, "no_group"),
        ({"groups": {"llm-users": True}}, "no_group"),
        ({"groups": None}, "no_group"),
        ({"iss": f"{ISSUER}/"}, "invalid_api_key"),
        ({"iss": ISSUER.upper()}, "invalid_api_key"),
        ({"iss": [ISSUER]}, "invalid_api_key"),
        ({"iss": None}, "invalid_api_key"),
    ],
)
def test_claims_decide_who_is_identified(claims: Mapping[str, Any], caller: str) -> None:
    assert who(access(), IDP.token(**claims)) == caller


def test_names_of_users_are_addresses_only_if_the_issuer_has_verified_them() -> None:
    def name(**claims: Any) -> str | None:
        return access().identify([(b"authorization", b"Bearer " + IDP.token(**claims).encode())]).name

    assert name(email="a@example.com", email_verified=True) == "a@example.com"
    assert name(email="a@example.com") == "u-1"
    assert name(email="a@example.com", email_verified="true") == "u-1"
    assert name(email=["a@example.com"], email_verified=True) == "u-1"
    assert name(sub="a\x1b[2J") == "'a\\x1b[2J'"


@pytest.mark.parametrize(
    ("claim", "claims", "caller"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["llm-users"]}}, f"{USER} in staff"),
        ("realm_access.roles", {"realm_access": ["roles"]}, "no_group"),
        ("https://example.com/groups", {"https://example.com/groups": ["llm-guests"]}, f"{USER} in guests"),
        ("scope", {"scope": "openid llm-users"}, f"{USER} in staff"),
        ("scp", {"scp": "openid llm-users"}, f"{USER} in staff"),
        ("scope", {"scope": "openid\u00a0llm-users"}, "no_group"),
        ("role", {"role": "openid llm-users"}, "no_group"),
        ("email", {"email": "llm-users", "email_verified": True}, f"{USER} in staff"),
        ("email", {"email": "llm-users", "email_verified": False}, "no_group"),
        ("email", {"email": "llm-users"}, "no_group"),
    ],
)
def test_groups_are_in_the_configured_claim(claim: str, claims: Mapping[str, Any], caller: str) -> None:
    assert who(access(f"group_claim: {claim}"), IDP.token(**claims)) == caller


def test_users_of_a_group_have_its_rights() -> None:
    staff, guest = (
        access().identify([(b"api-key", IDP.token(groups=groups).encode())]) for groups in ("llm-users", "llm-guests")
    )

    assert [(user.policy.rules, user.may_call, user.admin) for user in (staff, guest)] == [
        (("m", "n"), True, False),
        (("n",), False, False),
    ]
    assert {policy.rules for policy in access().policies} == {("m", "n"), ("n",), ("free",), ("m",)}


# -- headers of requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_a_token_can_be_in_every_header_of_keys(header: str) -> None:
    assert who(access(), IDP.token(), header) == f"{USER} in staff"


def test_tokens_of_an_issuer_with_a_header_are_accepted_in_that_header_only() -> None:
    users = access("header: Cf-Access-Jwt-Assertion")

    assert who(users, IDP.token(), "cf-access-jwt-assertion") == f"{USER} in staff"
    assert who(users, IDP.token(), "authorization") == "invalid_api_key"
    assert who(users, IDP.token(), "x-api-key") == "invalid_api_key"
    # ... also after it was accepted there.
    assert who(users, IDP.token(), "cf-access-jwt-assertion") == f"{USER} in staff"
    assert who(users, IDP.token(), "authorization") == "invalid_api_key"


def test_a_token_next_to_other_credentials() -> None:
    users, token, expired = access(), IDP.token(), IDP.token(exp=NOW - 3600)

    assert who(users, token, "authorization", ("x-api-key", token)) == f"{USER} in staff"
    assert who(users, token, "authorization", ("x-api-key", "sk-fake-elsewhere")) == f"{USER} in staff"
    assert who(users, token, "authorization", ("x-api-key", ALICE)) == "invalid_api_key"
    assert who(users, expired, "authorization", ("x-api-key", ALICE)) == "invalid_api_key"
    assert who(users, IDP.token(sub="u-2"), "authorization", ("x-api-key", token)) == "invalid_api_key"
    assert who(users, token, "x-api-key", ("x-api-key", token)) == "invalid_api_key"


def test_what_is_no_token_of_an_issuer_is_an_api_key() -> None:
    foreign = OidcProvider("https://foreign.example").token()
    assert who(access(), TOKEN_KEY) == "odd in None"
    for other in (foreign, f"{foreign}=", OidcProvider("https://foreign.example").token(pad="x" * MAX_TOKEN_BYTES)):
        assert who(access(), other) == "invalid_api_key"
        assert who(access(), other, "authorization", ("x-api-key", ALICE)) == "alice in None"


@pytest.mark.parametrize(
    "key",
    ["a.b.c", "I..", "..", "C.=.=", "e30.e30.e30", "eyJ.ISI.x", "D.A.x", "e.eyJpc3MiOiJ4In0.x", "e.eyJpc3MiOiJcIn0.x"],
)
def test_a_key_with_the_form_of_a_token_is_a_key(key: str) -> None:
    users = Access(config_of(CONFIG.replace(digest(TOKEN_KEY), digest(key))), lambda: NOW, Source(keys_of(IDP)))

    assert who(users, key) == "odd in None"


def test_a_token_of_an_issuer_is_never_looked_up_as_a_key() -> None:
    token = IDP.token(aud="else")
    config = config_of(CONFIG.replace(digest(ALICE), digest(token)))

    assert who(Access(config, lambda: NOW, Source(keys_of(IDP))), token) == "invalid_api_key"


# -- attacks -----------------------------------------------------------------------------------------------------------


def forged(header: Mapping[str, Any], claims: Mapping[str, Any] | None = None, signature: str | None = None) -> str:
    """A token with this header, and the signature of a valid one."""
    parts = [encoded(json.dumps(value).encode()) for value in (header, claims or IDP.claims())]
    return ".".join((*parts, signature or IDP.token().rpartition(".")[2]))


def with_hmac(secret: bytes) -> str:
    """A token that is signed with a secret."""
    text = forged({"alg": "HS256", "kid": "first"}).rpartition(".")[0]
    return f"{text}.{encoded(hmac.digest(secret, text.encode(), 'sha256'))}"


PUBLIC = IDP.keys["first"][0].as_dict(private=False)
OTHER = key_of("P-256", 99)
PEM = IDP.keys["first"][0].as_pem(private=False)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(forged({"alg": "none", "kid": "first"}), id="none"),
        pytest.param(forged({"alg": "none"}, signature="AA"), id="none, without a key"),
        pytest.param(forged({"alg": "None", "kid": "first"}), id="None"),
        pytest.param(with_hmac(PEM), id="HMAC with the public key in PEM"),
        pytest.param(with_hmac(json.dumps(PUBLIC).encode()), id="HMAC with the public key as JWK"),
        pytest.param(signed(IDP.claims(), OTHER, "ES256", kid="first"), id="another key under a known id"),
        pytest.param(signed(IDP.claims(), OTHER, "ES256", kid="unknown"), id="an unknown id"),
        pytest.param(signed(IDP.claims(), OTHER, "ES256"), id="another key without an id"),
        pytest.param(
            signed(IDP.claims(), OTHER, "ES256", kid="first", jwk=OTHER.as_dict(private=False)), id="its own key (jwk)"
        ),
        pytest.param(
            signed(IDP.claims(), OTHER, "ES256", kid="x", jku="https://evil.example/keys"),
            id="an address of keys (jku)",
        ),
        pytest.param(
            signed(IDP.claims(), OTHER, "ES256", kid="x", x5u="https://evil.example/pem"),
            id="an address of a certificate (x5u)",
        ),
        pytest.param(forged({"alg": "ES256", "kid": "../../dev/null"}), id="a path as id"),
        pytest.param(forged({"alg": "ES256", "kid": "first' OR '1'='1"}), id="SQL as id"),
        pytest.param(forged({"alg": "ES256", "kid": ["first"]}), id="a list as id"),
        pytest.param(forged({"alg": "RS256", "kid": "first"}), id="RS256 with an EC key"),
        pytest.param(forged({"alg": ["ES256"], "kid": "first"}), id="a list as algorithm"),
        pytest.param(forged({"kid": "first"}), id="no algorithm"),
        pytest.param(forged({"alg": "ES256", "kid": "first"}, IDP.claims(sub="admin")), id="changed claims"),
        pytest.param(IDP.token().rpartition(".")[0] + ".", id="no signature"),
        pytest.param(IDP.token() + ".AAAA", id="four parts"),
        pytest.param("..".join(IDP.token().split(".")[:2]), id="detached"),
        pytest.param(signed(IDP.claims(pad="x" * MAX_TOKEN_BYTES), *IDP.keys["first"], kid="first"), id="huge"),
        pytest.param(IDP.token() + "=", id="padding"),
        pytest.param(IDP.token().replace(".", ".\n", 1), id="a line break"),
    ],
)
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
def test_forged_tokens_identify_no_user(token: str, header: str) -> None:
    assert who(access(), token, header) == "invalid_api_key"


@pytest.mark.parametrize(
    ("member", "value", "is_valid"),
    [
        ("typ", "JWT", True),
        ("typ", "at+jwt", True),
        ("typ", "application/at+jwt", True),
        ("typ", "logout+jwt", False),
        ("typ", "secevent+jwt", False),
        ("typ", 7, False),
        ("crit", ["exp"], False),
        ("crit", ["kid"], False),  # the library would accept it
        ("crit", [], False),
        ("b64", True, False),
        ("jku", "https://evil.example", True),
        ("x5u", "https://evil.example", True),
        ("x5t", "AAAA", True),
        ("nonce", "n" * 600, True),
    ],
)
def test_members_of_a_valid_header(member: str, value: Any, is_valid: bool) -> None:
    token = signed(IDP.claims(), *IDP.keys["first"], kid="first", **{member: value})

    assert who(access(), token) == (f"{USER} in staff" if is_valid else "invalid_api_key")


HEADER, CLAIMS = json.dumps({"alg": "ES256", "kid": "first"}), json.dumps(IDP.claims())


def signed_by_idp(claims: str = CLAIMS, header: str = HEADER) -> str:
    return signed_text(header, claims, *IDP.keys["first"])


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r\n  "])
def test_white_space_does_not_matter(space: str) -> None:
    for token in (
        signed_by_idp(header=space + HEADER),
        signed_by_idp(header=f"{{{space}{HEADER[1:]}"),
        signed_by_idp(space + CLAIMS),
    ):
        assert who(access(), token) == f"{USER} in staff"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(signed_by_idp(json.dumps(IDP.claims(pad="x" * 6500))), id="9 KiB"),
        pytest.param(signed_by_idp(f'{CLAIMS[:-1]}, "aud": "models-proxy"}}'), id="a claim twice"),
        pytest.param(signed_by_idp(f'{{"iss": "https://evil.example", {CLAIMS[1:]}'), id="iss twice"),
        pytest.param(signed_by_idp(f'{CLAIMS[:-1]}, "iss": "https://evil.example"}}'), id="iss twice, ours first"),
        pytest.param(signed_by_idp(CLAIMS.replace("/", r"\/")[:-1] + ', "x": NaN}'), id="escaped slashes"),
        pytest.param(signed_by_idp(header=f'{HEADER[:-1]}, "alg": "ES256"}}'), id="alg twice"),
        pytest.param(signed_by_idp(header=f' {HEADER[:-1]}, "alg": "ES256"}}'), id="alg twice after a space"),
        pytest.param(signed_by_idp(f'{CLAIMS[:-1]}, "x": NaN}}'), id="NaN"),
        pytest.param(signed_by_idp(json.dumps(IDP.claims(x=[[]] * 300))), id="300 lists"),
        pytest.param(signed_by_idp(f'{CLAIMS[:-1]}, "x": {"[" * 2500}'), id="2,500 levels"),
        pytest.param(signed_by_idp() + "=", id="padding"),
        pytest.param(signed_by_idp().replace(".", "=.", 1), id="padding of the header"),
        pytest.param("=.".join(signed_by_idp().rsplit(".", 1)), id="padding of the claims"),
        pytest.param(signed_by_idp().rpartition(".")[0] + ".", id="no signature"),
        pytest.param(signed_by_idp() + ".AAAA", id="four parts"),
        pytest.param(
            signed_by_idp(f'{CLAIMS[:-1]}, "x": NaN}}'.replace('"iss"', r'"\u0069s\u0073"')), id="escaped iss"
        ),
        pytest.param(signed_by_idp('{"iss": "https://evil.example", ' * 9 + CLAIMS[1:]), id="iss ten times"),
        pytest.param(signed_by_idp(header="\ufeff" + HEADER), id="a byte order mark"),
        pytest.param(f"{encoded(HEADER.encode())}.{encoded(CLAIMS.encode('utf-16'))}.AAAA", id="UTF-16"),
    ],
)
def test_a_malformed_token_of_an_issuer_is_no_api_key(token: str) -> None:
    users = Access(config_of(CONFIG.replace(digest(TOKEN_KEY), digest(token))), lambda: NOW, Source(keys_of(IDP)))

    assert who(users, token) == "invalid_api_key"
    assert who(users, token, "authorization", ("x-api-key", ALICE)) == "invalid_api_key"


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "groups": ["llm-admins"]}}', id="a claim twice"),
        pytest.param(HEADER, f'{{"iss": "https://evil.example", {CLAIMS[1:]}', id="iss twice"),
        pytest.param(f'{HEADER[:-1]}, "alg": "none"}}', CLAIMS, id="alg twice"),
        pytest.param(f'{HEADER[:-1]}, "kid": "other"}}', CLAIMS, id="kid twice"),
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "x": {{"a": 1, "a": 2}}}}', id="an inner member twice"),
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "x": {"[" * 1000}{"]" * 1000}}}', id="1,000 levels"),
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "x": {"[" * 2500}', id="2,500 levels"),
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "x": NaN}}', id="NaN"),
        pytest.param(HEADER, f'{CLAIMS[:-1]}, "x": {"1" * 5000}}}', id="a number of 5,000 digits"),
        pytest.param(HEADER, f"[{CLAIMS}]", id="claims in a list"),
        pytest.param(HEADER, f"\ufeff{CLAIMS}", id="a byte order mark"),
        pytest.param(HEADER, f"{CLAIMS} x", id="a text after the claims"),
        pytest.param("[]", CLAIMS, id="a list as header"),
    ],
)
def test_a_valid_signature_does_not_help_what_two_programs_could_read_differently(header: str, claims: str) -> None:
    assert who(access(), signed_by_idp()) == f"{USER} in staff"
    assert who(access(), signed_by_idp(claims, header)) == "invalid_api_key"


VALID = IDP.token()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(["alg", "kid", "typ", "jwk", "jku", "x5u", "x5c", "crit", "b64", "cty", "zip", "enc"])
headers = st.dictionaries(names, json_values | st.sampled_from(["ES256", "HS256", "none", "first"]), max_size=5)
claims_of_anyone = st.dictionaries(
    st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "groups", "email"]), json_values, max_size=5
)


@given(headers, claims_of_anyone, st.binary(max_size=80) | st.sampled_from([b"", VALID.rpartition(".")[2].encode()]))
@example({"alg": "ES256", "kid": "first"}, {}, VALID.rpartition(".")[2].encode())
@settings(max_examples=300)
def test_no_header_with_any_claims_passes_without_the_key(
    header: dict[str, Any], claims: dict[str, Any], signature: bytes
) -> None:
    text = signature.decode() if signature.isascii() and signature.isalnum() else encoded(signature)
    token = forged(header, {**IDP.claims(jti="never signed"), **claims}, text or "AA")

    assert who(access(), token, "x-api-key") == "invalid_api_key"


@given(st.data())
@settings(max_examples=300)
def test_no_other_text_than_a_signed_one_passes(data: st.DataObject) -> None:
    """One place of a valid token is replaced. In the last character some bits do not count."""
    at = data.draw(st.integers(0, len(VALID) - 2))
    changed = VALID[:at] + data.draw(st.text(max_size=3)) + VALID[at + data.draw(st.integers(0, 3)) :]
    if changed.startswith(VALID[:-1]) and len(changed) == len(VALID):
        return

    assert who(access(), changed, "x-api-key") == "invalid_api_key"


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("RSA", "RS256"),
        ("RSA", "PS256"),
        ("P-256", "ES256"),
        ("Ed25519", "EdDSA"),
        ("Ed25519", "Ed25519"),
    ],
)
def test_algorithms_that_are_accepted_by_default(kind: str, algorithm: str) -> None:
    idp = OidcProvider(ISSUER)
    idp.keys = {"k": (key_of(kind), algorithm)}

    assert who(access(source=Source(keys_of(idp))), idp.token("k")) == f"{USER} in staff"
    assert who(access("algorithms: [ES512]", source=Source(keys_of(idp))), idp.token("k")) == "invalid_api_key"


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS512"), ("P-384", "ES384"), ("P-521", "ES512")])
def test_algorithms_that_must_be_configured(kind: str, algorithm: str) -> None:
    idp = OidcProvider(ISSUER)
    idp.keys = {"k": (key_of(kind), algorithm)}

    assert who(access(source=Source(keys_of(idp))), idp.token("k")) == "invalid_api_key"
    users = access(f"algorithms: [{algorithm}]", source=Source(keys_of(idp)))
    assert who(users, idp.token("k")) == f"{USER} in staff"


def test_a_token_without_a_key_id_is_verified_with_the_only_key() -> None:
    key, algorithm = IDP.keys["first"]
    token = signed(IDP.claims(), key, algorithm)
    two = OidcProvider(ISSUER)
    two.keys = {**IDP.keys, "second": (key_of("P-256", 2), "ES256")}

    assert who(access(), token) == f"{USER} in staff"
    assert who(access(source=Source(keys_of(two))), token) == "invalid_api_key"


def test_keys_are_requested_for_an_unknown_id_and_before_the_first_fetch() -> None:
    unknown = signed(IDP.claims(), OTHER, "ES256", kid="unknown")
    needed = f"needs the keys of {ISSUER}"

    assert who(access(source=Source(keys_of(IDP), may_fetch=True)), unknown) == needed
    assert who(access(source=Source(None, may_fetch=True)), IDP.token()) == needed
    assert who(access(source=Source(None)), IDP.token()) == "login_unavailable"
    assert who(access(source=Source(None, may_fetch=True)), IDP.token(aud="else")) == "invalid_api_key"


# -- validated tokens --------------------------------------------------------------------------------------------------


def test_a_valid_token_is_verified_once_until_it_expires() -> None:
    now = float(NOW)
    keys = CountingKeys(keys_of(IDP))
    users = Access(config_with(""), lambda: now, Source(keys))
    token = IDP.token(exp=NOW + 100)

    assert [who(users, token) for _ in range(5)] == [f"{USER} in staff"] * 5
    assert keys.looked_up == 1
    now = NOW + 159.9
    assert who(users, token) == f"{USER} in staff"
    now = NOW + 160
    assert who(users, token) == "invalid_api_key"
    assert keys.looked_up == 1


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_a_cached_token_is_not_valid_before_its_start(claim: str) -> None:
    now = float(NOW)
    users = Access(config_with(""), lambda: now, Source(keys_of(IDP)))
    token = signed_by_idp(json.dumps({**IDP.claims(), "nbf": NOW - 600, "iat": NOW - 600, claim: NOW}))
    assert who(users, token) == f"{USER} in staff"

    now = NOW - 60
    assert who(users, token) == f"{USER} in staff"
    now = NOW - 60.1  # the clock was set back
    assert who(users, token) == "invalid_api_key"


def test_a_token_without_a_group_is_verified_once() -> None:
    keys = CountingKeys(keys_of(IDP))
    users = access(source=Source(keys))

    assert [who(users, IDP.token(groups=[], jti="same"))] == ["no_group"]
    token = IDP.token(groups=[])
    assert [who(users, token) for _ in range(3)] == ["no_group"] * 3
    assert keys.looked_up == 2


def test_validated_tokens_are_discarded_when_the_issuer_removes_a_key() -> None:
    source = Source(keys_of(IDP))
    users = access(source=source)
    token = IDP.token()
    assert who(users, token) == f"{USER} in staff"

    source.keys, source.removals = parse_keys(b'{"keys": []}'), 1

    assert who(users, token) == "invalid_api_key"


def test_the_number_of_cached_tokens_is_bounded() -> None:
    config = config_with("")
    tokens = Tokens(config, Quotas(config.groups), Source(keys_of(IDP)), lambda: NOW)
    first = IDP.token().encode()
    assert tokens.find(b"api-key", first)
    filler = tokens._validated[next(iter(tokens._validated))]
    tokens._validated.update({number.to_bytes(8): filler for number in range(MAX_VALIDATED - 1)})

    assert tokens.find(b"api-key", IDP.token(sub="u-2").encode())
    assert len(tokens._validated) == MAX_VALIDATED
