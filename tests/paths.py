"""Paths of files that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The repository."""
PAYLOADS = ROOT / "tests" / "payloads"
"""Provider responses, as documented."""
FAULTS = ROOT / "tests" / "providers" / "recorded_faults"
"""Recorded faults of providers."""
