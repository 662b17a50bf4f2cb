"""A provider's credential in the provider's own style, and what of it no message may show."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import NamedTuple
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
    egress = egress_of(provider)
    if egress and egress.login:
        secrets += [*egress.login, base64_of(":".join(egress.login))]
    return secrets


class Egress(NamedTuple):
    """The HTTP proxy through which a provider is reached."""

    url: str
    """Without the login."""
    login: tuple[str, str] | None
    """User and password."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header that the HTTP proxy reads."""
        return {"Proxy-Authorization": f"Basic {base64_of(':'.join(self.login))}"} if self.login else {}


def egress_of(provider: Provider) -> Egress | None:
    """The `proxy` that a provider is configured with."""
    if provider.proxy is None:
        return None
    url = urlsplit(provider.proxy.get_secret_value())
    user, password = unquote(url.username or ""), unquote(url.password or "")
    plain = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    return Egress(plain, (user, password) if user or password else None)


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
