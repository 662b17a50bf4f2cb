"""The headers in which clients send an API key."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def _bare(value: bytes) -> bytes:
    return value


def _bearer(value: bytes) -> bytes:
    scheme, _, key = value.partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" else b""


def bare_or_bearer(value: bytes) -> bytes:
    return _bearer(value) or value


KEY_HEADERS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"authorization": _bearer,  # OpenAI's SDKs, and most clients
    b"x-auth-token": _bare,  # Huawei Cloud, OpenStack
    b"x-api-key": _bare,  # Anthropic's SDKs
    b"api-key": _bare,  # Azure OpenAI's SDKs
    b"x-goog-api-key": _bare,  # Google's Gemini SDKs
    b"ocp-apim-subscription-key": _bare,  # clients of Azure API Management
    b"apikey": _bare,  # clients of Kong
    b"x-apikey": _bare,  # clients of Apigee
    b"x-api-token": _bare,  # other gateways
    b"x-access-token": _bare,
    b"x-litellm-api-key": bare_or_bearer,  # clients of LiteLLM
    b"x-litellm-key": bare_or_bearer,  # the custom header in LiteLLM's documentation
    b"x-portkey-api-key": bare_or_bearer,  # Portkey's SDKs
    b"helicone-auth": bare_or_bearer,  # clients of Helicone
    b"cf-aig-authorization": bare_or_bearer,  # clients of Cloudflare AI Gateway
}
"""The headers in which clients send an API key, and how each is parsed.

All are checked, so that an invalid key in any of them is rejected: a key in an ignored header would count as no key,
and its sender would get the list of the group `default`. Not included: `Proxy-Authorization`, which is for forward
proxies, and headers with a provider's key (`X-OpenAI-Api-Key`) or a session (`Cookie`).
"""
