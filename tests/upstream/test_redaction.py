"""Credentials, and words that look like credentials, are removed from texts of providers."""

from __future__ import annotations

from string import ascii_letters, digits
from time import process_time
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream.redaction import contains_secret, redact, redact_known

KEY = "sk-canary-4f7Gq+Zx/9e=8zW1"


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        pytest.param("Model not found", "Model not found", id="no secret"),
        pytest.param("AppKey不正确,请使用正确的AppKey", "AppKey不正确,请使用正确的AppKey", id="Chinese"),
        pytest.param(f"Wrong key {KEY}.", "Wrong key ***", id="the key"),
        pytest.param(f"令牌{KEY}无效", "令牌***无效", id="the key in Chinese"),
        pytest.param(f"Wrong key '{KEY}'", "Wrong key '***'", id="the key in quotes"),
        pytest.param(f"?key={quote(KEY, safe='')}&x=1", "***", id="the key in a query"),
        pytest.param("Wrong key sk-ca***8zW1", "Wrong key ***", id="masked with stars"),
        pytest.param("Wrong key sk-ca...8zW1", "Wrong key ***", id="masked with dots"),
        pytest.param("Wrong key ...8zW1", "Wrong key ***", id="only its end"),
        pytest.param("Wrong key sk-ca", "Wrong key ***", id="only its beginning"),
        pytest.param("Wrong key ab**cd", "Wrong key ***", id="another masked key"),
        pytest.param("in organisation org-A1b2C3d4E5f6G7h8I9", "in organisation ***", id="a long random word"),
        pytest.param("https://help.example/authentication", "https://help.example/authentication", id="an address"),
        pytest.param("see https://eu-1.help.example/e/401", "see https://eu-1.help.example/e/401", id="a long address"),
        pytest.param("https://help.example/?user=me&t=1", "https://help.example/?***", id="an address with a query"),
        pytest.param("http://h.example/A1b2C3d4E5f6G7h8I9j0/x", "http://h.example/***/x", id="a random word in a path"),
        pytest.param(f"https://{KEY}/x", "https://***/x", id="the key as a host"),
        pytest.param("https://sk-ca...8zW1/x", "https://***...***/x", id="a masked key as a host"),
    ],
)
def test_reason_is_redacted_where_it_looks_like_a_credential(text: str, readable: str) -> None:
    assert redact(text, [KEY]) == readable


def test_short_secret_is_redacted_and_a_very_short_one_is_not() -> None:
    assert redact("the password hush is wrong", ["hush", "s", ""]) == "the password *** is wrong"


def test_secret_with_spaces_and_quotes_is_redacted_completely() -> None:
    assert "horse" not in redact("not 'correct \"horse\" battery', sorry", ['correct "horse" battery'])


@settings(deadline=None)
@given(
    st.text(ascii_letters + digits + "-_.~+/=%&$!?#@:; '\"", min_size=8, max_size=60).filter(lambda s: s == s.strip()),
    st.text(max_size=10),
    st.text(max_size=10),
)
def test_complete_secret_never_remains_in_a_text(secret: str, before: str, behind: str) -> None:
    for form in {secret, quote(secret), quote(secret, safe="")}:
        assert form not in redact(f"{before}{form}{behind}", [secret])


@pytest.mark.parametrize(
    ("text", "contains"),
    [
        pytest.param(KEY, True, id="whole"),
        pytest.param(f"x{KEY}y", True, id="within a word"),
        pytest.param(quote(KEY, safe=""), True, id="percent-encoded"),
        pytest.param("sk-ca...8zW1", True, id="masked"),
        pytest.param("8zW1", True, id="its last characters"),
        pytest.param("sk-cb", False, id="other characters"),
        pytest.param("tok", False, id="a secret that is too short"),
    ],
)
def test_a_secret_is_found_whole_masked_or_encoded(text: str, contains: bool) -> None:
    assert contains_secret(text, [KEY, "tok"]) is contains


# -- errors of calls ---------------------------------------------------------------------------------------------------

