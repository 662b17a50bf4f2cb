"""Which configurations cannot replace the present one, and which settings need a restart."""

from __future__ import annotations

import pytest

from proxy.config import Config
from proxy.config.problems import Problem
from proxy.config.reload_rules import refuse_reload, restart_digest, restart_needed
from tests.config.outcomes import KEY, PROVIDER, parsed

WITH_KEY = parsed(f"{KEY}    models: [a]\n")
OPEN = parsed(PROVIDER)
EVERYWHERE = parsed(f"{PROVIDER}server: {{host: 0.0.0.0, allow_anonymous: true}}\n")
LAST_KEY = Problem(
    0,
    "keys",
    "the last key was removed, so requests without a key would be accepted; keep at least one key, or restart to serve "
    "without keys",
)


@pytest.mark.parametrize("after", [OPEN, EVERYWHERE])
def test_last_key_cannot_be_removed(after: Config) -> None:
    assert refuse_reload(WITH_KEY, after) == LAST_KEY


def test_keys_can_be_added_and_replaced() -> None:
    other = parsed(f"{KEY}    models: [b]\n")

    assert [refuse_reload(OPEN, WITH_KEY), refuse_reload(WITH_KEY, other), refuse_reload(OPEN, OPEN)] == [None] * 3


def test_open_proxy_on_all_addresses_stays_allowed_explicitly() -> None:
    text = OPEN.refuse_exposure("0.0.0.0")  # noqa: S104 - nothing listens there

    assert refuse_reload(EVERYWHERE, EVERYWHERE) is None
    assert refuse_reload(EVERYWHERE, OPEN) == Problem(0, "server", text)
    assert refuse_reload(OPEN, OPEN, addresses=["0.0.0.0"]) == Problem(0, "server", text)  # noqa: S104


@pytest.mark.parametrize(
    "settings",
    [
        "store: {directory: /other}",
        "store: {valkey: 'redis://localhost', namespace: prod, valkey_password: fake-one}",
        "tracing: {endpoint: 'http://127.0.0.1:4318', headers: {x-key: fake-one}}",
    ],
)
def test_the_digest_changes_with_the_settings_that_need_a_restart(settings: str) -> None:
    one, other = parsed(f"{PROVIDER}{settings}\n"), parsed(f"{PROVIDER}{settings.replace('one', 'two')}\n")

    assert restart_digest(one) != restart_digest(OPEN)
    assert (restart_digest(one) == restart_digest(other)) is ("one" not in settings)
    assert restart_digest(EVERYWHERE) == restart_digest(WITH_KEY) == restart_digest(OPEN)


def test_host_and_port_need_a_restart() -> None:
    assert restart_needed(OPEN, WITH_KEY) == []
    assert restart_needed(OPEN, EVERYWHERE) == ["server.host"]
    assert restart_needed(OPEN, parsed(f"{PROVIDER}store: {{directory: /other}}\n")) == ["store.directory"]
    assert restart_needed(OPEN, parsed(f"{PROVIDER}server: {{host: h, port: 1}}\n")) == ["server.host", "server.port"]
