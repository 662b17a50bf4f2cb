"""An action of an administrator is not possible."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.errors.api_error import ApiError


class ProviderNotFound(ApiError):
    """An administrator named a provider that the configuration does not have, or does not use."""

    status = 404
    type = "invalid_request_error"
    code = "provider_not_found"
    hint = "Use the name of a provider in the configuration."


class ReloadDisabled(ApiError):
    status = 409
    type = "invalid_request_error"
    code = "reload_disabled"
    hint = "Restart the proxy, or set `server.reload` to `auto` or `signal` and restart it once."


class ConfigurationRejected(ApiError):
    """The files of the configuration cannot be used as they are now. The one in use is not changed."""

    status = 422
    type = "invalid_request_error"
    code = "configuration_rejected"
    hint = "Fix the problems that the response lists, and reload again."

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"The configuration has {count}; the previous one is still used.")
