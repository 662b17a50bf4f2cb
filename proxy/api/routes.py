"""The table of routes: which endpoint serves a method and a path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from proxy.access import Caller
from proxy.api.paths import other_paths
from proxy.api.request import RequestHead
from proxy.asgi import Handler, RawResponse
from proxy.calls import CALLS, is_method_of_gemini, not_served
from proxy.errors import MethodNotAllowed, PathNotFound, WebsocketNotSupported

Endpoint = Callable[[RequestHead, Caller], RawResponse | Handler]
"""Returns the response, or a handler that needs I/O. Raises ApiError."""

READ = ("GET", "HEAD")
_MAX_CORRECTED = 2048
"""Bytes of a path of which other spellings are searched: several times as long as that of the longest id."""


class Route(NamedTuple):
    path: str
    """`{name}` matches one segment, `{name...}` matches several, also if they are a path."""
    methods: tuple[str, ...]
    endpoint: Endpoint
    is_probe: bool = False
    """Whether requests without an API key are allowed."""
    is_api: bool = False
    """Whether other spellings of its path are accepted (`other_paths`)."""
    is_list: bool = False
    """Whether it is a list of models, or one model: `list_requests` limits them."""
    is_public: bool = False
    """Whether requests without an API key are allowed below `base`. For paths without `{name}`."""


class Routes:
    """Finds the endpoint of a request: exact paths first, then patterns in table order."""

    def __init__(self, table: Iterable[Route], base: str = "") -> None:
        """`base`: what the paths of requests begin with, besides that of the table, such as `/llm`."""
        self.base = base
        self._base = base.encode()
        self.table = tuple(table)
        self._exact: dict[str, dict[str, Endpoint]] = {}
        self._patterns: list[tuple[re.Pattern[str], Route, str]] = []
        for route in self.table:
            if "{" in route.path:
                # Observers see `{id...}` as the documentation writes it.
                self._patterns.append((_pattern(route.path), route, _template(route.path)))
            else:
                self._exact.setdefault(route.path, {}).update(dict.fromkeys(route.methods, route.endpoint))
        self.paths = self._exact.keys()
        """The paths without `{name}`."""
        self.endpoints = {
            (method, path): endpoint for path, of_path in self._exact.items() for method, endpoint in of_path.items()
        }
        """Method and path without `{name}` -> endpoint: what `find` returns, for most requests."""
        self._api_paths = frozenset(route.path for route in self.table if route.is_api)
        self.lists = frozenset(_template(route.path) for route in self.table if route.is_list)
        """As in `RequestHead.route`."""
        self.probes = frozenset(route.path for route in self.table if route.is_probe)
        self.public = frozenset(route.path for route in self.table if route.is_public)

    def enter(self, head: RequestHead) -> bool:
        """Remove `base` from the path of a request. Returns False if the path does not begin with it.

        Probes are also at their own path: probes of containers and load balancers cannot read the configuration.
        """
        raw_path, length = head.raw_path, len(self._base)
        if not raw_path.startswith(self._base) or raw_path[length : length + 1] not in (b"", b"/"):
            return head.path in self.probes
        head.scope["path"] = head.path = head.path[length:] or "/"
        head.scope["raw_path"] = head.raw_path = raw_path[length:] or b"/"
        return True

    def correct(self, head: RequestHead) -> None:
        """Replace a path in another spelling by the path of the API that it means, if there is one.

        Called before the request is authenticated, so that the format of errors is that of the path.
        """
        if len(head.raw_path) > _MAX_CORRECTED:
            return
        for other in other_paths(head.raw_path):
            path = other.decoded
            if path in self._api_paths or any(
                route.is_api and head.method in route.methods and pattern.fullmatch(path)
                for pattern, route, _ in self._patterns
            ):
                head.path, head.raw_path, head.path_model = path, other.raw, other.model
                head.route = path if path in self._exact else ""
                return

    def template(self, path: str) -> str:
        """Return the path in the table that matches, whatever the method; "" if none does."""
        if path in self._exact:
            return path
        return next((template for pattern, _, template in self._patterns if pattern.fullmatch(path)), "")

    def find(self, head: RequestHead) -> Endpoint:
        """Return the endpoint of a request. Raises PathNotFound, MethodNotAllowed and WebsocketNotSupported.

        Sets the route of the head, also for a method that is not allowed.
        """
        by_method = self._exact.get(head.path, {})
        head.route = head.path if by_method else ""
        if endpoint := by_method.get(head.method):
            return endpoint
        if "POST" in by_method and head.is_websocket_handshake:
            raise WebsocketNotSupported
        allowed = set(by_method)
        for pattern, route, template in self._patterns:
            if by_method and not route.path.endswith("...}"):
                continue  # `/v1/responses/compact` is no response
            if match := pattern.fullmatch(head.path):
                head.route = template
                if head.method in route.methods:
                    head.scope["path_params"] = match.groupdict()
                    return route.endpoint
                allowed.update(route.methods)
        if allowed and not (head.method == "POST" and is_method_of_gemini(head.path)):
            raise MethodNotAllowed(head.method, ", ".join(sorted(allowed)))
        meant = [call.path for call in CALLS.values() if call.below_base and head.path.endswith(call.below_base)]
        refusal = None if meant else not_served(head.path)
        raise PathNotFound(
            head.path, max(meant, key=len, default=""), refusal.reason if refusal else "", base=self.base
        )


def _template(path: str) -> str:
    return path.replace("...}", "}")


def _pattern(path: str) -> re.Pattern[str]:
    """Return a regular expression; `/a/{b}/{c...}` has the groups `b` and `c`."""
    parts = re.split(r"\{(\w+)(\.\.\.)?\}", path)
    text = re.escape(parts[0])
    for name, rest, literal in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        text += f"(?P<{name}>{'.*' if rest else '[^/]+'}){re.escape(literal)}"
    return re.compile(text, re.DOTALL)
