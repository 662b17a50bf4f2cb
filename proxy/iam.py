"""A login at a Huawei IAM (`POST /v3/auth/tokens`), as an httpx.Auth that renews its token by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import httpx
import msgspec

from proxy.config import Iam
from proxy.dialects import unix_seconds
from proxy.errors import UpstreamError
from proxy.failures import refused

RENEW_BEFORE = 300.0
"""Seconds before its end at which a token is renewed."""
ASSUMED_LIFE = 3600.0
"""Seconds a token is used for when the answer does not say when it ends (usually 24 hours)."""


class IamAuth(httpx.Auth):
    """Sends `X-Auth-Token`; logs in first, again shortly before the token ends, and once more on a 401."""

    def __init__(self, iam: Iam, time: Callable[[], float]) -> None:
        """`time` tells Unix seconds."""
        self._iam = iam
        self._time = time
        self._token = ""
        self._ends = 0.0

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        return self._iam.password.get_secret_value(), self._token

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self._time() >= self._ends - RENEW_BEFORE:
            await self._keep((yield self._login(request)))
        request.headers["X-Auth-Token"] = self._token
        response = yield request
        if response.status_code == 401:
            await self._keep((yield self._login(request)))
            request.headers["X-Auth-Token"] = self._token
            yield request

    def _login(self, request: httpx.Request) -> httpx.Request:
        """The login that a request needs, within the same time limits."""
        iam = self._iam
        user = {"domain": {"name": iam.domain}, "name": iam.user, "password": iam.password.get_secret_value()}
        identity = {"methods": ["password"], "password": {"user": user}}
        return httpx.Request(
            "POST",
            f"{iam.url}/v3/auth/tokens",
            json={"auth": {"identity": identity, "scope": {"project": {"name": iam.project}}}},
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            extensions={"timeout": request.extensions["timeout"]},
        )

    async def _keep(self, response: httpx.Response) -> None:
        body = await response.aread()
        token = response.headers.get("X-Subject-Token", "")
        if not response.is_success:
            error = refused(response, body, self.secrets, self._time())
            raise UpstreamError(
                error.kind, f"its IAM login: {error.reason}", retryable=error.retryable, retry_after=error.retry_after
            )
        if not token:
            raise UpstreamError("garbled", f"its IAM login: status {response.status_code} without an X-Subject-Token")
        self._token = token
        self._ends = _expiry(body) or self._time() + ASSUMED_LIFE


def _expiry(body: bytes) -> int:
    try:
        said = msgspec.json.decode(body)
        return unix_seconds(said["token"]["expires_at"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return 0
