"""Usage counters."""

from proxy.telemetry.tokens import Tokens
from proxy.telemetry.usage import Usage

__all__ = ["Tokens", "Usage"]
