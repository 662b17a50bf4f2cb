"""The section `store`: addresses, passwords, and what belongs together."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from proxy.config import ConfigError, parse
from proxy.config.store import StoreSettings
from tests.config.outcomes import PROVIDER, parsed, problems_of

FORMS = (
    "must be redis://host:6379, rediss://host:6379 (TLS), or sentinel://host1,host2/name (Sentinel; sentinels:// with "
    "TLS), with `user:password@` before the host if necessary"
)

VALID = ("valkey: redis://valkey", "namespace: prod")


def store(*lines: str) -> str:
    return PROVIDER + "store:\n" + "".join(f"  {line}\n" for line in lines)


def store_of(*lines: str) -> StoreSettings:
    return parsed(store(*lines), files={"/run/secrets/valkey": "fake-password\n"}).store


def problems(*lines: str) -> list[str]:
    """Without file and line."""
    found = problems_of(store(*lines), files={"/run/secrets/valkey": "fake-password\n", "/run/secrets/empty": ""})
    return [problem.partition(": ")[2] for problem in found]


def test_nothing_is_shared_by_default() -> None:
    assert parsed(PROVIDER).store == StoreSettings()
    assert StoreSettings().valkey is None


def test_a_directory_in_the_home_of_a_user_is_written_with_a_variable() -> None:
    (problem,) = problems("directory: ~/models-proxy")

    assert problem.startswith(
        "store.directory: must be the path of a directory without `~`, which is not replaced; write ${HOME}"
    )


@pytest.mark.parametrize(
    "url",
    [
        "redis://valkey",
        "redis://valkey:6379/2",
        "redis://[::1]:6379",
        "rediss://user@valkey.example:6380",
        "sentinel://one,two:26380/main",
        "sentinels://one/main",
    ],
)
def test_addresses_of_servers_and_sentinels_are_valid(url: str) -> None:
    assert store_of(f'valkey: "{url}"', "namespace: prod") == StoreSettings(valkey=SecretStr(url), namespace="prod")


@pytest.mark.parametrize(
    "url",
    [
        "valkey:6379",
        "http://valkey",
        "redis://",
        "redis://valkey:0",
        "redis://valkey:99999",
        "redis://one,two",
        "redis://valkey/name",
        "redis://valkey?db=1",
        "sentinel://one,two",
        "sentinel://one,/main",
        "redis://val key",
    ],
)
def test_other_addresses_are_problems_that_do_not_quote_them(url: str) -> None:
    assert problems(f'valkey: "{url}"', "namespace: prod") == [f"store.valkey: {FORMS}"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["valkey: redis://:fake%2Dpassword@valkey"], id="address"),
        pytest.param(["valkey: redis://valkey", "valkey_password: fake-password"], id="setting"),
        pytest.param(["valkey: redis://valkey", "valkey_password_file: /run/secrets/valkey"], id="file"),
    ],
)
def test_a_password_can_be_in_the_address_a_setting_or_a_file(lines: list[str]) -> None:
    found = store_of(*lines, "namespace: prod")

    assert found.valkey_password == SecretStr("fake-password")
    assert "fake" not in repr(found)
    assert len(found.secret_files) == (len(lines) == 2 and "file" in lines[1])


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["valkey: redis://valkey"], "namespace: is missing; `valkey` requires it, like `namespace: prod`"),
        (["namespace: prod"], "namespace: has no effect without `valkey`; set `valkey`, or remove it"),
        ([*VALID, "lease: 500ms"], "lease: must be a duration from 1s to 10m; found '500ms'"),
        (
            ["valkey: redis://u:fake@valkey", "namespace: prod", "valkey_password: fake"],
            "valkey_password: conflicts with the password in `valkey`; set only one",
        ),
        (
            [*VALID, "valkey_password: fake", "valkey_password_file: /run/secrets/valkey"],
            "valkey_password_file: conflicts with the password in `valkey_password`; set only one",
        ),
        (
            [*VALID, "valkey_password_file: /run/secrets/empty"],
            "valkey_password_file: its content is empty; set a value or remove it",
        ),
        (
            [*VALID, "valkey_password_file: /missing"],
            "valkey_password_file: cannot be read: No such file or directory",
        ),
        (
            ["valkey: rediss://valkey", "namespace: prod", "valkey_ca_file: /missing"],
            "valkey_ca_file: cannot be read: No such file or directory",
        ),
    ],
)
def test_settings_that_do_not_fit_are_problems(lines: list[str], problem: str) -> None:
    assert problems(*lines) == [f"store.{problem}"]


def test_a_ca_requires_tls(corp_pem: str) -> None:
    found = problems("valkey: redis://valkey", "namespace: prod", f"valkey_ca_file: {corp_pem}")
    assert found == ["store.valkey_ca_file: requires TLS: write rediss:// or sentinels:// in `valkey`"]


def test_the_client_must_be_installed() -> None:
    with pytest.raises(ConfigError) as error:
        parse(store("valkey: redis://valkey", "namespace: prod"), is_installed=lambda library: library != "redis")

    assert [str(problem) for problem in error.value.problems] == [
        "config.yaml:5: store.valkey: requires the library redis, which is not installed; run "
        "`pip install 'models-proxy[valkey]'`"
    ]
