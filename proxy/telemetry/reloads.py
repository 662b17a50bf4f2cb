"""Which configuration is used, and why a changed one is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Reloads:
    """The state of reloading, for `/health` and metrics. Times are Unix seconds."""

    generation: str
    """Of the configuration in use."""
    last_success: float
    """When it was applied: at the start, or later."""
    last_failure: float | None = None
    problems: Sequence[str] = ()
    """Why the files are not used as they are now; none if they are."""
    restart_needed: Sequence[str] = ()
    """Changed settings that only a restart applies, such as `server.port`."""
