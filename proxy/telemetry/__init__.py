"""Events of the process, and what observes them."""

from proxy.telemetry.events import CallOutcome, CallRecord, Observer, Outcome
from proxy.telemetry.reloads import Reloads
from proxy.telemetry.telemetry import Telemetry
from proxy.telemetry.tokens import Tokens

__all__ = ["CallOutcome", "CallRecord", "Observer", "Outcome", "Reloads", "Telemetry", "Tokens"]
