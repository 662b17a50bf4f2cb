"""How each family of providers writes its list of models: rows of a table, and one reader for all of them."""

from proxy.dialects.diagnosis import reason_in, why_none_is_readable
from proxy.dialects.dialect import OURS, Auth, Dialect, Paging, Setting, filled_in
from proxy.dialects.metadata import NAMES as EXTRA_NAMES
from proxy.dialects.page import Page, open_page
from proxy.dialects.pager import Query, Received, next_query
from proxy.dialects.reader import InvalidEntry, entry_of, read_entry
from proxy.dialects.table import DIALECTS
from proxy.dialects.times import unix_seconds

__all__ = [
    "DIALECTS",
    "EXTRA_NAMES",
    "OURS",
    "Auth",
    "Dialect",
    "InvalidEntry",
    "Page",
    "Paging",
    "Query",
    "Received",
    "Setting",
    "entry_of",
    "filled_in",
    "next_query",
    "open_page",
    "read_entry",
    "reason_in",
    "unix_seconds",
    "why_none_is_readable",
]
