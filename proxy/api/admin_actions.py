"""`POST /admin/refresh` and `POST /admin/reload`: what administrators can do to a running server."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.http import json_response
from proxy.api.query import parameters_of
from proxy.api.request import RequestHead
from proxy.api.routes import Route
from proxy.api.usage import UsageTotals
from proxy.api.workers import Workers
from proxy.asgi import Handler, RawResponse, Receive, Send
from proxy.config import Config
from proxy.errors import BadRequest, ConfigurationRejected, ProviderNotFound
from proxy.printable import printable
from proxy.store import Report
from proxy.telemetry import Reloads
from proxy.wire.encoder import encode

REFRESH_SECONDS = 30.0
"""How long a request waits for the end of refreshes. They continue without it."""
_NO_STORE = (b"cache-control", b"no-store")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False, "": False}

_log = logging.getLogger("models_proxy")


class Operations(Protocol):
    """The running server."""

    reloads: Reloads
    workers: Workers | None
    """All processes that serve the port, None if this is the only one."""

    @property
    def usage(self) -> UsageTotals: ...

    async def refresh(self, providers: Collection[str], seconds: float, *, accept: bool) -> Sequence[Report]:
        """Refresh the lists of these providers now. Returns their reports when that has ended, or after `seconds`."""
        ...

    async def reload(self) -> Mapping[str, Any]:
        """Apply the configuration as it is in its files. Returns what changed. Raises ApiError."""
        ...


class AdminActions:
    """The endpoints. Each request of an administrator leaves a line in the log."""

    def __init__(self, config: Config, operations: Operations) -> None:
        self._config = config
        self._operations = operations

    def routes(self) -> Sequence[Route]:
        return [
            Route("/admin/refresh", ("POST",), self.refresh),
            Route("/admin/reload", ("POST",), self.reload),
        ]

    def refresh(self, head: RequestHead, caller: Caller) -> Handler:
        """Refresh one provider, or all. Raises InvalidKey, Forbidden, BadRequest and ProviderNotFound."""
        check_is_admin(caller, self._config)
        parameters = parameters_of(head, ("provider", "accept"))
        accept = _BOOLEANS.get(parameters.get("accept", "").lower())
        if accept is None:
            raise BadRequest("`accept` must be true or false.", param="accept")
        names = [provider.name for provider in self._config.providers]
        if name := parameters.get("provider"):
            if name not in names:
                raise ProviderNotFound(_why_unknown(name, self._config))
            names = [name]
        return partial(self._refresh, head, caller, names, accept)

    async def _refresh(
        self, head: RequestHead, caller: Caller, names: Sequence[str], accept: bool, receive: Receive, send: Send
    ) -> RawResponse:
        reports = await self._operations.refresh(names, REFRESH_SECONDS, accept=accept)
        what = f"refresh of {', '.join(names)}{' (accept=true)' if accept else ''}"
        audit(caller, what, ", ".join(f"{report.name} is {report.state}" for report in reports))
        return _response(head, {"providers": [_refreshed(report) for report in reports]})

    def reload(self, head: RequestHead, caller: Caller) -> Handler:
        """Apply the configuration as it is in its files. Raises InvalidKey, Forbidden and BadRequest."""
        check_is_admin(caller, self._config)
        parameters_of(head, ())
        return partial(self._reload, head, caller)

    async def _reload(self, head: RequestHead, caller: Caller, receive: Receive, send: Send) -> RawResponse:
        try:
            result = await self._operations.reload()
        except ConfigurationRejected as error:
            audit(caller, "reload", "rejected")
            payload = {
                "message": error.message,
                "type": error.type,
                "status": error.status,
                "param": None,
                "code": error.code,
                "problems": [*error.problems],
            }
            return _response(head, {"error": payload}, error.status)
        audit(caller, "reload", f"generation {result['generation']}")
        return _response(head, result)


def _why_unknown(name: str, config: Config) -> str:
    # Imported here: similar words are searched for in error messages only.
    from proxy.config.hints import did_you_mean

    if skipped := next((each for each in config.skipped if each.name == name), None):
        return f"Provider {name!r} is {skipped.state}: {skipped.reason}."
    names = [provider.name for provider in config.providers]
    return f"No provider has the name {name[:100]!r}{did_you_mean(name[:100], names) or '.'}"


def _refreshed(report: Report) -> dict[str, Any]:
    return {
        "name": report.name,
        "state": report.state,
        "models": report.models,
        "error": report.error and report.error.reason,
        "refreshing": report.refreshing,
    }


def audit(caller: Caller, action: str, result: str) -> None:
    """Log an action of an administrator."""
    _log.info("admin: %s: %s: %s", caller.who, printable(action), printable(result))


def _response(head: RequestHead, payload: Mapping[str, Any], status: int = 200) -> RawResponse:
    return json_response(head, encode(payload), [_NO_STORE], status)
