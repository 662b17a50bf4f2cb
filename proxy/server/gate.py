"""The gate: every request is authenticated, then routed and answered, by one synchronous function."""

from __future__ import annotations

import logging
from functools import partial

from proxy.access import Caller, Policy
from proxy.access.browsers import check_page
from proxy.access.jwt import SigningKeyNeeded
from proxy.api.changes import ATOM_PATH, with_password
from proxy.api.http import error_response, key_in_query
from proxy.api.request import RequestHead
from proxy.api.routes import READ
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.errors import (
    ApiError,
    InternalError,
    InvalidKey,
    KeyInQuery,
    KeyNotUsable,
    LoginUnavailable,
    PathOutsideBase,
    describe_bug,
)
from proxy.server.added_headers import with_page_headers
from proxy.server.deployment import Deployment
from proxy.server.status_gate import (
    STATUS_PATH,
    SessionCheckNeeded,
    answer_status,
    check_session,
    is_status_path,
    login_redirect,
)

_PROBE = Caller(None, Policy(()))

_log = logging.getLogger("models_proxy")


def decide(deployment: Deployment, head: RequestHead) -> RawResponse | Handler:
    """Authenticate, route and respond. Returns the response, or a handler if I/O is needed. Never raises.

    Synchronous, so that the server can send a cached response without creating a task. The server adds the headers of
    CORS, because handlers send responses, too.
    """
    try:
        head.add_headers = deployment.add_headers
        routes = deployment.routes
        is_outside = bool(routes.base) and not routes.enter(head)
        if head.path in routes.paths:
            head.route = head.path
        if deployment.cors and (preflight := deployment.cors.preflight(head)):
            return preflight
        if not head.route:
            routes.correct(head)
        outcome = _answer(deployment, head, is_outside=is_outside)
    except (SigningKeyNeeded, SessionCheckNeeded) as needed:
        return partial(_answer_later, deployment, head, needed, is_outside)
    except Exception as error:
        outcome = _refusal(deployment, head, error)
    return without_body(outcome) if head.method == "HEAD" and isinstance(outcome, RawResponse) else outcome


def _answer(deployment: Deployment, head: RequestHead, *, is_outside: bool) -> RawResponse | Handler:
    """Identify the caller and find the endpoint. Raises ApiError. `is_outside`: of `server.base_path`."""
    if head.path.startswith(STATUS_PATH) and is_status_path(head.path):
        head.add_headers = with_page_headers(deployment.add_headers)
        return answer_status(deployment, head, partial(_serve, deployment, head, is_outside=is_outside))
    if head.path in deployment.routes.probes and deployment.access.is_anonymous(head):
        caller = _PROBE
    else:
        if deployment.guard:
            deployment.guard.check(head.headers)
        if head.path == ATOM_PATH:
            head.credentials = with_password(head.credentials)
        caller = deployment.access.caller_of(head)
        if caller.is_user and head.method not in READ:
            # A login proxy adds the user, or a token, also to requests of pages of other sites (CSRF).
            server = deployment.config.server
            check_page(head.method, head.headers, server, has_credential=bool(head.credentials))
    if caller.admin:
        head.add_headers = deployment.add_headers_for_admins
    return _serve(deployment, head, caller, is_outside=is_outside)


def _serve(deployment: Deployment, head: RequestHead, caller: Caller, *, is_outside: bool) -> RawResponse | Handler:
    """Find the endpoint for an identified caller. Raises ApiError."""
    head.key = caller.identity
    routes = deployment.routes
    if is_outside:
        raise PathOutsideBase(head.path, routes.base)
    endpoint = routes.endpoints.get((head.method, head.path)) or routes.find(head)
    quota = caller.quota
    if quota is not None and quota.lists and head.route in routes.lists:
        return deployment.limited_lists.answer(endpoint, head, caller, quota)
    return endpoint(head, caller)


async def _answer_later(
    deployment: Deployment,
    head: RequestHead,
    needed: SigningKeyNeeded | SessionCheckNeeded,
    is_outside: bool,
    receive: Receive,
    send: Send,
) -> RawResponse | None:
    """Decide after fetching what the decision needs, and respond. Raises ApiError."""
    for _ in range(1 + len(deployment.config.auth.jwt)):  # a session, and tokens of several issuers
        if isinstance(needed, SessionCheckNeeded):
            await check_session(deployment, head, needed.session)
        else:
            await deployment.fetch_keys(needed.issuer)
        try:
            outcome = _answer(deployment, head, is_outside=is_outside)
        except (SigningKeyNeeded, SessionCheckNeeded) as further:
            needed = further
        except Exception as error:
            return _refusal(deployment, head, error)
        else:
            return outcome if isinstance(outcome, RawResponse) else await outcome(receive, send)
    return _refusal(deployment, head, LoginUnavailable())


def _refusal(deployment: Deployment, head: RequestHead, error: Exception) -> RawResponse:
    if head.key is None:  # rejected before its route was needed
        head.route = deployment.routes.template(head.path)
    if isinstance(error, KeyNotUsable):
        deployment.refused_keys.report(error)
    if isinstance(error, InvalidKey) and is_status_path(head.path) and (login := login_redirect(deployment, head)):
        return login
    response = error_response_to(head, error)
    if head.path == ATOM_PATH and response.status == 401:
        response.headers.append((b"www-authenticate", b'Basic realm="models-proxy", charset="UTF-8"'))
    return response


def error_response_to(head: RequestHead, error: Exception) -> RawResponse:
    """Return the response for an error, and record it. Any error that is no ApiError is a bug, which is logged."""
    if isinstance(error, KeyInQuery):
        error = key_in_query(head, error)
    if not isinstance(error, ApiError):
        _log.error("request %s: internal error: %s", head.request_id.decode(), describe_bug(error))
        error = InternalError()
    head.error = error.code
    if head.call:
        head.call.failed(error)
    return error_response(head, error)


def without_body(response: RawResponse) -> RawResponse:
    """Remove the body from the response to a HEAD request; its headers are those of GET."""
    return RawResponse(response.status, response.headers, b"", lines=response.lines)
