"""Fields: what each kind of value accepts, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.config import Key, Provider
from proxy.config.fields import check_sendable
from proxy.config.settings import Defaults, Server
from tests.config.outcomes import CANARY, refusals

DURATION = "must be a duration above zero: a number with a unit, like 250ms, 4s, 5m, 24h or 7d"
SIZE = "must be a size above zero: a whole number with a unit, like 512KiB or 16MiB"
DAY = "must be a day that exists, like 2027-01-31; the key is good until that day ends, UTC"
NAME = "must be at most 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit"
ORIGIN = "must be an exact origin in lower case and without a path, like https://app.example.com"
URL = "must be a URL like https://api.example.com/v1"
PATH_LAST = "must end with its path, without `?` and `#`"
LOGIN = "must not hold a user or password; put the credential into `api_key` or `headers`"
PROXY = "must be a URL like http://user:password@egress:3128; percent-encode what is no letter or digit in a login"
SENDABLE = "must be printable ASCII without blanks around it, because it is sent in a header"
EMPTY = "is empty; give it a value or take it away"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("250ms", 0.25), ("4s", 4), ("5m", 300), ("24h", 86_400), ("7d", 604_800), ("1.5 h", 5400), (" 3 ", 3), (0.5, 0.5),
     (9, 9)],
)  # fmt: skip
def test_a_duration_is_a_number_with_a_unit(said: object, seconds: float) -> None:
    assert Defaults.model_validate({"ttl": said}).ttl == seconds


@pytest.mark.parametrize(
    "said",
    ["5 min", "", "m", "-5s", "0", "0s", 0, -1, True, "1:30", "1e3", "9" * 400 + "d", float("nan"), float("inf"), [5],
     {}],
)  # fmt: skip
def test_what_is_no_duration_is_refused(said: object) -> None:
    assert refusals(Defaults, ttl=said) == [DURATION]


@pytest.mark.parametrize(
    ("said", "size"),
    [("512KiB", 524_288), ("16MiB", 16_777_216), ("1 GiB", 1_073_741_824), ("7B", 7), ("7", 7), (7, 7)],
)
def test_a_size_is_a_whole_number_with_a_unit(said: object, size: int) -> None:
    assert Defaults.model_validate({"max_body": said}).max_body == size


@pytest.mark.parametrize("said", ["16MB", "16mib", "1.5MiB", 1.5, "", 0, "0KiB", -1, True, [1]])
def test_what_is_no_size_is_refused(said: object) -> None:
    assert refusals(Defaults, max_body=said) == [SIZE]


@pytest.mark.parametrize(
    ("field", "least", "most"), [("retries", 0, 10), ("max_pages", 1, 1_000_000), ("max_models", 1, 1_000_000)]
)
def test_a_number_is_whole_and_in_its_range(field: str, least: int, most: int) -> None:
    refusal = [f"must be a whole number from {least} to {most}"]
    assert refusals(Defaults, **{field: least}) == refusals(Defaults, **{field: f" {most} "}) == []
    for said in (least - 1, most + 1, 1.5, "1.0", "many", "", True, None, [1], "9" * 400):
        assert refusals(Defaults, **{field: said}) == refusal, f"{said!r}"


@pytest.mark.parametrize(
    ("said", "shown"), [("all", None), ("none", ()), (["pricing", "context_length"], ("pricing", "context_length"))]
)
def test_extra_is_all_none_or_some_fields(said: object, shown: object) -> None:
    assert Defaults.model_validate({"extra_fields": said}).extra_fields == shown


@pytest.mark.parametrize("said", ["some", "pricing", True, 5, {"pricing": 1}, None])
def test_any_other_extra_is_refused(said: object) -> None:
    assert refusals(Defaults, extra_fields=said) == ["must be `all`, `none` or a list of field names"]


@pytest.mark.parametrize(
    "said",
    ["2027-02-29", "2027-13-45", "soon", "20270131", "31/01/2027", 20270131, True, datetime(2027, 1, 31, tzinfo=UTC)],
)
def test_what_is_no_day_is_refused(said: object) -> None:
    assert refusals(Key, name="ci", digest=b"", rules=[], expires=said) == [DAY]


@pytest.mark.parametrize("name", ["a", "9", "A.b_c-d", "a" * 64])
def test_a_name_is_made_of_what_a_header_and_a_rule_can_hold(name: str) -> None:
    assert refusals(Provider, name=name) == []


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "a/b", "ab:c", "名", "a" * 65])
def test_any_other_name_is_refused(name: str) -> None:
    assert refusals(Provider, name=name) == [NAME]


@pytest.mark.parametrize(
    "origin", ["https://app.example.com", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000"]
)
def test_an_origin_is_what_a_browser_sends(origin: str) -> None:
    assert refusals(Server, cors=[origin]) == []


@pytest.mark.parametrize(
    "origin",
    [
        "*", "https://*.example.com", "null", "", "app.example.com", "https://app.example.com/", "https://a.example/app",
        "https://App.example.com", "HTTPS://a.example", "https://user@a.example", "https://a.example?x", "https://[a",
        "https://a.example#x", "ftp://a.example", "https://a.example\n", "https://a.example:port",
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    assert refusals(Server, cors=["https://fine.example", origin]) == [ORIGIN]


@pytest.mark.parametrize(
    "url",
    [
        "http://h", "https://h.example:8443/v1/", "HTTPS://H/v1", "http://127.0.0.1:1/a@b", "http://[::1]:8000/v1",
        "https://模型.example/v1",
    ],
)  # fmt: skip
def test_a_base_url_is_where_an_api_is(url: str) -> None:
    assert Provider(name="a", base_url=url).base_url == url


@pytest.mark.parametrize(
    ("url", "refusal"),
    [
        pytest.param("h/v1", URL, id="no scheme"),
        pytest.param("ftp://h", URL, id="another scheme"),
        pytest.param("http://", URL, id="no host"),
        pytest.param("http:///v1", URL, id="no host before a path"),
        pytest.param("http://:80", URL, id="a port without a host"),
        pytest.param("http://h:99999", URL, id="a port that is too large"),
        pytest.param("http://h:0", URL, id="port zero"),
        pytest.param(f"http://h:{CANARY}", URL, id="a port that is no number"),
        pytest.param("http://[x", URL, id="half a bracket"),
        pytest.param(f"http://[{CANARY}]", URL, id="no address in brackets"),
        pytest.param("http://h o/v1", URL, id="a blank"),
        pytest.param(" http://h", URL, id="a blank before it"),
        pytest.param("http://h/v1\n", URL, id="a line break behind it"),
        pytest.param("http://h\\v1", URL, id="a backslash"),
        pytest.param(f"http://u:{CANARY}@h\u2100", URL, id="a letter that turns into others"),
        pytest.param("http://h?", PATH_LAST, id="an empty query"),
        pytest.param(f"http://h/v1?key={CANARY}", PATH_LAST, id="a query"),
        pytest.param("http://h#", PATH_LAST, id="a fragment"),
        pytest.param(f"http://user:{CANARY}@h/v1", LOGIN, id="a login"),
        pytest.param(f"http://{CANARY}@h", LOGIN, id="a user"),
        pytest.param("http://@h", LOGIN, id="an empty login"),
    ],
)
def test_a_base_url_that_cannot_be_asked_is_refused_and_not_repeated(url: str, refusal: str) -> None:
    assert refusals(Provider, name="a", base_url=url) == [refusal]


def test_a_proxy_may_hold_a_login() -> None:
    assert refusals(Defaults, proxy=f"http://user:{CANARY}@egress:3128") == []


@pytest.mark.parametrize(
    "url",
    [
        "egress:3128",
        "socks5://egress",
        f"http://u:{CANARY}#@egress",
        f"http://u:{CANARY}@egress:x",
        "http://egress?",
        "",
    ],
)
def test_a_proxy_that_is_no_url_is_refused_and_not_repeated(url: str) -> None:
    assert refusals(Defaults, proxy=url) == [PROXY]


@pytest.mark.parametrize("secret", [CANARY, "a b", "~", "!"])
def test_a_secret_that_a_header_can_hold_is_sendable(secret: str) -> None:
    assert check_sendable(SecretStr(secret)).get_secret_value() == secret


@pytest.mark.parametrize(
    ("secret", "refusal"),
    [("", EMPTY), (" ", SENDABLE), (f"{CANARY}\n", SENDABLE), (f" {CANARY}", SENDABLE), (f"{CANARY}é", SENDABLE),
     (f"{CANARY}\r\nX: y", SENDABLE), ("\x00", SENDABLE), ("钥匙", SENDABLE)],
)  # fmt: skip
def test_a_secret_that_no_header_can_hold_is_refused_wherever_it_would_be_sent(secret: str, refusal: str) -> None:
    assert refusals(Provider, name="a", api_key=secret) == [refusal]
    assert refusals(Defaults, headers={"X-Fine": "fine", "X-Key": secret}) == [refusal]


@pytest.mark.parametrize("name", ["X Y", "", "X:", f"Authorization: {CANARY}", "é", "X\n"])
def test_what_is_no_header_name_is_refused_and_not_repeated(name: str) -> None:
    assert refusals(Defaults, headers={name: "v"}) == [
        "must be letters and `-`, like those of all headers: write `Name: value`"
    ]


@settings(deadline=None)
@given(st.text())
def test_a_secret_is_sendable_or_refused_in_fixed_words(text: str) -> None:
    assert refusals(Provider, name="a", api_key=text) in ([], [EMPTY], [SENDABLE])


@settings(deadline=None)
@given(st.text() | st.from_regex(r"http://[a-z:@/?#\[\]\\. %0-9]{0,20}", fullmatch=True))
def test_a_base_url_is_taken_or_refused_in_fixed_words(text: str) -> None:
    assert refusals(Provider, name="a", base_url=text) in ([], [URL], [PATH_LAST], [LOGIN])
