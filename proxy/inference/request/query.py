"""Select the query parameters of a call that are forwarded to the provider: `/v1/messages?beta=true`."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

from proxy.guards import CONTAIN_MODELS, GUARDED, PLACE, fold_name, names_models

_API_VERSION = "api-version"
"""Azure's version of the API, which belongs to its URLs; its other APIs and its clones reject a foreign one."""
_SELECTING = (
    GUARDED
    | CONTAIN_MODELS
    | {"account", "deployment", "engine", "organization", "project", "provider", "region", "tenant"}
)
"""Names that select where a gateway sends the call, and with which model or stored object."""
_CREDENTIAL = re.compile(
    r"(?:.*_)?(?:assertion|auth|authorization|code|jwt|key|password|secret|sig|signature|token)|sign"
)
_STORED = re.compile(r".*_(?:ids?|names?)|cached_?content")
"""Names that can reference an object stored for the provider's account: `file_id`, `session_id`."""
_GOOGLE = frozenset({"callback", "fields", "quotauser", "userproject"})
"""Parameters of all Google APIs, in addition to those that begin with `$`. Some omit fields of the response or change
its format, which hides its tokens and its model; others select the account, or replace headers or the body."""
_GOOGLE_HARMLESS = frozenset({"prettyprint", "$prettyprint"})
_FORMAT = frozenset({"alt", "$alt"})
_READABLE_FORMATS = frozenset({"json", "sse"})
_PARAMETER = re.compile(rb"[\w.~!$'()*+,:@/?%=\[\]-]+", re.ASCII)
_MAX_NAME = 100


def forwarded_query(query: bytes, *, is_azure: bool) -> str:
    """Return the parameters that are forwarded, joined by `&` and percent-encoded as they were sent; "" for none.

    Not forwarded: credentials, parameters that select a model, an upstream or a stored object, which some gateways read
    from the query, too, and those that change the format of the response. `is_azure`: whether the request had a URL of
    Azure's, to which `api-version` belongs.
    """
    forwarded = (part.decode() for part in query.split(b"&") if _PARAMETER.fullmatch(part))
    return "&".join(part for part in forwarded if _is_harmless(part, is_azure=is_azure))


def parameter_name(part: str) -> str:
    """Return the name of a parameter in lower case, without the index that some frameworks read: `a[0]=1` is `a`."""
    return fold_name(re.split(r"[\[.]", unquote_plus(part.partition("=")[0]), maxsplit=1)[0].strip())


def _is_harmless(part: str, *, is_azure: bool) -> bool:
    name = parameter_name(part)
    if name == _API_VERSION:
        return not is_azure
    if name in _FORMAT:
        return part.partition("=")[2].lower() in _READABLE_FORMATS
    plain = name.replace("-", "_")
    return not (
        len(plain) > _MAX_NAME
        or plain in _SELECTING
        or plain in _GOOGLE
        or (plain.startswith("$") and plain not in _GOOGLE_HARMLESS)
        or names_models(plain)
        or any(pattern.fullmatch(plain) for pattern in (PLACE, _CREDENTIAL, _STORED))
    )
