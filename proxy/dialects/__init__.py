"""The formats of model lists: a table with one row for each kind of provider, and one parser for all of them."""

from proxy.dialects.diagnosis import no_valid_entries
from proxy.dialects.dialect import RESERVED_FIELDS, Auth, Dialect, Paging, Setting, fill_template
from proxy.dialects.duplicates import without_duplicates
from proxy.dialects.entry_size import within_limits
from proxy.dialects.error_body import ErrorBody, describe_body, rejects_key
from proxy.dialects.fact_readers import NAMES as EXTRA_NAMES
from proxy.dialects.identity import restore_collisions
from proxy.dialects.page import Page, open_page, opening_page
from proxy.dialects.pager import Following, Query, Received, following_page, next_query
from proxy.dialects.private import selected
from proxy.dialects.private_signs import signs_in
from proxy.dialects.reader import InvalidEntry, entry_of, read_entry, require_own_id
from proxy.dialects.signs import HEADERS as SIGN_HEADERS
from proxy.dialects.table import DIALECTS
from proxy.dialects.times import unix_seconds

__all__ = [
    "DIALECTS",
    "EXTRA_NAMES",
    "RESERVED_FIELDS",
    "SIGN_HEADERS",
    "Auth",
    "Dialect",
    "ErrorBody",
    "Following",
    "InvalidEntry",
    "Page",
    "Paging",
    "Query",
    "Received",
    "Setting",
    "describe_body",
    "entry_of",
    "fill_template",
    "following_page",
    "next_query",
    "no_valid_entries",
    "open_page",
    "opening_page",
    "read_entry",
    "rejects_key",
    "require_own_id",
    "restore_collisions",
    "selected",
    "signs_in",
    "unix_seconds",
    "within_limits",
    "without_duplicates",
]
