"""Provider states kept fresh, and the views of them."""

from proxy.store.listing import Report
from proxy.store.store import Store
from proxy.store.view import View

__all__ = ["Report", "Store", "View"]
