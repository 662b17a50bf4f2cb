"""The JSON encoder that all formats share: plain values to compact UTF-8 bytes."""

from __future__ import annotations

import msgspec

encode = msgspec.json.Encoder().encode
