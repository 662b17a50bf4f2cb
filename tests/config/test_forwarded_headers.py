"""`forward_headers`: patterns, and headers that no pattern matches."""

from __future__ import annotations

import pytest

from proxy.config.forwarded_headers import header_matcher
from proxy.key_headers import KEY_HEADERS
from tests.config.outcomes import PROVIDER, problems_of, provider_of

INVALID = "must be a header name or a pattern, like x-session-id or x-session-*"
CREDENTIAL = "cannot be forwarded, because it can contain a credential"
ACCOUNT = "cannot be forwarded, because it identifies an account, and all callers share the provider's account"
SELECTS = (
    "cannot be forwarded, because it can select a model, a provider or another upstream, which keys do not restrict"
)
ADDRESS = "cannot be forwarded, because it contains addresses of clients"
CONNECTION = "cannot be forwarded, because it applies to one connection only"
DESCRIBES = "cannot be forwarded, because it describes the body, which the proxy can change"
FIELDS = "cannot be forwarded, because it removes fields from the response, such as the numbers of tokens used"
OWN = "cannot be forwarded, because the proxy sets it for its own responses"


def problems(pattern: str) -> list[str]:
    return problems_of(f"{PROVIDER}    forward_headers: ['{pattern}']\n")


@pytest.mark.parametrize(
    ("pattern", "name", "is_forwarded"),
    [
        ("x-session-*", "x-session-id", True),
        ("X-Session-*", "x-session-id", True),
        ("x-session-*", "x-sessions", False),
        ("session_id", "session_id", True),
        ("session_id", "session-id", False),
        ("x-?", "x-a", True),
        ("x-?", "x-ab", False),
        ("http-referer", "http-referer", True),
        ("x-author", "x-author", True),
        ("*", "x-anything", True),
        ("*", "originator", True),
        ("*", "x-ratelimit-limit-tokens", True),
        ("*", "authorization", False),
        ("x-*", "x-api-key", False),
        ("x_*", "x_api_key", False),
        ("*-id", "openai-organization-id", False),
        ("*_for", "x_forwarded_for", False),
    ],
)
def test_a_pattern_matches_whole_names_without_regard_to_case(pattern: str, name: str, is_forwarded: bool) -> None:
    forwards = provider_of(f"{PROVIDER}    forward_headers: ['{pattern}']\n").forwards

    assert forwards is not None
    assert forwards(name) is is_forwarded


def test_without_the_setting_there_is_no_matcher() -> None:
    assert provider_of(PROVIDER).forwards is None


def test_the_setting_can_be_a_default() -> None:
    forwards = provider_of(f"defaults: {{forward_headers: [x-a]}}\n{PROVIDER}").forwards

    assert forwards is not None
    assert (forwards("x-a"), forwards("x-b")) == (True, False)


@pytest.mark.parametrize("auth", ["header: X-Odd-Key", "header: x_odd_key"])
def test_the_header_with_the_providers_credential_never_matches(auth: str) -> None:
    text = f"{PROVIDER}    call: {{base_url: http://c, auth: {{{auth}}}}}\n    forward_headers: [x-odd-*, x_odd*]\n"
    forwards = provider_of(text).forwards

    assert forwards is not None
    assert [forwards(name) for name in ("x-odd-key", "x_odd_key", "x-odd-id")] == [False, False, True]


@pytest.mark.parametrize("name", [name.decode() for name in KEY_HEADERS])
def test_a_header_with_a_key_of_the_proxy_never_matches(name: str) -> None:
    forwards = header_matcher(["*"], [])

    assert (forwards(name), forwards(name.replace("-", "_"))) == (False, False)
    assert problems(name) == [f"config.yaml:4: providers[0].forward_headers[0]: {CREDENTIAL}; found '{name}'"]


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", INVALID),
        ("x session", INVALID),
        ("x-[ab]", INVALID),
        ("Cookie", CREDENTIAL),
        ("set-cookie", CREDENTIAL),
        ("WWW-Authenticate", CREDENTIAL),
        ("x-amz-security-token", CREDENTIAL),
        ("*-api-key*", CREDENTIAL),
        ("x_api_key", CREDENTIAL),
        ("Cf-Access-Jwt-Assertion", CREDENTIAL),
        ("openai-organization", ACCOUNT),
        ("x-goog-user-project", ACCOUNT),
        ("chatgpt-account-id", ACCOUNT),
        ("host", SELECTS),
        ("azureml-model-deployment", SELECTS),
        ("Helicone-Target-Url", SELECTS),
        ("x-portkey-config", SELECTS),
        ("X-HTTP-Method-Override", SELECTS),
        ("x-original-url", SELECTS),
        ("X-Goog-FieldMask", FIELDS),
        ("x-forwarded-*", ADDRESS),
        ("Forwarded", ADDRESS),
        ("cf-connecting-ip", ADDRESS),
        ("connection", CONNECTION),
        ("Transfer-Encoding", CONNECTION),
        ("proxy-*", CONNECTION),
        ("sec-websocket-key", CONNECTION),
        ("content-length", DESCRIBES),
        ("content-encoding", DESCRIBES),
        ("x-request-id", OWN),
        ("access-control-*", OWN),
        ("x-accel-redirect", OWN),
        (
            "idempotency-key",
            "cannot be forwarded, because callers share the provider's account, so only `idempotency-key` is "
            "forwarded, hashed",
        ),
    ],
)
def test_a_pattern_that_can_only_match_a_private_header_is_a_problem(pattern: str, problem: str) -> None:
    found = f"; found {pattern!r}" if pattern else ""

    assert problems(pattern) == [f"config.yaml:4: providers[0].forward_headers[0]: {problem}{found}"]
