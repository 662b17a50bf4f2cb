"""Who is asking, and what they may see and call."""

from proxy.access.keys import Access, Caller
from proxy.access.policy import Policy

__all__ = ["Access", "Caller", "Policy"]
