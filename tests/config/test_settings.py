"""The settings as values: what is derived from them, and what they never show."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr, ValidationError

from proxy.config import Config, Key, Provider
from proxy.config.settings import Group, Iam, Merge, OwnerRule, Server, Skipped
from tests.config.outcomes import CANARY, refusals

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there


def config(**fields: object) -> Config:
    parts = {"server": Server(), "merge": Merge(), "owners": (), "providers": (), "keys": ()}
    return Config(**{**parts, **fields})  # type: ignore[arg-type]


def test_a_port_may_be_any_that_exists_or_zero_for_a_free_one() -> None:
    assert [Server.model_validate({"port": port}).port for port in (0, "8000", 65_535)] == [0, 8000, 65_535]
    assert refusals(Server, port=65_536) == ["must be a whole number from 0 to 65535"]


@pytest.mark.parametrize("said", [date(2027, 1, 31), "2027-01-31"])
def test_a_key_is_good_until_the_end_of_its_last_day_utc(said: object) -> None:
    key = Key.model_validate({"name": "ci", "digest": b"", "rules": [], "expires": said})
    assert key.expires == date(2027, 1, 31)
    assert key.valid_until == datetime(2027, 2, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("day", [date(1, 1, 1), date(2028, 2, 29), date(9999, 12, 31)])
def test_any_day_of_the_calendar_ends_after_a_day(day: date) -> None:
    key = Key(name="ci", digest=b"", rules=(), expires=day)
    assert key.valid_until == datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86_400


def test_a_key_without_a_last_day_is_always_good() -> None:
    assert Key(name="ci", digest=b"", rules=()).valid_until == float("inf")


@pytest.mark.parametrize(
    "url",
    ["https://iam", "https://iam/", "https://iam/v3", "https://iam/v3/", "https://iam/v3/auth/tokens", "https://iam/v3/auth/tokens/"],
)  # fmt: skip
def test_an_iam_is_named_with_or_without_its_path(url: str) -> None:
    iam = Iam(url=url, domain="d", user="u", password=SecretStr(CANARY), project="p")
    assert iam.url == "https://iam"


@pytest.mark.parametrize("field", ["url", "domain", "user", "password", "project"])
def test_a_login_is_complete(field: str) -> None:
    whole: dict[str, object] = {"url": "https://iam", "domain": "d", "user": "u", "password": CANARY, "project": "p"}
    assert refusals(Iam, **whole) == []
    assert len(refusals(Iam, **{**whole, field: ""})) == 1
    assert len(refusals(Iam, **{name: value for name, value in whole.items() if name != field})) == 1


@pytest.mark.parametrize(
    ("host", "open_", "keys", "refused"),
    [
        pytest.param("127.0.0.1", False, False, False, id="loopback"),
        pytest.param("127.8.8.8", False, False, False, id="anywhere in loopback"),
        pytest.param("::1", False, False, False, id="loopback of IPv6"),
        pytest.param("localhost", False, False, False, id="localhost"),
        pytest.param(EVERYWHERE, False, False, True, id="everywhere"),
        pytest.param("::", False, False, True, id="everywhere in IPv6"),
        pytest.param("", False, False, True, id="no host, which is everywhere"),
        pytest.param("10.0.0.7", False, False, True, id="a network"),
        pytest.param("localhost.example.com", False, False, True, id="a name"),
        pytest.param(EVERYWHERE, True, False, False, id="everywhere, as the file says"),
        pytest.param(EVERYWHERE, False, True, False, id="everywhere, with a key"),
    ],
)
def test_without_keys_nothing_is_exposed_beyond_loopback_unless_the_file_says_so(
    host: str, open_: bool, keys: bool, refused: bool
) -> None:
    key = Key(name="ops", digest=b"", rules=())
    refusal = config(server=Server(allow_anonymous=open_), keys=(key,) if keys else ()).refuse_exposure(host)
    expected = (
        f"refuses to listen on {host}: no keys are configured, so everybody who reaches it could use your "
        "providers. Add `keys:`, listen on 127.0.0.1, or say `server: {allow_anonymous: true}`."
    )
    assert refusal == (expected if refused else "")


def test_no_secret_is_in_a_repr_or_a_str() -> None:
    digest = CANARY.encode()
    provider = Provider(
        name="a",
        api_key=SecretStr(CANARY),
        headers={"X-Key": SecretStr(CANARY)},
        proxy=SecretStr(f"http://user:{CANARY}@egress"),
        iam=Iam(url="https://iam", domain="d", user="u", password=SecretStr(CANARY), project="p"),
    )
    key = Key(name="ops", digest=digest, rules=("*",))
    whole = config(providers=(provider,), keys=(key,), skipped=(Skipped("b", "B not set"),))
    for value in (provider, provider.iam, provider.headers, key, whole):
        assert "canary" not in f"{value!r} {value!s}"


@pytest.mark.parametrize(
    "value", [Server(), Merge(), Group(models=()), OwnerRule(match=("*",), owner="o"), Provider(name="a"), config()]
)
def test_a_value_never_changes(value: object) -> None:
    name = next(iter(vars(value)))
    with pytest.raises((ValidationError, AttributeError)):
        setattr(value, name, None)
