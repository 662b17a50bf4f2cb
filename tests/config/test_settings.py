"""Settings as values: what is derived from them, and no secret in their text."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from pydantic import SecretStr, ValidationError

from proxy.config import Config, ConfigError, Key, Provider, parse
from proxy.config.keys import KeyEntry
from proxy.config.logs import Logging
from proxy.config.provider_settings import Iam
from proxy.config.server import Server
from proxy.config.settings import Group, Merge, OwnerRule, Skipped
from tests.config.outcomes import CANARY

EVERYWHERE = "0.0.0.0"  # noqa: S104 - nothing listens there
EVERY_ADDRESS = (
    "config.yaml:1: server.trusted_proxies[{}]: contains every address, so any client could forge X-Forwarded-For; "
    "set the addresses of the reverse proxies; found '{}'"
)


def config(**fields: object) -> Config:
    parts = {"server": Server(), "merge": Merge(), "owners": (), "providers": (), "keys": ()}
    return Config(**{**parts, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [date(2027, 1, 31), "2027-01-31"])
def test_key_expires_at_the_end_of_its_day_utc(given: object) -> None:
    entry = KeyEntry.model_validate({"name": "ci", "expires": given})
    key = Key(name="ci", digests=(), rules=(), expires=entry.expires)
    assert key.expires == date(2027, 1, 31)
    assert key.valid_until == datetime(2027, 2, 1, tzinfo=UTC).timestamp()


def test_key_is_valid_from_the_begin_of_its_first_day_utc() -> None:
    entry = KeyEntry.model_validate({"name": "ci", "not_before": "2027-01-31"})
    key = Key(name="ci", digests=(), rules=(), not_before=entry.not_before)
    assert key.valid_from == datetime(2027, 1, 31, tzinfo=UTC).timestamp()
    assert Key(name="ci", digests=(), rules=()).valid_from == float("-inf")


@pytest.mark.parametrize("day", [date(1, 1, 1), date(2028, 2, 29), date(9999, 12, 31)])
def test_every_date_ends_after_24_hours(day: date) -> None:
    key = Key(name="ci", digests=(), rules=(), expires=day)
    assert key.valid_until == datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + 86_400


def test_key_without_expires_never_expires() -> None:
    assert Key(name="ci", digests=(), rules=()).valid_until == float("inf")


@pytest.mark.parametrize(
    ("host", "open_", "keys", "rejected"),
    [
        pytest.param("127.0.0.1", False, False, False, id="loopback"),
        pytest.param("127.8.8.8", False, False, False, id="another loopback address"),
        pytest.param("::1", False, False, False, id="IPv6 loopback"),
        pytest.param("localhost", False, False, False, id="localhost"),
        pytest.param(EVERYWHERE, False, False, True, id="all addresses"),
        pytest.param("::", False, False, True, id="all IPv6 addresses"),
        pytest.param("", False, False, True, id="no host, which is all addresses"),
        pytest.param("10.0.0.7", False, False, True, id="a network"),
        pytest.param("localhost.example.com", False, False, True, id="a name"),
        pytest.param(EVERYWHERE, True, False, False, id="all addresses, with allow_anonymous"),
        pytest.param(EVERYWHERE, False, True, False, id="all addresses, with a key"),
    ],
)
def test_listening_beyond_loopback_requires_keys_or_allow_anonymous(
    host: str, open_: bool, keys: bool, rejected: bool
) -> None:
    key = Key(name="ops", digests=(), rules=())
    message = config(server=Server(allow_anonymous=open_), keys=(key,) if keys else ()).refuse_exposure(host)
    expected = (
        f"refusing to listen on {host}: no keys are configured, so anyone who can reach it could use your "
        "providers. Add `keys:`, listen on 127.0.0.1, or set `server.allow_anonymous: true` in the configuration "
        "file (the variable MODELS_PROXY_OPEN has no effect unless the file refers to it)."
    )
    assert message == (expected if rejected else "")


def test_repr_and_str_contain_no_secret() -> None:
    digest = CANARY.encode()
    provider = Provider(
        name="a",
        api_key=SecretStr(CANARY),
        headers={"X-Key": SecretStr(CANARY)},
        proxy=SecretStr(f"http://user:{CANARY}@egress"),
        iam=Iam(url="https://iam", domain="d", user="u", password=SecretStr(CANARY), project="p"),
    )
    key = Key(name="ops", digests=(digest,), rules=("*",))
    whole = config(providers=(provider,), keys=(key,), skipped=(Skipped("b", "B not set"),))
    for value in (provider, provider.iam, provider.headers, key, whole):
        assert "canary" not in f"{value!r} {value!s}"


@pytest.mark.parametrize(
    "value", [Server(), Merge(), Group(models=()), OwnerRule(match=("*",), owner="o"), Provider(name="a"), config()]
)
def test_settings_are_immutable(value: object) -> None:
    name = next(iter(vars(value)))
    with pytest.raises((ValidationError, AttributeError)):
        setattr(value, name, None)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "server: {trusted_proxies: [10.0.0.1/8]}",
            "or an address; did you mean 10.0.0.0/8?",
        ),
        ("server: {trusted_proxies: ['::ffff:10.0.0.1/104']}", "or an address; did you mean 10.0.0.0/8?"),
        ("server: {trusted_proxies: [10.0.0.0/8, 0.0.0.0/0]}", EVERY_ADDRESS.format(1, "0.0.0.0/0")),
        ("server: {trusted_proxies: ['::/0']}", EVERY_ADDRESS.format(0, "::/0")),
        ("server: {trusted_proxies: ['::ffff:0:0/96']}", EVERY_ADDRESS.format(0, "::ffff:0:0/96")),
        ("server: {trusted_proxies: [proxy.example]}", "must be a network such as 10.0.0.0/8, or an address"),
        ("logging: {access: some}", "access"),
        ("logging: {level: verbose}", "level"),
        ("logging: {format: text}", "format"),
        ("logging: {file: /var/log/x}", "unknown setting"),
    ],
)
def test_invalid_settings_of_the_log_are_problems(line: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(f"{line}\nproviders: [{{name: a, base_url: 'http://127.0.0.1/v1'}}]")

    assert problem in str(raised.value)


def test_access_off_is_no_boolean() -> None:
    assert parse("logging: {access: off}\nproviders: [{name: a, base_url: 'http://127.0.0.1/v1'}]").logging == Logging(
        access="off"
    )
