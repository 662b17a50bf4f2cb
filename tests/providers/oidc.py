"""An OIDC provider on the loopback interface: its metadata and its keys over real sockets, and signed tokens."""

from __future__ import annotations

import base64
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

Key = RSAKey | ECKey | OKPKey
NOW = 1_800_000_000
"""The time of `FakeClock`."""
METADATA = "/.well-known/openid-configuration"


@cache
def key_of(kind: str, number: int = 0) -> Key:
    """A key pair, the same one for the same arguments: creating one takes long."""
    match kind:
        case "RSA":
            return RSAKey.generate_key(2048)
        case "Ed25519":
            return OKPKey.generate_key("Ed25519")
        case "P-256" | "P-384" | "P-521":
            return ECKey.generate_key(kind)
    raise AssertionError(kind)


def signed(claims: Mapping[str, Any], key: Key, algorithm: str, **header: Any) -> str:
    """A token. `header`: further members of its header."""
    return signed_text(json.dumps({"alg": algorithm, **header}), json.dumps(claims), key, algorithm)


def signed_text(header: str, claims: str, key: Key, algorithm: str) -> str:
    """A token with a valid signature over these texts, whatever they are."""
    text = f"{encoded(header.encode())}.{encoded(claims.encode())}"
    return f"{text}.{encoded(JWSRegistry.algorithms[algorithm].sign(text.encode(), key))}"


def encoded(part: bytes) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


class OidcProvider:
    """Signs tokens, and serves the keys that verify them."""

    def __init__(self, url: str) -> None:
        self.issuer = url
        self.keys: dict[str, tuple[Key, str]] = {"first": (key_of("P-256"), "ES256")}
        """Id of a key -> the key, and its algorithm."""
        self.requests: Counter[str] = Counter()
        """By path."""
        self.failing = False
        """Whether requests get status 503."""
        self.documents: dict[str, bytes] = {}
        """Path -> a body instead of the right one."""
        self.tokens: dict[str, str] = {}
        """Code of a login -> the ID token for which it is exchanged, once."""
        self.exchanges: list[tuple[str | None, dict[str, str]]] = []
        """The header `Authorization`, and the form, of each exchange."""
        self.redirects: dict[str, str] = {}
        """Path -> the address to which it redirects."""

    def claims(self, **changes: Any) -> dict[str, Any]:
        """The claims of a valid token for `models-proxy`; a value None removes one."""
        claims = {
            "iss": self.issuer,
            "aud": "models-proxy",
            "sub": "u-1",
            "exp": NOW + 3600,
            "iat": NOW,
            "groups": ["llm-users"],
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key_id: str = "first", **changes: Any) -> str:
        """A token that is signed with one of the keys. `changes`: of its claims."""
        key, algorithm = self.keys[key_id]
        return signed(self.claims(**changes), key, algorithm, kid=key_id)

    def document(self, path: str) -> bytes | None:
        """The body of a response, None if there is nothing at the path."""
        if path in self.documents:
            return self.documents[path]
        if path == METADATA:
            urls = {
                "jwks_uri": f"{self.issuer}/keys",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
            }
            return json.dumps({"issuer": self.issuer, **urls}).encode()
        if path == "/keys":
            keys = [
                {**key.as_dict(private=False), "kid": key_id, "use": "sig", "alg": algorithm}
                for key_id, (key, algorithm) in self.keys.items()
            ]
            return json.dumps({"keys": keys}).encode()
        return None


@contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """Serve a provider in a thread, so tests may block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    provider = OidcProvider(f"http://127.0.0.1:{server.server_address[1]}")
    server.provider = provider  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        provider: OidcProvider = self.server.provider  # type: ignore[attr-defined]
        provider.requests[self.path] += 1
        if location := provider.redirects.get(self.path):
            self._respond(302, b"", location=location)
        elif provider.failing:
            self._respond(503, b"away")
        elif (body := provider.document(self.path)) is not None:
            self._respond(200, body)
        else:
            self._respond(404, b"nothing here")

    def do_POST(self) -> None:
        """Exchange a code."""
        provider: OidcProvider = self.server.provider  # type: ignore[attr-defined]
        provider.requests[self.path] += 1
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        provider.exchanges.append((self.headers["authorization"], form))
        if location := provider.redirects.get(self.path):
            self._respond(302, b"", location=location)
        elif (body := provider.documents.get(self.path)) is not None:
            self._respond(200, body)
        elif provider.failing or (token := provider.tokens.pop(form.get("code", ""), None)) is None:
            self._respond(400, b'{"error": "invalid_grant", "error_description": "canary-description"}')
        else:
            self._respond(200, json.dumps({"access_token": "canary-access-token", "id_token": token}).encode())

    def _respond(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        with suppress(ConnectionError):  # a client that has read enough
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Without output."""
