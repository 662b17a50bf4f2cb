"""The parameters of a query."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl

from proxy.api.request import RequestHead
from proxy.errors import BadRequest

_MAX_PARAMETERS = 10


def parameters_of(head: RequestHead, known: Collection[str]) -> Mapping[str, str]:
    """The parameters of the query. Raises BadRequest for unknown ones: a misspelled one would otherwise be ignored."""
    try:
        given = parse_qsl(head.query.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise BadRequest("The query has too many parameters.") from None
    parameters = dict(given)
    if len(parameters) < len(given):
        raise BadRequest("A query parameter is repeated.")
    if unknown := next((name for name in parameters if name not in known), None):
        valid = f"; valid parameters: {', '.join(known)}" if known else ""
        raise BadRequest(f"Unknown query parameter {unknown[:100]!r}{valid}.")
    return parameters
