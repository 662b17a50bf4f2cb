"""Authentication and access rules: the caller of a request, and the models it can list and call."""

from proxy.access.caller import Caller
from proxy.access.keys import Access
from proxy.access.policy import Policy

__all__ = ["Access", "Caller", "Policy"]
