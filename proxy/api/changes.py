"""`GET /admin/changes`: changes of models and providers, as JSON or Atom. For admin keys.

Feed readers support HTTP Basic only: for the Atom path, the password is the key.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from msgspec import Struct

from proxy.access import Caller
from proxy.api.admin import check_is_admin
from proxy.api.http import json_response
from proxy.api.request import RequestHead
from proxy.api.routes import READ, Route
from proxy.asgi import Header, RawResponse
from proxy.config import Config
from proxy.errors import BadRequest
from proxy.telemetry.changes import Change, Feed
from proxy.wire.encoder import encode

PATH = "/admin/changes"
ATOM_PATH = "/admin/changes.atom"
_ATOM = (b"content-type", b"application/atom+xml; charset=utf-8")
_NO_STORE = (b"cache-control", b"no-store")
_USAGE = (
    "`since` must be the id of a change, or a date or time like 2026-01-31 or 2026-01-31T12:00:00Z; "
    "there are no other parameters."
)
_MAX_ID = 10**18
_OFFSET = re.compile(r"(T[\d:.]+) (\d\d:?\d\d)")
"""A time with a positive offset. In a query, a `+` that is not percent-encoded is a space."""


class ChangeList(Struct, frozen=True):
    """The response."""

    changes: tuple[Change, ...]
    """The oldest first."""
    last_id: int
    """For `since` in the next request."""
    complete: bool
    """Whether all changes after `since` are contained: the feed has a limited length."""


class Changes:
    """The endpoint."""

    def __init__(self, config: Config, feed: Callable[[], Feed]) -> None:
        self._config = config
        self._feed = feed

    def routes(self) -> list[Route]:
        return [Route(PATH, READ, self.changes), Route(ATOM_PATH, READ, self.atom)]

    def changes(self, head: RequestHead, caller: Caller) -> RawResponse:
        """Raises InvalidKey, Forbidden and BadRequest."""
        check_is_admin(caller, self._config)
        since = since_of(head.query)
        feed = self._feed()
        found = ChangeList(tuple(feed.since(since)), feed.last_id, since >= feed.complete_after)
        return json_response(head, encode(found), [_NO_STORE])

    def atom(self, head: RequestHead, caller: Caller) -> RawResponse:
        """Raises InvalidKey and Forbidden."""
        from proxy.api.atom import atom  # imported here: most deployments never use it

        check_is_admin(caller, self._config)
        body = atom(self._feed())
        length = (b"content-length", b"%d" % len(body))
        headers = [_ATOM, _NO_STORE, length, (b"x-request-id", head.request_id), *head.connection_close]
        return RawResponse(200, headers, body)


def with_password(credentials: Sequence[Header]) -> list[Header]:
    """Replace user and password (HTTP Basic) by the password as a key. Other credentials stay as they are."""
    return [(name, _key(value) or value) if name == b"authorization" else (name, value) for name, value in credentials]


def _key(value: bytes) -> bytes:
    """The password as a bearer key, b"" without one."""
    scheme, _, encoded = value.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        _, _, password = b64decode(encoded.strip(), validate=True).partition(b":")
    except ValueError:
        return b""
    return b"Bearer " + password if password else b""


def since_of(query: bytes) -> int:
    """The id after which changes are requested, 0 for all. Raises BadRequest."""
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=1)
    except ValueError:
        raise BadRequest(_USAGE) from None
    if not given:
        return 0
    ((name, text),) = given
    since = _id(text) if name == "since" else None
    if since is None:
        raise BadRequest(_USAGE, param="since" if name == "since" else None)
    return since


def _id(text: str) -> int | None:
    """An id as it is; of a date or time, the id that a change at this moment would have. None for anything else."""
    if text.isdecimal():
        return int(text) if len(text) <= len(str(_MAX_ID)) and int(text) < _MAX_ID else None
    try:
        time = datetime.fromisoformat(_OFFSET.sub(r"\1+\2", text))
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, OverflowError):
        return None