LIMIT = (
    "This request would exceed your limit for claude-sonnet-4-5-20250929 (30,000 input tokens per minute, 2000000 per "
    "organization: see below). Filled at 2026-12-01T00:00:00Z. See https://docs.example.com/limits2025/rate-limits."
)
UUID = "968606d8-c53b-9dce-80be-3a9cc553c5b5"


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        pytest.param(LIMIT, LIMIT, id="a rate limit"),
        pytest.param(f"request id: {UUID}, req_011CQabc12", f"request id: {UUID}, req_011CQabc12", id="request ids"),
        pytest.param("user-provided team_message_id account-level", "user-provided team_message_id account-level",
                     id="words that begin like ids"),
        pytest.param("a task-oriented **Note** on sk-... keys", "a task-oriented **Note** on sk-... keys",
                     id="words that look like masked keys"),
        pytest.param(f"Wrong key {KEY}.", "Wrong key ***.", id="the key"),
        pytest.param(f"令牌{KEY}无效", "令牌***无效", id="the key in Chinese"),
        pytest.param(f"(key={quote(KEY, safe='')})", "(key=***)", id="the key, percent-encoded"),
        pytest.param("key=" + KEY.replace("-", "%2D"), "***", id="the key, encoded more than necessary"),
        pytest.param("Wrong key 'sk-ca***8zW1'", "Wrong key '***'", id="masked with stars"),
        pytest.param("Wrong key sk-ca...8zW1, or", "Wrong key ***, or", id="masked with dots"),
        pytest.param("Wrong key sk-ca\u20268zW1", "Wrong key ***", id="masked with an ellipsis"),
        pytest.param("Wrong key ending in 8zW1.", "Wrong key ending in ***.", id="its end"),
        pytest.param("Wrong key sk-canary-4f7", "Wrong key ***", id="its beginning"),
        pytest.param("org-AbCdEf123456 and <ak-eytd123456>", "*** and <***>", id="ids with prefixes"),
        pytest.param(f"Team: {UUID}, API key ID: {UUID}, Model: grok-4", "Team: ***, API key ID: ***, Model: grok-4",
                     id="UUIDs of accounts"),
        pytest.param("account [2100123456] of project_number:17", "account [***] of project_number:17",
                     id="long numbers of accounts"),
        pytest.param("organization ID 17345, account 17345", "organization ID ***, account 17345", id="numbers"),
        pytest.param("projects/my-1/locations/eu", "projects/***/locations/eu", id="a project in a path"),
        pytest.param("arn:aws:bedrock:us-east-1:123456789012:model/x", "arn:aws:bedrock:us-east-1:***:model/x",
                     id="an account in an ARN"),
        pytest.param("see (https://u:p@x.example/a.b?c=d#e). Ok?", "see (https://x.example/a.b). Ok?", id="a link"),
        pytest.param("链接https://x.example/z?a=b，请", "链接https://x.example/z，请", id="a link in Chinese"),
    ],
)  # fmt: skip
def test_only_known_secrets_account_ids_and_queries_are_redacted_in_errors_of_calls(text: str, readable: str) -> None:
    assert redact_known(text, ["tok"], [KEY]) == readable


def test_secrets_that_are_no_credentials_are_found_whole_only() -> None:
    assert redact_known("value of X: canary-of-x-1, not canary-of", ["canary-of-x-1"], []) == (
        "value of X: ***, not canary-of"
    )


@settings(deadline=None)
@given(
    st.text(ascii_letters + digits + "-_.~+/=%&$!?#@:; '\"", min_size=8, max_size=60).filter(lambda s: s == s.strip()),
    st.text(max_size=10),
    st.text(max_size=10),
)
def test_complete_secret_never_remains_in_an_error_of_a_call(secret: str, before: str, behind: str) -> None:
    for form in {secret, quote(secret), quote(secret, safe="")}:
        assert form not in redact_known(f"{before}{form}{behind}", [], [secret])


@pytest.mark.parametrize(
    "part", ["org-", "org-1a-", "a*", "sk-c...", "http://a?", "projects/", "a+%", "key: 1", "arn:"]
)
def test_a_long_text_is_redacted_in_linear_time(part: str) -> None:
    def seconds(size: int) -> float:
        began = process_time()
        redact_known(part * (size // len(part)), [KEY], [KEY])
        return process_time() - began

    assert min(seconds(200_000) for _ in range(3)) < 40 * max(min(seconds(20_000) for _ in range(3)), 0.001)
