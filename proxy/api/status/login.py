"""Log in to the status page with an admin key, and log out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlencode

from proxy.access import Access, Caller
from proxy.access.jwt import KeySource
from proxy.access.session_callers import SessionCallers
from proxy.access.sessions import Session
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.api.status.cookies import SESSION, has_secure_cookies, set_cookie
from proxy.api.status.forms import read_form
from proxy.api.status.pages import LOGIN_PATH, html_response, redirect, render
from proxy.api.status.return_path import FIELD, START, return_path, return_path_in_query
from proxy.api.status.session_keeper import LoginAttempts, LoginFailed, SessionKeeper
from proxy.asgi import Handler, Header, RawResponse, Receive, Send
from proxy.clock import Clock
from proxy.config import Config
from proxy.errors import Forbidden, InvalidKey, KeyNotUsable
from proxy.printable import printable

if TYPE_CHECKING:
    from proxy.api.status.issuer_login import IssuerLogin

_log = logging.getLogger("models_proxy")


class SigningKeys(KeySource, Protocol):
    """The signing keys of all issuers."""

    async def fetch(self, issuer: str) -> None:
        """Fetch the signing keys of an issuer. Never raises."""
        ...


class StatusLogin:
    """The endpoints. Each attempt is logged, without the key."""

    def __init__(
        self, config: Config, access: Access, sessions: SessionKeeper, clock: Clock, signing_keys: SigningKeys
    ) -> None:
        self._config = config
        self.sessions = sessions
        self.callers = SessionCallers(config, access, sessions.sealed)
        self._attempts = LoginAttempts(config, access, sessions.attempts)
        self._base = config.server.base_path.rstrip("/")
        self._issuers = (
            self._issuer_login(clock, signing_keys) if any(each.client_id for each in config.auth.jwt) else None
        )
        self._has_form = self._issuers is None or any(key.admin for key in config.keys)

    def routes(self) -> Sequence[Route]:
        return [
            Route(LOGIN_PATH, READ, self.form, is_public=True),
            Route(LOGIN_PATH, ("POST",), self.log_in, is_public=True),
            Route("/status/logout", ("POST",), self.log_out),
            *(self._issuers.routes() if self._issuers else ()),
        ]

    def form(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """The login form. A proxy without keys needs no login."""
        if self._config.is_open:
            return redirect(head, self._base + return_path_in_query(head))
        return partial(self._form, head)

    def log_in(self, head: RequestHead, caller: Caller) -> Handler:
        return partial(self._log_in, head)

    def log_out(self, head: RequestHead, caller: Caller) -> Handler:
        return partial(self._log_out, head, caller)

    async def _log_out(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> RawResponse:
        """End the session, in all processes. The gate has checked the form."""
        if head.session:
            await self.sessions.end(head.session)
            _log.info("admin: %s: logout from the status page", caller.who)
        deleted = set_cookie(SESSION, "", 0, secure=has_secure_cookies(head.headers))
        return redirect(head, self._base + LOGIN_PATH, [deleted])

    async def _form(self, head: RequestHead, receive: Receive, send: Send) -> RawResponse:
        return html_response(head, await self._page(return_path_in_query(head)))

    async def _log_in(self, head: RequestHead, receive: Receive, send: Send) -> RawResponse:
        """Raises BodyTooLarge and BadRequest."""
        path = START
        try:
            self._attempts.check(head)
            form = await read_form(head, receive)
            path = return_path(form)
            session, caller = self._begin(head, form.get("key", ""))
        except LoginFailed as failed:
            return await self._failure(head, failed, path=path)
        _log.info("admin: %s: login to the status page from %s", caller.who, self._attempts.client_of(head))
        value, seconds = self.sessions.sealed.cookie_of(session)
        cookie = set_cookie(SESSION, value, seconds, secure=has_secure_cookies(head.headers))
        return redirect(head, self._base + path, [cookie])

    def _begin(self, head: RequestHead, key: str) -> tuple[Session, Caller]:
        """Raises LoginFailed."""
        try:
            return self.callers.log_in(key.strip().encode("utf-8", "surrogatepass"), head)
        except InvalidKey as error:
            reason = f"key {error.identity} {error.reason}" if isinstance(error, KeyNotUsable) else "unknown key"
            text = "This is not a valid key of this proxy, or it is not allowed from your address."
            raise LoginFailed(401, text, reason) from None
        except Forbidden:
            raise LoginFailed(403, "This key is not an admin key (`admin: true`).", "not an admin key") from None

    async def _failure(
        self, head: RequestHead, failed: LoginFailed, headers: Sequence[Header] = (), path: str = START
    ) -> RawResponse:
        """Return the form, with the problem. `path`: where the next attempt returns to."""
        if failed.reason:
            client = self._attempts.client_of(head)
            _log.warning("status page: login from %s rejected: %s", client, printable(failed.reason))
        retry = [(b"retry-after", b"%d" % failed.seconds)] if failed.seconds else []
        return html_response(head, await self._page(path, failed), failed.status, [*retry, *headers])

    async def _page(self, path: str, failed: LoginFailed | None = None) -> bytes:
        return await render(
            "login.html",
            base=self._base,
            path=path,
            path_query="" if path == START else urlencode({FIELD: path}),
            problem=failed.text if failed else "",
            has_form=self._has_form,
            issuers=self._issuers.issuers if self._issuers else (),
        )

    def _issuer_login(self, clock: Clock, signing_keys: SigningKeys) -> IssuerLogin:
        # Imported only if it is used.
        from proxy.access.issuer_sessions import IssuerSessions
        from proxy.api.status.issuer_login import IssuerLogin

        sealed = self.sessions.sealed
        self.callers.issuers = users = IssuerSessions(self._config, signing_keys, clock.time, sealed)
        return IssuerLogin(self._config, users, sealed, self._attempts, clock, signing_keys.fetch, self._failure)
