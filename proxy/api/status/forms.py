"""Read the forms of the status page."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl

from proxy.api.http import read_body
from proxy.api.request import RequestHead
from proxy.asgi import Receive
from proxy.errors import BadRequest

MAX_FORM = 16 * 1024
"""Bytes of the body."""
_MAX_FIELDS = 20


async def read_form(head: RequestHead, receive: Receive) -> Mapping[str, str]:
    """Return the fields of a form. Raises BodyTooLarge, and BadRequest for repeated fields or too many."""
    body = await read_body(receive, MAX_FORM)
    head.has_body = False
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise BadRequest(f"The form has more than {_MAX_FIELDS} fields.") from None
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise BadRequest("A field of the form is repeated.")
    return fields
