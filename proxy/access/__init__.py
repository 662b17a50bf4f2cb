"""Authentication and access rules: the caller of a request, and the models it can list and call."""

from proxy.access.keys import Access, Caller
from proxy.access.policy import Policy

__all__ = ["Access", "Caller", "Policy"]
