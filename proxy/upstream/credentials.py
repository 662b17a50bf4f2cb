"""Send a provider's credential in the style it requires, and list the secrets to redact from messages."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from proxy.config import Provider
from proxy.config.auth import JwtIssuer
from proxy.config.notify import Webhook
from proxy.config.secret_files import values_of
from proxy.dialects import Auth, fill_template

_PUBLIC_HEADERS = frozenset(
    {"accept", "anthropic-beta", "anthropic-version", "http-referer", "openai-beta", "referer", "user-agent", "x-title"}
)
"""Headers, in lower case, whose configured value is no secret: messages quote it, such as the date of a version."""
_CREDENTIAL_HEADER = re.compile("auth|key|token|secret|passw|cookie|credential|signature|session|jwt", re.IGNORECASE)
_LONG_WORD = re.compile(r"[^\s/]{16,}")
_CREDENTIAL_PARAMETERS = ("key", "sig", "signature", "token", "secret", "password", "code")


def auth_headers(auth: Auth, secret: str) -> Mapping[str, str]:
    """The header with the credential, empty if there is none or it is not sent in a header."""
    if secret and auth.style == "bearer":
        return {"Authorization": f"Bearer {secret}"}
    if secret and auth.style == "basic":
        return {"Authorization": f"Basic {base64_of(secret)}"}
    return {auth.name: secret} if secret and auth.style == "header" else {}


def auth_query(auth: Auth, secret: str) -> Mapping[str, str]:
    """The query parameter with the credential, empty if it is not sent in the query. URLs must never be logged."""
    return {auth.name: secret} if secret and auth.style == "query" else {}


def kind_headers(provider: Provider) -> Mapping[str, str]:
    """The headers that the provider's kind requires in every request."""
    filled = {name: fill_template(value, provider.settings) for name, value in provider.dialect.headers.items()}
    return {name: value for name, value in filled.items() if "{" not in value}  # an optional setting is not set


def keys_of(provider: Provider) -> Sequence[str]:
    """All API keys of a provider, also those that were replaced in their files."""
    return [value for key in provider.all_api_keys for value in values_of(key)]


def secrets_of(provider: Provider) -> Sequence[str]:
    """All secrets sent to a provider. Messages must not contain them, even if the provider repeats them."""
    aws = (provider.access_key_id, provider.secret_access_key, provider.session_token)
    headers = [value for name, value in provider.headers.items() if name.lower() not in _PUBLIC_HEADERS]
    given = (*provider.all_api_keys, *aws, *headers)
    secrets = [value for secret in given if secret for value in values_of(secret)]
    secrets += [value for name, value in provider.dialect.params.items() if _is_credential(name, value)]
    target = provider.target
    styles = {provider.dialect.auth.style, target.auth.style if target else ""}
    for value in keys_of(provider) if "basic" in styles else ():
        user, _, password = value.partition(":")
        secrets += [password, base64_of(f"{user}:{password}")]
    egress = egress_of(provider)
    if egress and egress.login:
        secrets += [*egress.login, base64_of(":".join(egress.login))]
    return secrets


def sent_secrets(provider: Provider, auth: Auth, key: str) -> Sequence[str]:
    """The secrets in a request with this API key: without those of other requests, and without ordinary headers."""
    secrets = [key, key.partition(":")[2]] if auth.style == "basic" else [key]
    for name, value in provider.headers.items():
        if name.lower() not in _PUBLIC_HEADERS:
            secrets += _secret_words(name, value.get_secret_value())
    egress = egress_of(provider)
    return [*secrets, *(egress.login if egress and egress.login else ())]


def _secret_words(header: str, value: str) -> Sequence[str]:
    """The words of a header's value, if its name is that of a credential; otherwise long words that are no URL."""
    if _CREDENTIAL_HEADER.search(header):
        return re.split("[ ;,]+", value)
    return [value] if _LONG_WORD.fullmatch(value) else []


def _is_credential(parameter: str, value: str) -> bool:
    """Whether a query parameter looks like a credential: `key`, `sig`, `access_token` ... with a digit in its value.

    Strict, because an entry that contains a secret is dropped: `sort_key=created_at` is not a credential.
    """
    name = re.sub(r"[\W_]", "", parameter).lower()
    return name.endswith(_CREDENTIAL_PARAMETERS) and re.search("[0-9]", value) is not None


class Egress(NamedTuple):
    """The egress proxy of a provider."""

    url: str
    """Without user and password."""
    login: tuple[str, str] | None
    """User and password."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header that authenticates at the egress proxy."""
        return {"Proxy-Authorization": f"Basic {base64_of(':'.join(self.login))}"} if self.login else {}


def egress_of(settings: Provider | JwtIssuer | Webhook) -> Egress | None:
    """Parse a setting `proxy`, None if it is not set."""
    if settings.proxy is None:
        return None
    url = urlsplit(settings.proxy.get_secret_value())
    user, password = unquote(url.username or ""), unquote(url.password or "")
    plain = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    return Egress(plain, (user, password) if user or password else None)


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
