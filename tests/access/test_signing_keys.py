"""The keys of a JWKS: which are usable, for what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import OctKey

from proxy.access.signing_keys import MAX_KEYS, SigningKeys, parse_keys
from tests.providers.oidc import key_of

EC: dict[str, Any] = key_of("P-256").as_dict(private=False)
RSA: dict[str, Any] = key_of("RSA").as_dict(private=False)
OKP: dict[str, Any] = key_of("Ed25519").as_dict(private=False)
ALGORITHMS = ("RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519", "HS256", "none")


def parsed(*keys: object) -> SigningKeys:
    found = parse_keys(json.dumps({"keys": keys}).encode())
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("entry", "algorithms"),
    [
        (EC, ["ES256"]),
        (key_of("P-384").as_dict(private=False), ["ES384"]),
        (RSA, ["RS256", "PS512"]),
        ({**RSA, "alg": "RS256", "use": "sig", "x5c": ["AAAA"], "x5t": "AA"}, ["RS256"]),
        ({**RSA, "key_ops": ["verify"]}, ["RS256", "PS512"]),
        ({**RSA, "alg": None, "use": None, "key_ops": None}, ["RS256", "PS512"]),
        (OKP, ["EdDSA", "Ed25519"]),
        ({**OKP, "alg": "EdDSA"}, ["EdDSA", "Ed25519"]),
        ({**OKP, "alg": "Ed25519"}, ["EdDSA", "Ed25519"]),
        (key_of("P-256").as_dict(private=True), ["ES256"]),
    ],
)
def test_a_key_verifies_the_algorithms_of_its_type(entry: dict[str, Any], algorithms: list[str]) -> None:
    keys = parsed({**entry, "kid": "k"})

    assert [algorithm for algorithm in ALGORITHMS if keys.find("k", algorithm)] == algorithms
    assert keys.find("other", algorithms[0]) is None


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param({**OctKey.generate_key(256).as_dict(), "kid": "k"}, id="symmetric"),
        pytest.param({**RSA, "use": "enc"}, id="for encryption"),
        pytest.param({**RSA, "key_ops": ["encrypt"]}, id="other operations"),
        pytest.param({**RSA, "key_ops": "verify"}, id="operations that are no list"),
        pytest.param({**RSA, "alg": "RSA-OAEP"}, id="an algorithm of encryption"),
        pytest.param({**RSA, "alg": "HS256"}, id="HMAC"),
        pytest.param({**RSA, "kid": 7}, id="an id that is a number"),
        pytest.param({**RSA, "n": "AQAB"}, id="a short modulus"),
        pytest.param({**RSA, "n": "!"}, id="a modulus that is no base64"),
        pytest.param({"kty": "RSA", "e": "AQAB"}, id="no modulus"),
        pytest.param({**RSA, "n": "y" * 171}, id="1,024 bits"),
        pytest.param({**EC, "y": EC["x"]}, id="a point that is not on the curve"),
        pytest.param({**EC, "crv": "secp256k1"}, id="another curve"),
        pytest.param({**OKP, "crv": "X25519"}, id="a curve for key exchange"),
        pytest.param({**OKP, "x": "AA"}, id="a short key"),
        pytest.param({"kty": ["RSA"]}, id="a list as type"),
        pytest.param("RSA", id="a text"),
        pytest.param(None, id="null"),
    ],
)
def test_other_entries_are_left_out(entry: object) -> None:
    keys = parsed(entry, {**EC, "kid": "usable"})

    assert len(keys) == 1
    assert keys.find("usable", "ES256")


def test_without_an_id_the_only_key_for_the_algorithm_is_found() -> None:
    keys = parsed({**EC, "kid": "a"}, {**RSA, "kid": "b"}, {**key_of("RSA", 1).as_dict(private=False), "kid": "c"})

    assert keys.find(None, "ES256") is keys.find("a", "ES256")
    assert keys.find(None, "RS256") is None


@pytest.mark.parametrize("again", [{"kid": "a"}, {"kid": "a", "alg": "ES256", "x5t": "AA"}, {"kid": "b"}])
def test_a_key_can_be_listed_twice(again: dict[str, Any]) -> None:
    keys = parsed({**EC, "kid": "a"}, {**EC, **again})

    assert keys.find("a", "ES256")
    assert keys.find(None, "ES256")


def test_two_keys_with_one_id_are_not_guessed_between() -> None:
    other = key_of("P-256", 1).as_dict(private=False)

    assert parsed({**EC, "kid": "a"}, {**other, "kid": "a"}).find("a", "ES256") is None


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": {}}', b"<html>", b'{"keys": [' + b"[" * 100_000, b'"keys"']
)
def test_other_documents_are_no_jwks(document: bytes) -> None:
    assert parse_keys(document) is None


def test_too_many_keys_are_no_jwks() -> None:
    assert parse_keys(json.dumps({"keys": [None] * MAX_KEYS}).encode()) is not None
    assert parse_keys(json.dumps({"keys": [None] * (MAX_KEYS + 1)}).encode()) is None


def test_a_set_lacks_a_key_that_was_removed_or_replaced() -> None:
    first, both = parsed({**EC, "kid": "a"}), parsed({**EC, "kid": "a"}, {**RSA, "kid": "b"})
    other = {**key_of("P-256", 1).as_dict(private=False), "kid": "a"}
    replaced, ambiguous = parsed(other), parsed({**EC, "kid": "a"}, other)

    assert [both.lack_one_of(first), first.lack_one_of(first)] == [False, False]
    assert ambiguous.lack_one_of(first)
    assert [first.lack_one_of(both), replaced.lack_one_of(first), parsed().lack_one_of(first)] == [True, True, True]
