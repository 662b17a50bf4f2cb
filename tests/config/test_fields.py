"""Fields: the values that each type accepts and rejects."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.config import Provider
from proxy.config.defaults import Defaults
from proxy.config.fields import check_sendable
from proxy.config.keys import KeyEntry
from proxy.config.server import Server
from tests.config.outcomes import CANARY, rejections

DURATION = "must be a positive duration, like 250ms, 4s, 5m, 24h or 7d"
SIZE = "must be a positive size, like 512KiB or 16MiB"
DAY = "must be a valid date, like 2027-01-31; the key expires at the end of that day (UTC)"
NAME = "must be 1 to 64 letters, digits, `.`, `_` or `-`, starting with a letter or digit"
ORIGIN = "must be an exact origin in lower case without a path, like https://app.example.com"
NO_ORIGIN = "`null` and file: match any local page and sandboxed frame, so they cannot be allowed"
URL = "must be a URL like https://api.example.com/v1"
PATH_LAST = "must not contain `?` or `#`"
LOGIN = "must not contain a user or password; use `api_key` or `headers`"
PROXY = "must be a URL like http://egress:3128; if it needs user and password, percent-encode them"
SENDABLE = "must be printable ASCII without leading or trailing spaces, because it is sent in a header"
BEARER = "must not begin with `Bearer `; remove it: the proxy adds it"
QUOTES = "must not begin or end with a quote; remove the quotes: they are part of the value"
VERSION_TWICE = "ends with the same version twice, like `/v1/v1`; remove one"
EMPTY = "is empty; set a value or remove it"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("250ms", 0.25), ("4s", 4), ("5m", 300), ("24h", 86_400), ("7d", 604_800), ("1.5 h", 5400), (" 3 ", 3), (0.5, 0.5),
     (9, 9)],
)  # fmt: skip
def test_duration_is_a_number_with_a_unit(value: object, seconds: float) -> None:
    assert Defaults.model_validate({"ttl": value}).ttl == seconds


@pytest.mark.parametrize(
    "value",
    ["5 min", "", "m", "-5s", "0", "0s", 0, -1, True, "1:30", "1e3", "9" * 400 + "d", float("nan"), float("inf"), [5],
     {}],
)  # fmt: skip
def test_invalid_durations_are_rejected(value: object) -> None:
    assert rejections(Defaults, ttl=value) == [DURATION]


@pytest.mark.parametrize(
    ("value", "size"),
    [("512KiB", 524_288), ("16MiB", 16_777_216), ("1 GiB", 1_073_741_824), ("7B", 7), ("7", 7), (7, 7)],
)
def test_size_is_a_whole_number_with_a_unit(value: object, size: int) -> None:
    assert Defaults.model_validate({"max_body": value}).max_body == size


@pytest.mark.parametrize("value", ["16MB", "16mib", "1.5MiB", 1.5, "", 0, "0KiB", -1, True, [1]])
def test_invalid_sizes_are_rejected(value: object) -> None:
    assert rejections(Defaults, max_body=value) == [SIZE]


@pytest.mark.parametrize(
    ("field", "least", "most"), [("retries", 0, 10), ("max_pages", 1, 1_000_000), ("max_models", 1, 1_000_000)]
)
def test_integer_settings_have_a_range(field: str, least: int, most: int) -> None:
    message = [f"must be a whole number from {least} to {most}"]
    assert rejections(Defaults, **{field: least}) == rejections(Defaults, **{field: f" {most} "}) == []
    for value in (least - 1, most + 1, 1.5, "1.0", "many", "", True, None, [1], "9" * 400):
        assert rejections(Defaults, **{field: value}) == message, f"{value!r}"


@pytest.mark.parametrize(
    ("value", "shown"), [("all", None), ("none", ()), (["pricing", "context_length"], ("pricing", "context_length"))]
)
def test_extra_fields_is_all_none_or_a_list(value: object, shown: object) -> None:
    assert Defaults.model_validate({"extra_fields": value}).extra_fields == shown


@pytest.mark.parametrize("value", ["some", "pricing", True, 5, {"pricing": 1}, None])
def test_other_values_of_extra_fields_are_rejected(value: object) -> None:
    assert rejections(Defaults, extra_fields=value) == ["must be `all`, `none` or a list of field names"]


@pytest.mark.parametrize(
    "value",
    ["2027-02-29", "2027-13-45", "soon", "20270131", "31/01/2027", 20270131, True, datetime(2027, 1, 31, tzinfo=UTC)],
)
def test_invalid_dates_are_rejected(value: object) -> None:
    assert rejections(KeyEntry, name="ci", expires=value) == [DAY]


@pytest.mark.parametrize("name", ["a", "9", "A.b_c-d", "a" * 64])
def test_valid_names(name: str) -> None:
    assert rejections(Provider, name=name) == []


@pytest.mark.parametrize("name", ["", "-a", "a b", "a\n", "a/b", "ab:c", "名", "a" * 65])
def test_invalid_names_are_rejected(name: str) -> None:
    assert rejections(Provider, name=name) == [NAME]


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:3000", "app://notes.example",
     "tauri://localhost", "capacitor://localhost", "ionic://localhost", "capacitor-electron://-", "web+app://a_b",
     "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "vscode-webview://0abc1def2",
     "moz-extension://01234567-89ab-4cde-8f01-23456789abcd"],
)  # fmt: skip
def test_origins_as_browsers_desktop_applications_and_extensions_send_them_are_valid(origin: str) -> None:
    assert rejections(Server, cors=[origin]) == []


@pytest.mark.parametrize(
    "origin",
    [
        "*", "https://*.example.com", "", "app.example.com", "https://app.example.com/", "https://a.example/app",
        "https://App.example.com", "HTTPS://a.example", "https://user@a.example", "https://a.example?x", "https://[a",
        "https://a.example#x", "ftp://a.example", "https://a.example\n", "https://a.example:port",
        "App://notes.example", "app://Notes.example", "app://", "app:notes", "app://a/b", "9app://a", "*://a",
        "chrome-extension://*", "data://a", "blob://a", "javascript://a", "about://blank", "ws://a.example",
    ],
)  # fmt: skip
def test_other_origins_are_rejected(origin: str) -> None:
    assert rejections(Server, cors=["https://fine.example", origin]) == [ORIGIN]


@pytest.mark.parametrize("origin", ["https://a.example:443", "http://localhost:80", "http://[::1]:80"])
def test_origins_with_a_port_that_browsers_leave_out_are_rejected(origin: str) -> None:
    message = "must not have the default port, which browsers leave out of an origin"
    assert rejections(Server, cors=[origin, "https://a.example:80", "http://a.example:443", "app://a:80"]) == [message]


@pytest.mark.parametrize(
    ("host", "read"),
    [
        ("LLM.example.com", "llm.example.com"),
        ("models_proxy", "models_proxy"),
        ("10.0.0.7", "10.0.0.7"),
        ("[FD00::1]", "fd00::1"),
        ("::1", "::1"),
    ],
)
def test_allowed_hosts_are_names_and_addresses_in_lower_case(host: str, read: str) -> None:
    assert Server(allowed_hosts=(host,)).allowed_hosts == (read,)


@pytest.mark.parametrize(
    "host", ["", "*", "*.example.com", "https://a.example", "a.example:80", "a.example/", "a b", "."]
)
def test_other_hosts_are_rejected(host: str) -> None:
    message = "must be a host name without scheme and port, like llm.example.com"
    assert rejections(Server, allowed_hosts=[host]) == [message]


@pytest.mark.parametrize("origin", ["null", "file:", "file://", "file:///", "file:///home/me/page.html"])
def test_origins_that_any_local_page_has_are_rejected(origin: str) -> None:
    assert rejections(Server, cors=[origin]) == [NO_ORIGIN]


@pytest.mark.parametrize(
    "url",
    [
        "http://h", "https://h.example:8443/v1/", "HTTPS://H/v1", "http://127.0.0.1:1/a@b", "http://[::1]:8000/v1",
        "https://模型.example/v1",
    ],
)  # fmt: skip
def test_valid_base_urls(url: str) -> None:
    assert Provider(name="a", base_url=url).base_url == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("h/v1", URL, id="no scheme"),
        pytest.param("ftp://h", URL, id="another scheme"),
        pytest.param("http://", URL, id="no host"),
        pytest.param("http:///v1", URL, id="no host before a path"),
        pytest.param("http://:80", URL, id="a port without a host"),
        pytest.param("http://h:99999", URL, id="a port that is too large"),
        pytest.param("http://h:0", URL, id="port zero"),
        pytest.param(f"http://h:{CANARY}", URL, id="a port that is not a number"),
        pytest.param("http://[x", URL, id="an unclosed bracket"),
        pytest.param(f"http://[{CANARY}]", URL, id="brackets without an address"),
        pytest.param("http://h o/v1", URL, id="a space"),
        pytest.param(" http://h", URL, id="a leading space"),
        pytest.param("http://h/v1\n", URL, id="a trailing line break"),
        pytest.param("http://h\\v1", URL, id="a backslash"),
        pytest.param(f"http://u:{CANARY}@h\u2100", URL, id="a character that normalizes to others"),
        pytest.param("http://h?", PATH_LAST, id="an empty query"),
        pytest.param(f"http://h/v1?key={CANARY}", PATH_LAST, id="a query"),
        pytest.param("http://h#", PATH_LAST, id="a fragment"),
        pytest.param(f"http://user:{CANARY}@h/v1", LOGIN, id="a login"),
        pytest.param(f"http://{CANARY}@h", LOGIN, id="a user"),
        pytest.param("http://@h", LOGIN, id="an empty login"),
    ],
)
def test_invalid_base_urls_are_rejected_and_not_quoted(url: str, message: str) -> None:
    assert rejections(Provider, name="a", base_url=url) == [message]


def test_proxy_url_can_contain_a_login() -> None:
    assert rejections(Defaults, proxy=f"http://user:{CANARY}@egress:3128") == []


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
def test_invalid_proxy_urls_are_rejected_and_not_quoted(url: str) -> None:
    assert rejections(Defaults, proxy=url) == [PROXY]


@pytest.mark.parametrize("secret", [CANARY, "a b", "~", "!"])
def test_printable_ascii_secrets_are_sendable(secret: str) -> None:
    assert check_sendable(SecretStr(secret)).get_secret_value() == secret


@pytest.mark.parametrize(
    ("secret", "message"),
    [("", EMPTY), (" ", SENDABLE), (f"{CANARY}\n", SENDABLE), (f" {CANARY}", SENDABLE), (f"{CANARY}é", SENDABLE),
     (f"{CANARY}\r\nX: y", SENDABLE), ("\x00", SENDABLE), ("钥匙", SENDABLE)],
)  # fmt: skip
def test_secrets_that_cannot_be_sent_in_a_header_are_rejected(secret: str, message: str) -> None:
    assert rejections(Provider, name="a", api_key=secret) == [message]
    assert rejections(Defaults, headers={"X-Fine": "fine", "X-Key": secret}) == [message]


@pytest.mark.parametrize(
    ("secret", "message"),
    [(f"Bearer {CANARY}", BEARER), (f"bearer {CANARY}", BEARER), (f'"{CANARY}"', QUOTES), (f"'{CANARY}", QUOTES),
     (f'{CANARY}"', QUOTES), ("'", QUOTES)],
)  # fmt: skip
def test_api_keys_with_a_scheme_or_quotes_are_rejected_but_not_headers(secret: str, message: str) -> None:
    assert rejections(Provider, name="a", api_key=secret) == [message]
    assert rejections(Defaults, headers={"Authorization": secret}) == []


@pytest.mark.parametrize("secret", ["Bearer", "bearer-1", "a'b", 'a"b'])
def test_other_api_keys_are_valid(secret: str) -> None:
    assert rejections(Provider, name="a", api_key=secret) == []


@pytest.mark.parametrize("name", ["X Y", "", "X:", f"Authorization: {CANARY}", "é", "X\n"])
def test_invalid_header_names_are_rejected_and_not_quoted(name: str) -> None:
    assert rejections(Defaults, headers={name: "v"}) == [
        "must be a valid HTTP header name; write `Name: value`, like `X-Team: platform`"
    ]


@settings(deadline=None)
@given(st.text())
def test_any_api_key_is_valid_or_rejected_with_a_fixed_message(text: str) -> None:
    assert rejections(Provider, name="a", api_key=text) in ([], [EMPTY], [SENDABLE], [BEARER], [QUOTES])


@settings(deadline=None)
@given(st.text() | st.from_regex(r"http://[a-z:@/?#\[\]\\. %0-9]{0,20}", fullmatch=True))
def test_any_base_url_is_valid_or_rejected_with_a_fixed_message(text: str) -> None:
    assert rejections(Provider, name="a", base_url=text) in ([], [URL], [PATH_LAST], [LOGIN], [VERSION_TWICE])
