"""The signing keys of all issuers of `auth.jwt`: fetched in the background, and for a token with an unknown key id.

They are kept across reloads. While an issuer is unavailable, its last keys stay in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from proxy.clock import Clock
from proxy.config.auth import JwtIssuer
from proxy.errors import UpstreamError, describe_bug
from proxy.errors.access import RETRY_LOGIN_SECONDS

if TYPE_CHECKING:
    from proxy.access.signing_keys import SigningKeys

REFRESH_SECONDS = 300.0
"""Seconds between two fetches of an issuer's keys: the time for which a removed key can still be valid."""
RETRY_SECONDS = 30.0
"""Seconds between a failed fetch and the next one."""
UNKNOWN_KEY_SECONDS = 30.0
"""Minimum seconds between two fetches because of tokens with unknown key ids, which any client can send."""
_NO_KEY = "the JWKS contains no usable RSA, EC or Ed25519 key for signatures; check `jwks_url` and the issuer"

FetchKeys = Callable[[JwtIssuer], Awaitable[bytes]]
"""Returns the JWKS of an issuer. Raises UpstreamError."""

_log = logging.getLogger("models_proxy")


class KeySets:
    """Fetches and keeps the keys (it is a `KeySource`). Fetches of one issuer at the same time are one."""

    def __init__(self, clock: Clock, fetch: FetchKeys) -> None:
        self._clock = clock
        self._fetch = fetch
        self._of: dict[str, _KeySet] = {}
        self.removals = 0

    def configure(self, issuers: Iterable[JwtIssuer]) -> None:
        """Keep the keys of these issuers only. Those of an issuer with another URL are discarded."""
        before = self._of
        self._of = {}
        for issuer in issuers:
            known = before.get(issuer.issuer)
            if known is None or known.issuer.jwks_url != issuer.jwks_url:
                known = _KeySet(issuer)
            known.issuer = issuer  # the next fetch uses its `proxy` and `ca_file`
            self._of[issuer.issuer] = known

    def of(self, issuer: str) -> SigningKeys | None:
        found = self._of.get(issuer)
        return found.keys if found else None

    def may_fetch(self, issuer: str) -> bool:
        found = self._of.get(issuer)
        if found is None:
            return False
        pause = RETRY_LOGIN_SECONDS if found.keys is None else UNKNOWN_KEY_SECONDS
        return found.fetching is not None or self._clock.monotonic() - found.began >= pause

    async def fetch(self, issuer: str) -> None:
        """Fetch the keys of an issuer, unless it was removed; wait for a fetch in progress instead. Never raises."""
        found = self._of.get(issuer)
        if found is None:
            return
        if found.fetching is None:
            found.began = self._clock.monotonic()
            found.fetching = asyncio.create_task(self._update(found), name=f"fetch signing keys of {issuer}")
        # Shielded: one disconnected client must not cancel the fetch for the others.
        await asyncio.shield(found.fetching)

    @property
    def states(self) -> list[dict[str, object]]:
        """The state of each issuer, for `/health`."""
        now = self._clock.monotonic()
        return [found.state(now) for found in self._of.values()]

    async def run(self) -> None:
        """Keep the keys of all issuers current until canceled."""
        async with asyncio.TaskGroup() as group:
            for issuer in self._of:
                group.create_task(self._keep(issuer))

    async def close(self) -> None:
        """Cancel all fetches."""
        tasks = [found.fetching for found in self._of.values() if found.fetching]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, issuer: str) -> None:
        while found := self._of.get(issuer):
            await self.fetch(issuer)
            await self._clock.sleep(RETRY_SECONDS if found.failure else REFRESH_SECONDS)

    async def _update(self, found: _KeySet) -> None:
        try:
            document = await self._fetch(found.issuer)
            keys = await asyncio.to_thread(_parsed, document)  # in a thread: the first call imports a library
            if found.keys is not None and keys.lack_one_of(found.keys):
                self.removals += 1
            found.succeeded(keys, self._clock.monotonic())
        except UpstreamError as error:
            found.failed(error.reason)
        except Exception as bug:
            found.failed(f"internal error: {describe_bug(bug)}")
        finally:
            found.fetching = None


class _KeySet:
    """The keys of one issuer."""

    def __init__(self, issuer: JwtIssuer) -> None:
        self.issuer = issuer
        self.keys: SigningKeys | None = None
        """None before they were fetched."""
        self.began = float("-inf")
        """Monotonic seconds of the last fetch."""
        self.fetching: asyncio.Task[None] | None = None
        self._fetched: float | None = None
        """When the keys were fetched, in monotonic seconds."""
        self.failure = ""
        """Why the last fetch failed, "" if it did not."""
        self._logged = ""

    def state(self, now: float) -> dict[str, object]:
        """`now`: monotonic seconds."""
        return {
            "issuer": self.issuer.issuer,
            "keys": None if self.keys is None else len(self.keys),
            "age_seconds": None if self._fetched is None else int(now - self._fetched),
            "last_error": self.failure or None,
        }

    def succeeded(self, keys: SigningKeys, now: float) -> None:
        """A set without a usable key is used, too: it revokes all tokens."""
        self.keys, self._fetched, self.failure = keys, now, "" if len(keys) else _NO_KEY
        if self.failure:
            self._log_failure(f"are missing: {_NO_KEY}")
        elif self._logged:
            self._logged = ""
            _log.info("auth: signing keys of %s fetched again: %d keys", self.issuer.issuer, len(keys))

    def failed(self, reason: str) -> None:
        self.failure = reason
        self._log_failure(f"cannot be fetched: {reason}")

    def _log_failure(self, text: str) -> None:
        """Log a failure, once while its text is the same."""
        if text == self._logged:
            return
        self._logged = text
        if self.keys is None:
            result = "its tokens get status 503"
        elif len(self.keys):
            result = "the last ones stay in use"
        else:
            result = "its tokens get status 401"
        _log.warning(
            "auth: signing keys of %s %s; %s; retrying in %d s", self.issuer.issuer, text, result, RETRY_SECONDS
        )


def _parsed(document: bytes) -> SigningKeys:
    """Raises UpstreamError."""
    from proxy.access.signing_keys import MAX_KEYS, parse_keys

    keys = parse_keys(document)
    if keys is None:
        raise UpstreamError("invalid_response", f"the response is not a JWKS with at most {MAX_KEYS} keys")
    return keys
