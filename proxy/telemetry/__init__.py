"""Events of the process, and what observes them."""

from proxy.telemetry.events import CallOutcome, CallRecord, Observer, Outcome
from proxy.telemetry.telemetry import Telemetry
from proxy.telemetry.tokens import Tokens
from proxy.telemetry.usage import Usage

__all__ = ["CallOutcome", "CallRecord", "Observer", "Outcome", "Telemetry", "Tokens", "Usage"]
