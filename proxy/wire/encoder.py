"""The JSON encoder of all formats: plain values to compact UTF-8 bytes."""

from __future__ import annotations

import msgspec

encode = msgspec.json.Encoder().encode
