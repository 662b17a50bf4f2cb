"""The secret of sessions and the ended sessions, in `store.directory`: a restart keeps sessions.

The file is written at the start only, before there are workers; each process then appends the sessions that it ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from struct import Struct

from proxy.access.sessions import SECRET_BYTES, Sessions
from proxy.store.disk import Files
from proxy.store.envelope import RecordError, seal, sealed_parts, unseal

NAME, LOCK = "sessions", "sessions.lock"
_MAX_BYTES = 4 * 1024 * 1024
_KIND, _SCHEMA = b"sessions", 1
_ENDED = Struct(">16sd")
"""The id of a session, and when it would expire."""

_log = logging.getLogger("models_proxy")


class SessionFile:
    """The file. Methods block."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def load(self, time: Callable[[], float]) -> Sessions:
        """Return the sessions of earlier processes, and remove what has expired from the file. Never raises.

        `time` returns Unix seconds. Without the file, or if it cannot be used, there are no earlier sessions.
        """
        secret, ended = self._read()
        sessions = Sessions(time, secret)
        for session_id, expires in ended.items():
            sessions.end(session_id, expires)
        with suppress(OSError):  # the error is reported when lists are restored
            self._files.lock()
            records = [sessions.secret, *(_ENDED.pack(*each) for each in sessions.ended.items())]
            self._files.write(NAME, b"".join(map(_sealed, records)))
            self._files.unlock()
        return sessions

    def append(self, session_id: bytes, expires: float) -> None:
        """Record that a session was ended. Raises OSError."""
        self._files.append(NAME, _sealed(_ENDED.pack(session_id, expires)))

    def _read(self) -> tuple[bytes, Mapping[bytes, float]]:
        """Return the secret, b"" without one, and the sessions that were ended."""
        try:
            data = self._files.read(NAME, _MAX_BYTES)
            records = [bytes(unseal(_KIND, _SCHEMA, b"", part)) for part in sealed_parts(data)]
            if not records or len(records[0]) != SECRET_BYTES:
                raise RecordError("truncated, or not written by models-proxy")
        except OSError:
            return b"", {}
        except RecordError as error:
            _log.warning("store.directory: the file %s is ignored, so its sessions have ended: %s", NAME, error)
            return b"", {}
        return records[0], dict(_ENDED.unpack(record) for record in records[1:] if len(record) == _ENDED.size)


def _sealed(record: bytes) -> bytes:
    return seal(_KIND, _SCHEMA, b"", record)
