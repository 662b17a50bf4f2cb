"""Authentication: identify the caller of a request by its headers. No I/O; the clock is injected."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from proxy.access.policy import Policy
from proxy.asgi import Header
from proxy.config import Config
from proxy.errors import InvalidKey

MAX_KEY_BYTES = 4096


def _bare(value: bytes) -> bytes:
    return value


def _bearer(value: bytes) -> bytes:
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def _bare_or_bearer(value: bytes) -> bytes:
    return _bearer(value) or value


KEY_HEADERS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"authorization": _bearer,  # OpenAI's SDKs, and most clients
    b"x-auth-token": _bare,  # Huawei Cloud, OpenStack
    b"x-api-key": _bare,  # Anthropic's SDKs
    b"api-key": _bare,  # Azure OpenAI's SDKs
    b"x-goog-api-key": _bare,  # Google's Gemini SDKs
    b"ocp-apim-subscription-key": _bare,  # clients of Azure API Management
    b"apikey": _bare,  # clients of Kong
    b"x-apikey": _bare,  # clients of Apigee
    b"x-api-token": _bare,  # other gateways
    b"x-access-token": _bare,
    b"x-litellm-api-key": _bare_or_bearer,  # clients of LiteLLM
    b"x-litellm-key": _bare_or_bearer,  # the custom header in LiteLLM's documentation
    b"x-portkey-api-key": _bare_or_bearer,  # Portkey's SDKs
    b"helicone-auth": _bare_or_bearer,  # clients of Helicone
    b"cf-aig-authorization": _bare_or_bearer,  # clients of Cloudflare AI Gateway
}
"""The headers in which clients send an API key, and how each is parsed.

All are checked, so that an invalid key in any of them is rejected: a key in an ignored header would count as no key,
and its sender would get the list of the group `default`. Not included: `Proxy-Authorization`, which is for forward
proxies, and headers with a provider's key (`X-OpenAI-Api-Key`) or a session (`Cookie`).
"""
PRIVATE: Sequence[Header] = (
    # Responses differ between keys, so caches must revalidate them (RFC 9111, 3.5).
    (b"cache-control", b"private, no-cache"),
    (b"vary", b", ".join([*map(bytes.title, KEY_HEADERS), b"Accept-Encoding"])),
)
"""The headers of every response that depends on the key."""
QUERY_KEYS = frozenset(
    {"key", "api_key", "apikey", "access_token", "token", "subscription-key", *map(bytes.decode, KEY_HEADERS)}
)


@dataclass(frozen=True)
class Caller:
    """The sender of a request. `name`: of its key in the configuration, None without a key."""

    name: str | None
    policy: Policy
    admin: bool = False
    may_call: bool = False
    """Whether the caller can call models, not only list them."""


class Access:
    """The keys of a configuration, by SHA-256 digest."""

    def __init__(self, config: Config, time: Callable[[], float]) -> None:
        """`time` returns Unix seconds, for the expiry of keys."""
        self._time = time
        self._open = config.is_open
        group = config.anonymous
        self._anonymous = Caller(None, Policy.of(group.models), may_call=bool(group.call)) if group else None
        self._keys = {
            key.digest: (Caller(key.name, Policy.of(key.rules), key.admin, key.may_call), key.valid_until)
            for key in config.keys
        }

    def identify(self, credentials: Sequence[tuple[bytes, bytes]], query: bytes = b"") -> Caller:
        """Return the caller who sent these credentials: the request headers in KEY_HEADERS. Raises InvalidKey.

        There must be exactly one key, in any of KEY_HEADERS. Repeated headers, conflicting keys, schemes other than
        Bearer, keys in the query, and keys above 4 KiB are rejected before hashing.
        """
        if self._open:
            return self._known(self._anonymous)
        if query and not QUERY_KEYS.isdisjoint(name.lower() for name, _ in parse_qsl(query.decode("latin-1"))):
            raise InvalidKey
        if not credentials:
            return self._known(self._anonymous)
        # The look-up by digest prevents timing attacks.
        caller, valid_until = self._keys.get(hashlib.sha256(_only_key(credentials)).digest(), (None, 0.0))
        if self._time() >= valid_until:
            raise InvalidKey
        return self._known(caller)

    @staticmethod
    def _known(caller: Caller | None) -> Caller:
        if caller is None:
            raise InvalidKey
        return caller


def _only_key(credentials: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return the one key that all headers contain. Raises InvalidKey."""
    keys = [KEY_HEADERS[name](value) for name, value in credentials]
    if len(keys) > 1 and (len(dict(credentials)) < len(keys) or len(set(keys)) > 1):
        raise InvalidKey
    if not 0 < len(keys[0]) <= MAX_KEY_BYTES:
        raise InvalidKey
    return keys[0]
