"""The gate of the status page: callers with a key in a header as everywhere, and sessions of administrators.

Sessions are accepted on these paths only. All of them are for administrators, except for public ones, and every form is
checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from proxy.access import Access, Caller, Policy
from proxy.access.jwt import SigningKeyNeeded
from proxy.access.sessions import Session
from proxy.api.admin import check_is_admin
from proxy.api.request import RequestHead
from proxy.api.status.cookies import SESSION, cookie_value
from proxy.api.status.forms import read_form
from proxy.api.status.pages import redirect
from proxy.api.status.return_path import login_path
from proxy.api.status.same_origin import check_same_origin
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.errors import CrossSiteRequest, InvalidKey, LoginUnavailable, NoGroup

if TYPE_CHECKING:
    from proxy.server.deployment import Deployment

STATUS_PATH = "/status"
CSRF_FIELD = "csrf"
_PUBLIC = Caller(None, Policy(()))

_WAS_ENDED = "session_was_ended"
"""In the scope of a request: whether another process has ended its session. Missing before that is known."""

Serve = Callable[[Caller], RawResponse | Handler]
"""Finds the endpoint for an identified caller. Raises ApiError."""


class SessionCheckNeeded(Exception):
    """Another process may have ended a session. Not an error: the gate checks it, and decides again."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


def is_status_path(path: str) -> bool:
    return path in (STATUS_PATH, "/status.json") or path.startswith("/status/")


def answer_status(deployment: Deployment, head: RequestHead, serve: Serve) -> RawResponse | Handler:
    """Identify the caller and call the endpoint. Raises ApiError, SigningKeyNeeded and SessionCheckNeeded."""
    if deployment.guard:
        deployment.guard.check(head.headers)
    if head.path in deployment.routes.public:
        return _answer_anyone(deployment, head, serve)
    session = _session_of(deployment, head)
    if session and deployment.status_login.sessions.is_shared and _WAS_ENDED not in head.scope:
        raise SessionCheckNeeded(session)
    return _answer(deployment, head, None if head.scope.get(_WAS_ENDED) else session, serve)


async def check_session(deployment: Deployment, head: RequestHead, session: Session) -> None:
    """Check whether another process has ended the session of a request."""
    head.scope[_WAS_ENDED] = await deployment.status_login.sessions.was_ended(session)


def login_redirect(deployment: Deployment, head: RequestHead) -> RawResponse | None:
    """The response to a browser whose user must log in, None for other clients."""
    accepts = b",".join(value for name, value in head.headers if name == b"accept")
    # The login form is a public path, which also rejects invalid credentials: a redirect to it would loop.
    if head.path in deployment.routes.public or head.path == "/status.json" or b"text/html" not in accepts:
        return None
    return redirect(head, deployment.routes.base + login_path(head))


def _answer_anyone(deployment: Deployment, head: RequestHead, serve: Serve) -> RawResponse | Handler:
    """Respond on a public path. A wrong key in a header is rejected as on all paths."""
    caller = _PUBLIC if deployment.access.is_anonymous(head) else deployment.access.caller_of(head)
    if head.method == "POST":
        check_same_origin(head.headers, deployment.config.server.public_url, must_be_known=True)
    return serve(caller)


def _session_of(deployment: Deployment, head: RequestHead) -> Session | None:
    """Return the session of a request. A key in a header has precedence."""
    value = None if head.credentials else cookie_value(head.headers, SESSION)
    return deployment.status_login.sessions.sealed.open(value) if value else None


def _check_added_token(access: Access, head: RequestHead) -> None:
    """Raise InvalidKey for an invalid token in the `header` of an issuer, next to a session.

    A login proxy adds such a token to all requests, whatever the rights of its user: a session has precedence over a
    valid one, and does not need the issuer to be available.
    """
    if credentials := access.credentials_of(head):
        with suppress(NoGroup, LoginUnavailable, SigningKeyNeeded):
            access.identify(credentials)


def _answer(deployment: Deployment, head: RequestHead, session: Session | None, serve: Serve) -> RawResponse | Handler:
    caller = None
    if session:
        _check_added_token(deployment.access, head)
        try:
            caller = deployment.status_login.callers.caller_of(session, head)
        except InvalidKey:
            session = None  # its key is no longer valid
    if caller is None:
        caller = deployment.access.caller_of(head)
    if not deployment.routes.template(head.path):
        return serve(caller)  # unknown path
    check_is_admin(caller, deployment.config)
    sealed, bound_to = (
        deployment.status_login.sessions.sealed,
        session.id if session else b"caller " + caller.identity.encode(),
    )
    head.scope["session"] = session
    head.scope["csrf_token"] = sealed.csrf_token(bound_to)
    if head.method != "POST":
        return serve(caller)
    check_same_origin(head.headers, deployment.config.server.public_url)

    async def serve_form(receive: Receive, send: Send) -> RawResponse | None:
        form = dict(await read_form(head, receive))
        if not sealed.is_csrf_token(form.pop(CSRF_FIELD, ""), bound_to):
            raise CrossSiteRequest
        head.scope["form"] = form
        return await _finish(serve(caller), receive, send)

    return serve_form


async def _finish(outcome: RawResponse | Handler, receive: Receive, send: Send) -> RawResponse | None:
    return outcome if isinstance(outcome, RawResponse) else await outcome(receive, send)
