"""Keep the model lists of providers fresh, and render a view of them for each policy."""

from proxy.store.listing import Report
from proxy.store.store import Store
from proxy.store.view import Status, View

__all__ = ["Report", "Status", "Store", "View"]
