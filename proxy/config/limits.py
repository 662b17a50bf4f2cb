"""The section `server.limits`: what clients can use of the server."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

from proxy.config.fields import Bytes, Seconds, Settings, whole

_MAX_CONNECTIONS = 1_000_000


def number_or_off(value: object) -> int | None:
    """`off`, or a number of connections."""
    text = str(value).strip().lower()
    if value is None or text in ("off", "false"):  # YAML reads `off` as false
        return None
    if not re.fullmatch("[0-9]{1,7}", text) or not 1 <= int(text) <= _MAX_CONNECTIONS:
        raise ValueError(f"must be `off` or a whole number from 1 to {_MAX_CONNECTIONS}")
    return int(text)


class Limits(Settings):
    """Limits of connections and requests of clients."""

    header_timeout: Seconds = 10.0
    """From the first byte of a request, or the start of a connection, to the end of the head."""
    body_timeout: Seconds = 60.0
    """Between two parts of a request body."""
    body_rate: Bytes = 1024
    """Bytes per second of a request body, on average over 30 s."""
    body_memory: Bytes = 256 * 1024**2
    """Bytes of all request bodies in memory, also decompressed. A key can have as many of them as remain free."""
    write_timeout: Seconds = 60.0
    """How long a client can read nothing of a response."""
    keepalive_timeout: Seconds = 75.0
    """How long an idle connection is kept for further requests."""
    headers: Bytes = 32 * 1024
    """Maximum size of a request head: the request line and all header fields."""
    connections: Annotated[int, whole(1, _MAX_CONNECTIONS)] = 10_000
    connections_per_address: Annotated[int | None, BeforeValidator(number_or_off)] = None
    """None: not limited."""
