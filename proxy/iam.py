"""A login at a Huawei IAM (`POST /v3/auth/tokens`), as an httpx.Auth that renews its token by itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import httpx
import msgspec

from proxy.config import Iam
from proxy.dialects import reason_in, unix_seconds
from proxy.errors import UpstreamError

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

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if self._time() >= self._ends - RENEW_BEFORE:
            await self._keep((yield self._login()))
        request.headers["X-Auth-Token"] = self._token
        response = yield request
        if response.status_code == 401:
            await self._keep((yield self._login()))
            request.headers["X-Auth-Token"] = self._token
            yield request

    def _login(self) -> httpx.Request:
        iam = self._iam
        user = {"domain": {"name": iam.domain}, "name": iam.user, "password": iam.password.get_secret_value()}
        identity = {"methods": ["password"], "password": {"user": user}}
        return httpx.Request(
            "POST",
            f"{iam.url}/v3/auth/tokens",
            json={"auth": {"identity": identity, "scope": {"project": {"name": iam.project}}}},
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def _keep(self, response: httpx.Response) -> None:
        body = await response.aread()
        token = response.headers.get("X-Subject-Token", "")
        if response.status_code != 201 or not token:
            why = reason_in(body) or f"status {response.status_code}, no X-Subject-Token"
            retryable = response.status_code == 429 or response.status_code >= 500
            raise UpstreamError("unauthorized", f"the IAM login was refused: {why}", retryable=retryable)
        self._token = token
        self._ends = _expiry(body) or self._time() + ASSUMED_LIFE


def _expiry(body: bytes) -> int:
    try:
        said = msgspec.json.decode(body)
        return unix_seconds(said["token"]["expires_at"])
    except (ValueError, RecursionError, KeyError, TypeError):
        return 0
