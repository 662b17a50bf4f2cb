"""A provider's credential in the provider's own style, and what of it no message may show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from proxy.config import Provider
from proxy.dialects import Auth, filled_in


def in_headers(auth: Auth, key: SecretStr | None) -> Mapping[str, str]:
    """The header that brings a credential, if it comes in one."""
    secret = key.get_secret_value() if key else ""
    if secret and auth.style == "bearer":
        return {"Authorization": f"Bearer {secret}"}
    if secret and auth.style == "basic":
        return {"Authorization": f"Basic {base64_of(secret)}"}
    return {auth.name: secret} if secret and auth.style == "header" else {}


def in_query(auth: Auth, key: SecretStr | None) -> Mapping[str, str]:
    """The parameter that brings a credential: the last resort. No URL is ever logged or quoted."""
    return {auth.name: key.get_secret_value()} if key and auth.style == "query" else {}


def of_its_kind(provider: Provider) -> Mapping[str, str]:
    """The headers that its kind wants with every question."""
    filled = {name: filled_in(value, provider.settings) for name, value in provider.dialect.headers.items()}
    return {name: value for name, value in filled.items() if "{" not in value}  # of an optional one that is not given


def secrets_of(provider: Provider) -> Sequence[str]:
    """All that is sent to a provider and that no message may show, even where the provider says it."""
    secrets = [secret.get_secret_value() for secret in (provider.api_key, *provider.headers.values()) if secret]
    called = provider.target
    styles = {provider.dialect.auth.style, called.auth.style if called else ""}
    if "basic" in styles and provider.api_key:
        user, _, password = provider.api_key.get_secret_value().partition(":")
        secrets += [password, base64_of(f"{user}:{password}")]
    if provider.proxy:
        proxy = urlsplit(provider.proxy.get_secret_value())
        user, password = unquote(proxy.username or ""), unquote(proxy.password or "")
        secrets += [user, password, base64_of(f"{user}:{password}")]
    return secrets


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
