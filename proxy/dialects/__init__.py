"""How each family of providers writes its list of models: rows of a table, and one reader for all of them."""

from proxy.dialects.dialect import Auth, Dialect, Paging, Setting
from proxy.dialects.pager import Query, Received, next_query
from proxy.dialects.reader import OURS, Dropped, Page, entry_of, open_page, read_entry, reason_in
from proxy.dialects.table import DIALECTS
from proxy.dialects.times import unix_seconds

__all__ = [
    "DIALECTS",
    "OURS",
    "Auth",
    "Dialect",
    "Dropped",
    "Page",
    "Paging",
    "Query",
    "Received",
    "Setting",
    "entry_of",
    "next_query",
    "open_page",
    "read_entry",
    "reason_in",
    "unix_seconds",
]
