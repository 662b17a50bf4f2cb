"""Where a browser goes after a login: to the page that was requested, and never to another site."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode

from proxy.api.request import RequestHead
from proxy.api.status.pages import LOGIN_PATH

START = "/status"
FIELD = "next"
MAX_LENGTH = 1000
_MODEL = "/status/models/"
_PATH = re.compile(
    r"/status(?:/changes|/models(?:/(?P<model>[A-Za-z0-9._~%-]+))?)?(?:\?[A-Za-z0-9._~%!$&'()*+,;=:@/?-]*)?"
)
_MAX_PARAMETERS = 10


def return_path(given: Mapping[str, str]) -> str:
    """Return the path that a form or a query contains, or `/status` if it is not the path of a page below `/status`."""
    text = given.get(FIELD, "")
    match = _PATH.fullmatch(text) if len(text) <= MAX_LENGTH else None
    # Browsers resolve segments of dots, also encoded ones.
    is_page = match and (match["model"] is None or unquote(match["model"]).strip("."))
    return text if is_page else START


def return_path_in_query(head: RequestHead) -> str:
    """Return the `return_path` of the query of the login page."""
    try:
        given = dict(parse_qsl(head.query.decode("latin-1"), max_num_fields=_MAX_PARAMETERS))
    except ValueError:
        given = {}
    return return_path(given)


def login_path(head: RequestHead) -> str:
    """Return the path of the login page, with the requested page as the path to return to."""
    path = head.path
    if path.startswith(_MODEL):
        path = _MODEL + quote(path.removeprefix(_MODEL), safe="", errors="replace")
    query = head.query.decode("latin-1")
    wanted = return_path({FIELD: f"{path}?{query}" if query else path}) if head.method != "POST" else START
    return LOGIN_PATH if wanted == START else f"{LOGIN_PATH}?{urlencode({FIELD: wanted})}"
