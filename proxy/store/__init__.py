"""Provider states kept fresh, and the views of them."""

from proxy.store.store import Report, Store
from proxy.store.view import View

__all__ = ["Report", "Store", "View"]
