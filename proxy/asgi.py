"""The values that pass between the server and the application."""

from __future__ import annotations

Header = tuple[bytes, bytes]
