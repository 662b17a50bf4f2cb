"""How credentials are sent to providers, and which secrets are redacted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy.config import Provider
from proxy.dialects import Auth
from proxy.upstream.credentials import auth_headers, auth_query, base64_of, egress_of, kind_headers, secrets_of
from tests.fakes import config_of

KEY = "sk-canary-credential"
PAIR = "canary-user:canary-password"


def provider(**settings: Any) -> Provider:
    return config_of(
        json.dumps({"providers": [{"name": "p", "base_url": "http://127.0.0.1/v1", **settings}]})
    ).providers[0]


@pytest.mark.parametrize(
    ("auth", "key", "headers", "query"),
    [
        (Auth(), KEY, {"Authorization": f"Bearer {KEY}"}, {}),
        (Auth("header", "x-api-key"), KEY, {"x-api-key": KEY}, {}),
        (Auth("basic"), PAIR, {"Authorization": f"Basic {base64_of(PAIR)}"}, {}),
        (Auth("query", "key"), KEY, {}, {"key": KEY}),
        (Auth("none"), KEY, {}, {}),
    ],
)
def test_credential_is_sent_in_exactly_one_place(
    auth: Auth, key: str, headers: Mapping[str, str], query: Mapping[str, str]
) -> None:
    assert (auth_headers(auth, key), auth_query(auth, key)) == (headers, query)
    assert (auth_headers(auth, ""), auth_query(auth, "")) == ({}, {})


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"kind": "anthropic"}, {"anthropic-version": "2023-06-01"}),
        ({"kind": "anthropic", "version": "2024-01-01"}, {"anthropic-version": "2024-01-01"}),
        ({"kind": "vertex"}, {}),
        ({"kind": "vertex", "project": "p1"}, {"x-goog-user-project": "p1"}),
        ({"kind": "openai"}, {}),
    ],
)
def test_kind_adds_headers_only_for_settings_that_are_set(
    settings: Mapping[str, str], headers: Mapping[str, str]
) -> None:
    assert kind_headers(provider(**settings)) == headers


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        pytest.param({}, [], id="none"),
        pytest.param({"api_key": KEY}, [KEY], id="a key"),
        pytest.param({"api_keys": [KEY, "canary-2"]}, [KEY, "canary-2"], id="several keys"),
        pytest.param(
            {"api_keys": [PAIR, "canary-u:canary-p"], "kind": "custom", "list": {"path": "/m", "auth": "basic"}},
            [PAIR, "canary-u:canary-p", "canary-password", base64_of(PAIR), "canary-p", base64_of("canary-u:canary-p")],
            id="several keys, basic",
        ),
        pytest.param({"api_key": KEY, "headers": {"X-Team": "canary-header"}}, [KEY, "canary-header"], id="headers"),
        pytest.param(
            {"api_key": PAIR, "kind": "custom", "list": {"path": "/m", "auth": "basic"}},
            [PAIR, "canary-password", base64_of(PAIR)],
            id="basic",
        ),
        pytest.param(
            {"api_key": PAIR, "call": {"base_url": "http://127.0.0.1/x", "auth": "basic"}},
            [PAIR, "canary-password", base64_of(PAIR)],
            id="basic, for calls alone",
        ),
        pytest.param(
            {"proxy": "http://canary%2Du:canary%3Ap@127.0.0.1:1"},
            ["canary-u", "canary:p", base64_of("canary-u:canary:p")],
            id="a proxy's login",
        ),
    ],
)  # fmt: skip
def test_secrets_include_every_secret_that_is_sent(settings: Mapping[str, Any], secrets: list[str]) -> None:
    made = provider(**settings)

    assert secrets_of(made) == secrets
    assert "canary" not in repr(made)


def test_values_of_headers_that_hold_no_secrets_are_no_secrets() -> None:
    made = provider(api_key=KEY, headers={"Anthropic-Version": "2023-06-01", "X-Team": "canary-team"})

    assert secrets_of(made) == [KEY, "canary-team"]


@pytest.mark.parametrize(
    ("proxy", "url", "login", "header"),
    [
        ("http://egress:3128", "http://egress:3128", None, None),
        ("HTTPS://egress", "https://egress", None, None),
        ("http://me:pass%40word@egress:3128", "http://egress:3128", ("me", "pass@word"), "Basic bWU6cGFzc0B3b3Jk"),
        ("http://me@[::1]:3128", "http://[::1]:3128", ("me", ""), "Basic bWU6"),
    ],
)
def test_egress_proxy_has_a_url_and_an_optional_login(
    proxy: str, url: str, login: tuple[str, str] | None, header: str | None
) -> None:
    text = f"providers: [{{name: a, base_url: 'http://127.0.0.1', proxy: '{proxy}'}}]"
    egress = egress_of(config_of(text).providers[0])

    assert egress is not None
    assert (egress.url, egress.login, egress.headers.get("Proxy-Authorization")) == (url, login, header)


def test_egress_proxy_is_none_without_a_proxy_setting() -> None:
    assert egress_of(config_of("providers: [{name: a, base_url: 'http://127.0.0.1'}]").providers[0]) is None
