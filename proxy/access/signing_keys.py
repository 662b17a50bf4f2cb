"""The signing keys of an issuer (JWKS), and the signatures that they verify. Imports the library: 8 MiB of memory."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from proxy.access.token import MAX_TOKEN_BYTES
from proxy.decoding import decode_or_none

MAX_KEYS = 100
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
_PARAMETERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
"""The public parts of keys; private parts are not imported. Symmetric keys (`oct`) are not supported."""
_ALGORITHMS: Mapping[str, Collection[str]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
"""Type or curve of a key -> the algorithms of its signatures."""


class SigningKey(NamedTuple):
    """A public key of an issuer."""

    key_id: str | None
    algorithms: frozenset[str]
    material: tuple[str, ...]
    """The parameters of the key."""
    key: RSAKey | ECKey | OKPKey

    def verifies(self, token: bytes, algorithm: str) -> bool:
        """Whether the signature of a token is valid."""
        try:
            jws.deserialize_compact(token, self.key, registry=_Registry(algorithm))
        except (JoseError, ValueError):
            return False
        return True


class SigningKeys:
    """The keys of one issuer. Immutable."""

    def __init__(self, keys: Collection[SigningKey]) -> None:
        self._keys = tuple(keys)

    def find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        """Return the key with this id for an algorithm; without an id, the only key for it.

        None if no key matches, or several different ones. Identical entries count as one: some providers list a key
        several times.
        """
        found = [key for key in self._keys if algorithm in key.algorithms and (key_id is None or key.key_id == key_id)]
        return found[0] if len({key.material for key in found}) == 1 else None

    def lack_one_of(self, before: SigningKeys) -> bool:
        """Whether a key of an earlier set is not in this one, or not the only one with its id."""
        return not _unique(before._keys) <= _unique(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def parse_keys(document: bytes) -> SigningKeys | None:
    """Return the usable keys of a JWKS, None for another document."""
    value = decode_or_none(document)
    entries = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        return None
    return SigningKeys([*_usable(entries)])


def _usable(entries: Collection[object]) -> Iterator[SigningKey]:
    for entry in entries:
        if isinstance(entry, dict) and (key := _key_of(entry)):
            yield key


def _key_of(entry: Mapping[str, Any]) -> SigningKey | None:
    """Return a public key for signatures, None for any other."""
    kind = entry.get("kty")
    names = _PARAMETERS.get(kind, ()) if isinstance(kind, str) else ()
    material = {name: entry.get(name) for name in names}
    key_id, algorithm, uses = entry.get("kid"), entry.get("alg"), entry.get("key_ops")
    is_usable = (
        bool(material)
        and all(isinstance(value, str) for value in material.values())
        and isinstance(key_id, str | None)
        and entry.get("use") in (None, "sig")
        and (uses is None or (isinstance(uses, list) and "verify" in uses))
    )
    if not is_usable:
        return None
    key = _imported(material)
    algorithms = _ALGORITHMS.get("RSA" if kind == "RSA" else str(material["crv"]), ())
    if kind == "OKP" and algorithm in algorithms:
        algorithm = None  # both names are those of one algorithm
    own = frozenset(each for each in algorithms if algorithm in (None, each))
    return SigningKey(key_id, own, tuple(map(str, material.values())), key) if key and own else None


def _imported(material: Mapping[str, Any]) -> RSAKey | ECKey | OKPKey | None:
    try:
        match material["kty"]:
            case "RSA":
                # The library prints warnings about short keys to stderr.
                bits = int.from_bytes(base64.urlsafe_b64decode(material["n"] + "==")).bit_length()
                return RSAKey.import_key(dict(material)) if MIN_RSA_BITS <= bits <= MAX_RSA_BITS else None
            case "EC":
                ec_key = ECKey.import_key(dict(material))
                return ec_key if ec_key.raw_value else None
        okp_key = OKPKey.import_key(dict(material))
        return okp_key if okp_key.raw_value else None
    except (JoseError, ValueError, KeyError):
        return None


def _unique(keys: Collection[SigningKey]) -> set[tuple[tuple[str | None, str], tuple[str, ...]]]:
    """Return the id, an algorithm, and the parameters of each key that is the only one with its id and algorithm."""
    found: dict[tuple[str | None, str], set[tuple[str, ...]]] = defaultdict(set)
    for key in keys:
        for algorithm in key.algorithms:
            found[key.key_id, algorithm].add(key.material)
    return {(name, material) for name, (material, *others) in found.items() if not others}


class _Registry(jws.JWSRegistry):
    """Allows one algorithm. The sizes and headers of tokens were checked before."""

    max_header_length = MAX_TOKEN_BYTES
    max_payload_length = MAX_TOKEN_BYTES
    max_signature_length = MAX_TOKEN_BYTES

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)
        self._algorithm = algorithm

    def get_alg(self, name: str) -> Any:
        """Suppress the library's warnings about `EdDSA`: providers still use that name."""
        if name != self._algorithm:
            raise JoseError("another algorithm")
        return self.algorithms[name]
