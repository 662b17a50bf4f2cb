"""Logins that renew their token: Huawei IAM and OAuth client credentials."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx
from pydantic import SecretStr

from proxy.config import Provider
from proxy.config.provider_settings import Iam, OAuth
from proxy.config.secret_files import SecretFile, values_of
from proxy.decoding import decode_or_none
from proxy.dialects import unix_seconds
from proxy.errors import UpstreamError
from proxy.upstream.errors import from_exception, from_status
from proxy.upstream.redaction import redact_url
from proxy.upstream.redirects import Requested

RENEW_BEFORE = 300.0
"""Seconds before its expiry at which a token is renewed; at most half of its lifetime."""
MAX_RESPONSE = 256 * 1024
"""Bytes; an IAM sends a service catalog with the token."""
ASSUMED_LIFE = 3600.0
"""Lifetime in seconds of a token without an expiry."""
_REJECTED = frozenset({400, 401})
"""Statuses of a login with a wrong password. RFC 6749, 5.2, allows both."""

Send = Callable[[httpx.Request], Awaitable[httpx.Response]]
R = TypeVar("R")


class Login:
    """Keeps a token; logs in at first use, shortly before the token expires, and after it was rejected."""

    label: str
    """Its name in messages."""
    setting: str
    """Its name in the configuration."""
    header: str
    path = ""
    """The end of `url` that is not in the configuration."""
    prefix = ""

    def __init__(self, time: Callable[[], float]) -> None:
        """`time` returns Unix seconds."""
        self._time = time
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()  # concurrent requests share one login

    @property
    def secrets(self) -> tuple[str, ...]:
        """Password and token: messages must not contain them."""
        return *values_of(self._secret), self._token

    @property
    def url(self) -> str:
        """Where it logs in."""
        raise NotImplementedError

    @property
    def _secret(self) -> SecretStr:
        """Its password, which can be in a file."""
        raise NotImplementedError

    def _request(self, password: str) -> httpx.Request:
        """The login request."""
        raise NotImplementedError

    def _parse_token(self, response: httpx.Response, payload: Any) -> tuple[str, float]:
        """The token, "" if there is none, and its expiry in Unix seconds, 0 if unknown."""
        raise NotImplementedError

    def inherit(self, before: Login) -> None:
        """Take over the token of a login with the same settings."""
        self._token, self._renew_at = before._token, before._renew_at

    async def header_to_send(self, send: Send) -> Mapping[str, str]:
        """The header with a valid token. Raises UpstreamError."""
        async with self._renewing:
            if self._time() >= self._renew_at:
                response = await self._send(send)
                try:
                    await self._store(response)
                finally:
                    await response.aclose()
        return {self.header: self.prefix + self._token}

    async def _send(self, send: Send) -> httpx.Response:
        """The response to the login, or to a second one if the first was rejected and the file has a new secret."""
        password = self._secret.get_secret_value()
        response = await send(self._login(password))
        if response.status_code in _REJECTED and isinstance(self._secret, SecretFile):
            await asyncio.to_thread(self._secret.reload)
            renewed = self._secret.get_secret_value()
            if renewed != password:
                await response.aclose()
                return await send(self._login(renewed))
        return response

    def _login(self, password: str) -> httpx.Request:
        login = self._request(password)
        login.headers.update({"Accept": "application/json", "Accept-Encoding": "identity"})
        return login

    def failed(self, error: UpstreamError) -> UpstreamError:
        """The error for a failed login, which names the login and not the API."""
        reason = f"{self.label} login failed: {error.reason}"
        failure = UpstreamError(error.kind, reason, retryable=error.retryable, retry_after=error.retry_after)
        failure.url = redact_url(self.url, self.secrets)
        return failure

    def discard(self, signed: Mapping[str, str]) -> None:
        """Discard the rejected token of this header, unless it was renewed in the meantime."""
        if signed == {self.header: self.prefix + self._token}:
            self._renew_at = 0.0

    async def _store(self, response: httpx.Response) -> None:
        body = await response.aread()
        if len(body) > MAX_RESPONSE:
            raise self.failed(UpstreamError("too_large", f"response larger than {MAX_RESPONSE:,} bytes"))
        if not response.is_success:
            requested = Requested(self.url, self.path, f"{self.setting}.url", self.setting)
            raise self.failed(from_status(response, body, self.secrets, self._time(), requested))
        self._token, expires_at = self._parse_token(response, decode_or_none(body))
        if not self._token:
            reason = f"status {response.status_code} without a token"
            raise self.failed(UpstreamError("invalid_response", reason))
        lifetime = (expires_at or self._time() + ASSUMED_LIFE) - self._time()
        self._renew_at = self._time() + max(lifetime - RENEW_BEFORE, lifetime / 2)


class IamLogin(Login):
    """`POST /v3/auth/tokens` of a Huawei IAM. The token is in a response header."""

    label = "IAM"
    setting = "iam"
    header = "X-Auth-Token"
    path = "/v3/auth/tokens"

    def __init__(self, iam: Iam, time: Callable[[], float]) -> None:
        super().__init__(time)
        self._iam = iam

    @property
    def url(self) -> str:
        return self._iam.url + self.path

    @property
    def _secret(self) -> SecretStr:
        return self._iam.password

    def _request(self, password: str) -> httpx.Request:
        iam = self._iam
        user = {"domain": {"name": iam.domain}, "name": iam.user, "password": password}
        identity = {"methods": ["password"], "password": {"user": user}}
        auth = {"identity": identity, "scope": {"project": {"name": iam.project}}}
        return httpx.Request("POST", self.url, json={"auth": auth})

    def _parse_token(self, response: httpx.Response, payload: Any) -> tuple[str, float]:
        return response.headers.get("X-Subject-Token", ""), unix_seconds(_value_at(payload, "token", "expires_at"))


class OAuthLogin(Login):
    """OAuth 2.0 client credentials (RFC 6749, 4.4), as Entra and others grant them."""

    label = "OAuth"
    setting = "oauth"
    header = "Authorization"
    prefix = "Bearer "

    def __init__(self, oauth: OAuth, time: Callable[[], float]) -> None:
        super().__init__(time)
        self._oauth = oauth

    @property
    def url(self) -> str:
        return self._oauth.url

    @property
    def _secret(self) -> SecretStr:
        return self._oauth.secret

    def _request(self, password: str) -> httpx.Request:
        form = {"grant_type": "client_credentials", "client_id": self._oauth.id, "client_secret": password}
        if self._oauth.scope:
            form["scope"] = self._oauth.scope
        return httpx.Request("POST", self.url, data=form)

    def _parse_token(self, response: httpx.Response, payload: Any) -> tuple[str, float]:
        token, expires_in = _value_at(payload, "access_token"), _value_at(payload, "expires_in")
        seconds = int(expires_in) if re.fullmatch("[0-9]{1,9}", str(expires_in)) else 0  # some send it as a string
        is_valid = isinstance(token, str) and token.isascii() and token.isprintable()
        return str(token) if is_valid else "", self._time() + seconds if seconds else 0.0


async def signed_header(login: Login, send: Send, provider: Provider) -> Mapping[str, str]:
    """The header with a valid token of a provider's login. Raises UpstreamError."""
    try:
        return await login.header_to_send(send)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError, ValueError) as error:
        limit = provider.timeout / 3
        raise login.failed(from_exception(error, limit, via_proxy=provider.proxy is not None)) from error


async def send_signed(
    sign: Callable[[], Awaitable[Mapping[str, str]]],
    discard: Callable[[Mapping[str, str]], None],
    send: Callable[[Mapping[str, str]], Awaitable[R]],
    rejected: Callable[[R], Awaitable[bool]],
) -> R:
    """Send a request with a login's token. Retry once with a new token if the provider rejects it.

    `sign` returns the header with a valid token, `discard` discards the token of a header. `rejected` closes a response
    with status 401 and returns True: the token expired early, and the provider did not process the request.
    """
    signed = await sign()
    response = await send(signed)
    if not await rejected(response):
        return response
    discard(signed)
    return await send(await sign())


def login_of(provider: Provider, time: Callable[[], float]) -> Login | None:
    """The login of a provider, None if it has no `iam` or `oauth` setting."""
    if provider.iam:
        return IamLogin(provider.iam, time)
    return OAuthLogin(provider.oauth, time) if provider.oauth else None


def _value_at(payload: Any, *names: str) -> Any:
    for name in names:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload
