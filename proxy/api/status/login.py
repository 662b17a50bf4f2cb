"""Log in to the status page with an admin key, and log out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from proxy.access import Access, Caller
from proxy.access.attempts import MAX_ATTEMPTS, Attempts
from proxy.access.session_callers import SessionCallers
from proxy.access.sessions import Session, Sessions
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.api.status.cookies import SESSION, has_secure_cookies, set_cookie
from proxy.api.status.forms import read_form
from proxy.api.status.pages import html_response, redirect, render
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.config import Config
from proxy.errors import Forbidden, InvalidKey, KeyNotUsable, whole_seconds
from proxy.printable import printable

LOGIN_PATH = "/status/login"
_log = logging.getLogger("models_proxy")


class SessionKeeper(Protocol):
    """The sessions of all processes."""

    sealed: Sessions
    attempts: Attempts

    @property
    def is_shared(self) -> bool:
        """Whether other processes can end a session."""
        ...

    async def end(self, session: Session) -> None:
        """End a session, in all processes."""
        ...

    async def was_ended(self, session: Session) -> bool:
        """Whether another process has ended a session, as far as that can be found out in a short time."""
        ...


class StatusLogin:
    """The endpoints. Each attempt leaves a line in the log, without the key."""

    def __init__(
        self,
        config: Config,
        access: Access,
        sessions: SessionKeeper,
    ) -> None:
        self._config = config
        self._access = access
        self.sessions = sessions
        self.callers = SessionCallers(config, access, sessions.sealed)
        self._base = config.server.base_path.rstrip("/")
        # As limits of all clients, divided between workers.
        self._max_attempts = -(-MAX_ATTEMPTS // config.server.workers)

    def routes(self) -> Sequence[Route]:
        return [
            Route(LOGIN_PATH, READ, self.form, is_public=True),
            Route(LOGIN_PATH, ("POST",), self.log_in, is_public=True),
            Route("/status/logout", ("POST",), self.log_out),
        ]

    def form(self, head: RequestHead, caller: Caller) -> RawResponse | Handler:
        """The form. A proxy without keys needs none."""
        if self._config.is_open:
            return redirect(head, f"{self._base}/status")
        return partial(self._form, head)

    def log_in(self, head: RequestHead, caller: Caller) -> Handler:
        return partial(self._log_in, head)

    def log_out(self, head: RequestHead, caller: Caller) -> Handler:
        return partial(self._log_out, head, caller)

    async def _log_out(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> RawResponse:
        """End the session, in all processes. The gate has checked the form."""
        if head.session:
            await self.sessions.end(head.session)
            _log.info("admin: %s: log-out from the status page", caller.who)
        deleted = set_cookie(SESSION, "", 0, secure=has_secure_cookies(head.headers))
        return redirect(head, self._base + LOGIN_PATH, [deleted])

    async def _form(self, head: RequestHead, receive: Receive, send: Send) -> RawResponse:
        return await self._page(head, 200)

    async def _log_in(self, head: RequestHead, receive: Receive, send: Send) -> RawResponse:
        """Raises BodyTooLarge and BadRequest."""
        client = printable(self._access.client_of(head)) or "a Unix socket"
        if seconds := self.sessions.attempts.wait(client, self._max_attempts):
            _log.warning("status page: log-in from %s rejected: too many attempts", client)
            return await self._page(head, 429, seconds=whole_seconds(seconds))
        form = await read_form(head, receive)
        key = form.get("key", "").strip().encode("utf-8", "surrogatepass")
        try:
            session, caller = self.callers.log_in(key, head)
        except InvalidKey as error:
            reason = f"key {error.identity} {error.reason}" if isinstance(error, KeyNotUsable) else "unknown key"
            _log.warning("status page: log-in from %s rejected: %s", client, printable(reason))
            return await self._page(head, 401)
        except Forbidden:
            _log.warning("status page: log-in from %s rejected: not an admin key", client)
            return await self._page(head, 403)
        _log.info("admin: %s: log-in to the status page from %s", caller.who, client)
        cookie = self.sessions.sealed.cookie_of(session)
        header = set_cookie(SESSION, cookie.value, cookie.seconds, secure=has_secure_cookies(head.headers))
        return redirect(head, f"{self._base}/status", [header])

    async def _page(self, head: RequestHead, status: int, *, seconds: int = 0) -> RawResponse:
        body = await render("login.html", base=self._base, status=status, seconds=seconds)
        return html_response(head, body, status, [(b"retry-after", b"%d" % seconds)] if seconds else ())
