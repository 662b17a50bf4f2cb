"""Log in to the status page at an OIDC provider: authorization code flow with PKCE (RFC 6749, 7636)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Annotated, NamedTuple
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec import Meta, Struct

from proxy.access import Caller
from proxy.access.issuer_sessions import IssuerSessions
from proxy.access.jwt import SigningKeyNeeded
from proxy.access.sessions import Session, Sessions
from proxy.api.query import parameters_of
from proxy.api.request import RequestHead
from proxy.api.routes import Route
from proxy.api.status.cookies import LOGIN, SESSION, cookie_value, set_cookie
from proxy.api.status.pages import LOGIN_PATH, html_response, redirect, render
from proxy.api.status.return_path import FIELD, MAX_LENGTH, return_path
from proxy.api.status.session_keeper import LoginAttempts, LoginFailed
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.clock import Clock
from proxy.config import Config
from proxy.config.auth import JwtIssuer
from proxy.errors import BadRequest, CrossSiteRequest, Forbidden, InvalidKey, LoginUnavailable, UpstreamError
from proxy.printable import printable
from proxy.upstream.oidc import Endpoints, exchange_code, fetch_endpoints

START_PATH, CALLBACK_PATH = "/status/oidc", "/status/oidc/callback"
LOGIN_SECONDS = 600
"""How long a login at the issuer can take."""
ENDPOINTS_SECONDS = 300.0
"""How long the metadata of an issuer are used."""
_MAX_PARAMETERS = 20
_PURPOSE = b"log-in"
_Text = Annotated[str, Meta(max_length=256)]

_log = logging.getLogger("models_proxy")


class _State(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A login in progress, in a cookie of its browser."""

    issuer: _Text
    state: _Text
    nonce: _Text
    verifier: _Text
    expires: float
    """Unix seconds."""
    path: Annotated[str, Meta(max_length=MAX_LENGTH)]
    """Where the browser goes after the login."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


class Issuer(NamedTuple):
    """A button of the form."""

    label: str
    query: str


class IssuerLogin:
    """The endpoints for logins at issuers with a client."""

    def __init__(
        self,
        config: Config,
        callers: IssuerSessions,
        sealed: Sessions,
        attempts: LoginAttempts,
        clock: Clock,
        fetch_keys: Callable[[str], Awaitable[None]],
        failure_page: Callable[[RequestHead, LoginFailed, Sequence[Header]], Awaitable[RawResponse]],
    ) -> None:
        """`fetch_keys` fetches the signing keys of an issuer; `failure_page` returns the form with a problem."""
        self._callers = callers
        self._sealed = sealed
        self._attempts = attempts
        self._clock = clock
        self._fetch_keys = fetch_keys
        self._failure_page = failure_page
        self._public_url = config.server.public_url or ""
        self._base = config.server.base_path.rstrip("/")
        self._is_secure = self._public_url.lower().startswith("https:")
        self._endpoints: dict[str, tuple[float, Endpoints]] = {}
        """Issuer -> monotonic seconds until which they are used."""

    @property
    def issuers(self) -> Sequence[Issuer]:
        return [
            Issuer(printable(name.partition("://")[2]), urlencode({"issuer": name})) for name in self._callers.clients
        ]

    def routes(self) -> Sequence[Route]:
        return [
            Route(START_PATH, ("GET",), self.start, is_public=True),
            Route(CALLBACK_PATH, ("GET",), self.callback, is_public=True),
        ]

    def start(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """Redirect to the issuer. Raises BadRequest and CrossSiteRequest."""
        if _fetch_site(head) in (b"cross-site", b"same-site"):
            return redirect(head, self._base + LOGIN_PATH)
        _check_is_page(head)
        given = parameters_of(head, ("issuer", FIELD))
        issuer = self._callers.clients.get(given.get("issuer", ""))
        if issuer is None:
            raise BadRequest("`issuer` must be one of `auth.jwt` with a client.", param="issuer")
        return partial(self._start, head, issuer, return_path(given))

    def callback(self, head: RequestHead, caller: Caller) -> Handler:
        """Handle the redirect from the issuer. Raises BadRequest and CrossSiteRequest."""
        _check_is_page(head)
        try:
            given = parse_qsl(head.query.decode("latin-1"), max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            raise BadRequest("The query has too many parameters.") from None
        parameters = dict(given)
        if len(parameters) < len(given):
            raise BadRequest("A query parameter is repeated.")
        return partial(self._callback, head, parameters)

    async def _start(
        self, head: RequestHead, issuer: JwtIssuer, path: str, receive: Receive, send: Send
    ) -> RawResponse:
        try:
            self._attempts.check(head)
            endpoints = await self._endpoints_of(issuer)
        except (LoginFailed, UpstreamError) as error:
            return await self._failure(head, error)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "response_type": "code",
            "client_id": issuer.client_id or "",
            "redirect_uri": self._redirect_uri,
            "scope": " ".join(issuer.client_scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        pending = _State(issuer.issuer, state, nonce, verifier, self._clock.time() + LOGIN_SECONDS, path)
        sealed = self._sealed.seal_state(_PURPOSE, _encode(pending))
        # Not Strict: the issuer, another site, sends the browser back.
        cookie = set_cookie(LOGIN, sealed, LOGIN_SECONDS, secure=self._is_secure, is_strict=False)
        separator = "&" if "?" in endpoints.authorization else "?"
        return redirect(head, f"{endpoints.authorization}{separator}{urlencode(query)}", [cookie])

    async def _callback(
        self, head: RequestHead, parameters: Mapping[str, str], receive: Receive, send: Send
    ) -> RawResponse:
        try:
            self._attempts.check(head)
            pending = self._pending(head, parameters)
            session, caller = await self._log_in(pending, parameters)
        except (LoginFailed, UpstreamError) as error:
            return await self._failure(head, error)
        _log.info("admin: %s: login to the status page from %s", caller.who, self._attempts.client_of(head))
        value, seconds = self._sealed.cookie_of(session)
        cookies = [set_cookie(SESSION, value, seconds, secure=self._is_secure), self._deleted]
        # A page, not a redirect: browsers do not send cookies that are Strict with redirects from another site.
        return html_response(head, await render("logged_in.html", base=self._base, path=pending.path), 200, cookies)

    def _pending(self, head: RequestHead, parameters: Mapping[str, str]) -> _State:
        """Return the login that was started in this browser. Raises LoginFailed."""
        sealed = self._sealed.open_state(_PURPOSE, cookie_value(head.headers, LOGIN) or b"")
        try:
            pending = _decode(sealed or b"")
        except msgspec.MsgspecError:
            pending = None
        given = parameters.get("state", "").encode("utf-8", "replace")
        if (
            pending is None
            or self._clock.time() >= pending.expires
            or not hmac.compare_digest(pending.state.encode(), given)
        ):
            text = f"This login was not started in this browser at {self._public_url}, or it took too long. Try again."
            raise LoginFailed(400, text, "unknown or expired state")
        if parameters.get("iss", pending.issuer) != pending.issuer:  # RFC 9207
            raise LoginFailed(400, "The response is from another issuer.", "response from another issuer")
        return pending

    async def _log_in(self, pending: _State, parameters: Mapping[str, str]) -> tuple[Session, Caller]:
        """Raises LoginFailed and UpstreamError."""
        issuer = self._callers.clients.get(pending.issuer)
        if issuer is None:
            raise LoginFailed(403, "This issuer is no longer configured.", "issuer no longer configured")
        if "code" not in parameters:
            reason = f"the issuer returned {parameters.get('error', 'no code')[:100]}"
            raise LoginFailed(403, "The issuer rejected the login.", reason)
        endpoints = await self._endpoints_of(issuer)
        token = await exchange_code(issuer, endpoints, parameters["code"], pending.verifier, self._redirect_uri)
        try:
            return await self._validated(token, issuer, pending.nonce)
        except Forbidden as error:
            raise LoginFailed(403, "You are not an administrator of this proxy.", error.message) from None
        except InvalidKey:
            raise LoginFailed(401, "The issuer returned an invalid ID token.", "invalid ID token") from None
        except LoginUnavailable:
            text = "The issuer cannot be reached. Try again later."
            raise LoginFailed(503, text, "signing keys cannot be fetched") from None

    async def _validated(self, token: bytes, issuer: JwtIssuer, nonce: str) -> tuple[Session, Caller]:
        """Raises Forbidden, InvalidKey and LoginUnavailable."""
        with suppress(SigningKeyNeeded):
            return self._callers.log_in(token, issuer, nonce)
        await self._fetch_keys(issuer.issuer)
        try:
            return self._callers.log_in(token, issuer, nonce)
        except SigningKeyNeeded:  # the fetch has failed or timed out
            raise LoginUnavailable from None

    async def _endpoints_of(self, issuer: JwtIssuer) -> Endpoints:
        """Raises UpstreamError."""
        now = self._clock.monotonic()
        until, endpoints = self._endpoints.get(issuer.issuer, (now, None))
        if endpoints is None or now >= until:
            endpoints = await fetch_endpoints(issuer)
            self._endpoints[issuer.issuer] = now + ENDPOINTS_SECONDS, endpoints
        return endpoints

    async def _failure(self, head: RequestHead, error: LoginFailed | UpstreamError) -> RawResponse:
        if isinstance(error, UpstreamError):
            error = LoginFailed(503, "The issuer cannot be reached, or its response is invalid.", error.reason)
        return await self._failure_page(head, error, [self._deleted])

    @property
    def _redirect_uri(self) -> str:
        return self._public_url + CALLBACK_PATH

    @property
    def _deleted(self) -> Header:
        return set_cookie(LOGIN, "", 0, secure=self._is_secure, is_strict=False)


def _check_is_page(head: RequestHead) -> None:
    """Raises CrossSiteRequest for an image, a frame or a request of a script.

    With them, any page could use up the attempts of the address of its visitor, who then could not log in.
    """
    if any(name == b"sec-fetch-dest" and value != b"document" for name, value in head.headers):
        raise CrossSiteRequest


def _fetch_site(head: RequestHead) -> bytes:
    """The value of `Sec-Fetch-Site`: the site of the page that has sent a browser here, b"" without the header."""
    return next((value for name, value in head.headers if name == b"sec-fetch-site"), b"")
