"""The section `logging`: what is logged, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from proxy.config.fields import Settings, off_if_false

LogFormat = Literal["auto", "console", "json"]
LogLevel = Literal["info", "warning", "error"]
Access = Literal["off", "calls", "all"]


class Logging(Settings):
    """The log, on stderr."""

    format: LogFormat = "auto"
    """`auto`: `console` on a terminal, otherwise `json`."""
    level: LogLevel = "info"
    """The lowest level that is logged."""
    access: Annotated[Access, BeforeValidator(off_if_false)] = "calls"
    """Requests that have a line of their own: `calls` (and refused requests), or `all` of them."""
