"""The JSON encoder of all formats: plain values to compact UTF-8 bytes."""

from __future__ import annotations

import msgspec

from proxy.asgi import Header

JSON: Header = (b"content-type", b"application/json")

encode = msgspec.json.Encoder().encode
