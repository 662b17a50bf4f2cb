"""The URL of a provider's list, as it is shown to operators."""

from __future__ import annotations

from urllib.parse import quote

from proxy.config import Provider
from proxy.dialects import fill_template
from proxy.upstream.credentials import secrets_of
from proxy.upstream.redaction import redact

MIN_LEAK = 8
"""Characters; shorter secrets occur in lists and URLs by chance."""


def list_url(provider: Provider) -> str:
    """The URL of a provider's list without its query, and with `***` for everything that may be a secret.

    `{name}` stays where several values are requested one by one.
    """
    single = {name: value for name, value in provider.settings.items() if isinstance(value, str)}
    many = {name: value for name, value in provider.settings.items() if not isinstance(value, str)}
    only = {name.removesuffix("s"): values[0] for name, values in many.items() if len(values) == 1}
    path = fill_template(
        provider.dialect.path, {name: quote(value, safe="") for name, value in (single | only).items()}
    )
    return shown(provider, provider.base_url + path)


def shown(provider: Provider, url: str) -> str:
    """A URL of a provider with `***` for everything that may be a secret."""
    secrets = secrets_of(provider)
    scheme, _, rest = url.partition("://")
    host, *segments = rest.split("/")
    for secret in secrets:
        if len(secret) >= MIN_LEAK:
            host = host.replace(secret, "***")
    return f"{scheme}://{'/'.join([host, *(redact(segment, secrets) for segment in segments)])}"
