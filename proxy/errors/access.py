"""The caller may not do this, or not from there."""

from __future__ import annotations

from proxy.errors.api_error import ApiError

RETRY_LOGIN_SECONDS = 5.0


class InvalidKey(ApiError):
    """The same bytes for a missing, unknown, revoked or expired key, so that responses do not reveal which."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"
    hint = "Send a valid key as `Authorization: Bearer <key>` or `X-Auth-Token: <key>`."
    # Without it, some clients retry a 401 for a minute before they show it.
    should_retry = False

    def __init__(self) -> None:
        # Clients recognize the first words, which are those of OpenAI's API. The message must not contain `x-api-key`:
        # then Claude Code replaces it by "Not logged in".
        super().__init__(
            "Incorrect API key provided, or none. Send one API key of this proxy, as 'Authorization: Bearer <key>' "
            "or in 'api-key' or 'X-Auth-Token'."
        )


class KeyInQuery(InvalidKey):
    """A request with a key in its URL, valid or not: URLs are logged."""


class KeyNotUsable(InvalidKey):
    """A key of this proxy that is not valid now, or not from there. The response is the same as for a wrong key."""

    def __init__(self, identity: str, reason: str) -> None:
        """`reason`: for the log."""
        super().__init__()
        self.identity = identity
        self.reason = reason


class Forbidden(ApiError):
    status = 403
    type = "permission_error"
    code = "insufficient_permissions"
    hint = "Use an API key with this permission, or contact the proxy's administrator."


class NoGroup(Forbidden):
    """A user with a valid login, but without a configured group."""

    code = "no_group"
    hint = "Contact the proxy's administrator, who can map one of the groups in `auth`."

    def __init__(self) -> None:
        super().__init__("None of this user's groups has access to this proxy; the login is valid.")


class LoginUnavailable(ApiError):
    """A token of an issuer whose signing keys have never been fetched: it may be valid."""

    status = 503
    code = "login_unavailable"
    hint = "Retry after the time in `Retry-After`."

    def __init__(self) -> None:
        text = "This token cannot be validated yet: the signing keys of its issuer could not be fetched."
        super().__init__(text, retry_after=RETRY_LOGIN_SECONDS)


class HostNotAllowed(ApiError):
    """A host name that is not known to be the proxy's, while no keys are configured (DNS rebinding)."""

    status = 403
    type = "permission_error"
    code = "host_not_allowed"
    hint = "Use localhost or 127.0.0.1 in the base URL, or add the host to `server.allowed_hosts`."

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Host {host[:255]!a} is not allowed: this proxy has no API keys, so it accepts loopback names and "
            "addresses only. Use localhost in the base URL, or add the host to `server.allowed_hosts`."
        )


class OriginNotAllowed(ApiError):
    """A request of a web page of an origin that is not configured: without keys, or with the login of a user."""

    status = 403
    type = "permission_error"
    code = "origin_not_allowed"
    hint = "Add the origin to `server.cors`."

    def __init__(
        self, why: str = "this proxy has no API keys, so it accepts requests of web pages of configured origins only"
    ) -> None:
        super().__init__(f"The origin of this request is not allowed: {why}. Add the origin to `server.cors`.")


class CrossSiteRequest(ApiError):
    """A form of the status page that was not sent by the page itself."""

    status = 403
    type = "permission_error"
    code = "cross_site_request"
    hint = "Open the status page again, and send its form."

    def __init__(self, message: str = "This form was not sent by the status page.") -> None:
        super().__init__(message)
