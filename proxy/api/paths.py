"""The paths of requests that are calls. Separate from `api/inference.py`, which is loaded at the first call."""

from __future__ import annotations

from collections.abc import Mapping

from proxy.calls import CALLS, CallPath
from proxy.wire.format import BASE_PATHS

PATHS: Mapping[str, CallPath] = {
    **{base + call.below_base: call for call in CALLS.values() if call.below_base for base in BASE_PATHS},
    **{call.path: call for call in CALLS.values() if not call.below_base},
}
"""Path of a request -> its call."""
