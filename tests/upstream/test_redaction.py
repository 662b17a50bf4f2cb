"""Credentials, and words that look like credentials, are removed from texts of providers."""

from __future__ import annotations

from string import ascii_letters, digits
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.upstream.redaction import contains_secret, redact

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
