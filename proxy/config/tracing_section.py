"""Check the section `tracing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.config.authorities import check_authority
from proxy.config.tracing import Tracing
from proxy.config.validation import Validation


def tracing_of(validation: Validation, raw: Mapping[str, Any]) -> Tracing:
    tracing = validation.section(Tracing, raw, "tracing") or Tracing()
    check_authority(validation, tracing.ca_file, ("tracing", "ca_file"))
    return tracing
