"""Shared state over Debian's Redis: with TLS and a password, and with Sentinel while the master is replaced."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trustme
from pydantic import SecretStr

from proxy.clock import SystemClock
from proxy.config.store import StoreSettings
from proxy.sharing import Published, Turn
from proxy.sharing.usage import UsageInValkey
from proxy.sharing.usage_store import Batch, Index
from proxy.sharing.valkey import Valkey
from proxy.telemetry.usage_rows import Counts, Names
from tests.fakes import digest
from tests.processes import serving, until
from tests.providers.scripted import Exchange, FakeProviders
from tests.valkey_servers import ValkeyServer, free_port

pytestmark = pytest.mark.anyio

PASSWORD = "fake-password"
KEY = "sk-canary-of-a-caller"
NAME = "0123456789abcdef"
RECOVERED_WITHIN = 30.0
"""Seconds: Sentinel decides after 2 s, then the proxy connects to the new master within 10 s."""


class Replica:
    """A process that shares state, with the system's clock."""

    def __init__(self, url: str, **settings: object) -> None:
        store = StoreSettings(valkey=SecretStr(url), namespace="test", lease=2.0, **settings)  # type: ignore[arg-type]
        self.sharing = Valkey(store, SystemClock())
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Valkey:
        self._running = asyncio.create_task(self.sharing.run())
        await asyncio.sleep(0)
        return self.sharing

    async def __aexit__(self, *error: object) -> None:
        assert self._running is not None, "entered"
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


async def fetched(sharing: Valkey, data: bytes) -> int:
    """Publish a list as soon as that is possible. Returns its version."""
    ends_at = time.monotonic() + RECOVERED_WITHIN
    while time.monotonic() < ends_at:
        answer = await sharing.begin(NAME, 0, force=True)
        if isinstance(answer, Turn) and await sharing.publish(NAME, answer.token, "list", data, 60.0):
            return answer.token
        await asyncio.sleep(0.1)
    raise AssertionError(f"not published: {sharing.state}")


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    """A CA, and the certificate and key of 127.0.0.1, as PEM files."""
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    return tmp_path / "ca.pem", tmp_path / "server.pem"


@pytest.fixture
def tls_server(authority: tuple[Path, Path]) -> Iterator[tuple[int, Path]]:
    """The port of a server with TLS and a password, and its CA."""
    ca, pem = authority
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", str(pem), "--tls-key-file", str(pem)]
    options += ["--tls-ca-cert-file", str(ca), "--tls-auth-clients", "no", "--requirepass", PASSWORD]
    with ValkeyServer(*options, command="redis-server"):
        yield port, ca


async def test_tls_with_a_password_from_a_file(tls_server: tuple[int, Path]) -> None:
    port, ca = tls_server
    async with Replica(
        f"rediss://127.0.0.1:{port}", valkey_password=SecretStr(PASSWORD), valkey_ca_file=str(ca)
    ) as sharing:
        assert await fetched(sharing, b"a list")


async def test_an_unknown_ca_is_not_trusted(tls_server: tuple[int, Path]) -> None:
    port, _ = tls_server
    async with Replica(f"rediss://127.0.0.1:{port}", valkey_password=SecretStr(PASSWORD)) as sharing:
        assert await sharing.begin(NAME, 0) is None
        ends_at = time.monotonic() + RECOVERED_WITHIN
        while sharing.state.reason != "connection refused or lost":  # on a slow machine it timed out before
            assert time.monotonic() < ends_at, sharing.state
            await asyncio.sleep(0.05)
        assert await sharing.begin(NAME, 0) is None


async def test_the_documented_permissions_are_sufficient() -> None:
    rules = documented_permissions().split()
    with ValkeyServer(command="redis-server") as server:
        server.client.execute_command("ACL", "SETUSER", "proxy", "on", f">{PASSWORD}", *rules)
        store = {"valkey_password": SecretStr(PASSWORD)}
        url = f"redis://proxy@127.0.0.1:{server.port}"
        async with Replica(url, **store) as one, Replica(url, **store) as two:
            version = await fetched(one, b"a list")
            one.put("id-1", b"value", 60.0)
            hints: list[bytes] = []
            two.listen(lambda hint, age: hints.append(hint))
            ends_at = time.monotonic() + RECOVERED_WITHIN
            while not (hints and await two.get(["id-1"])) and time.monotonic() < ends_at:
                one.announce(b"a hint")
                await asyncio.sleep(0.05)
            answer = await two.begin(NAME, 0)
            await use_all_of(one.usage)

            assert isinstance(answer, Published)
            assert (answer.version, answer.list) == (version, b"a list")
            assert hints
            assert (one.state.failures, two.state.failures) == (0, 0)


async def use_all_of(usage: UsageInValkey) -> None:
    hour = int(time.time())
    rows = [(start, Names("alice", "m", "a"), Counts(1, 0, 0, 0)) for start in (hour, hour + 3600)]
    assert await usage.add(Batch(1, rows, {"alice": 1.0})) == 0
    assert await usage.used_since(0.0) == {"alice": 1.0}
    assert await usage.claim_maintenance(1)
    assert await usage.merge(hour + 3600, hour)
    await usage.correct(1, None)
    assert await usage.rows(hour) == {Names("alice", "m", "a"): Counts(2, 0, 0, 0)}
    await usage.remove([hour])
    assert await usage.index() == Index({}, None)


def documented_permissions() -> str:
    """The rules of the access control list in docs/operations.md."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
    return text.partition("The user of an access control list needs `")[2].partition("`")[0]


async def test_another_master_is_used_after_a_failover_by_sentinel(tmp_path: Path) -> None:
    with ExitStack() as stack:
        master = stack.enter_context(ValkeyServer("--repl-diskless-sync-delay", "0", command="redis-server"))
        replica = stack.enter_context(ValkeyServer("--replicaof", f"127.0.0.1 {master.port}", command="redis-server"))
        sentinels = [sentinel(stack, tmp_path / str(number), master.port) for number in range(3)]
        wait_for_replica(sentinels[0])
        url = f"sentinel://{','.join(f'127.0.0.1:{each.port}' for each in sentinels)}/main"
        async with Replica(url) as sharing:
            before = await fetched(sharing, b"before")
            master.kill()
            after = await fetched(sharing, b"after")

            assert after > before
            assert replica.client.hget(f"models-proxy:list:{NAME}", "list") == b"after"


def test_lists_authentication_and_calls_go_on_while_sentinel_is_silent(tmp_path: Path) -> None:
    with ExitStack() as stack:
        upstream = stack.enter_context(FakeProviders()).open(lists_and_answers)
        master = stack.enter_context(ValkeyServer(command="redis-server"))
        watching = sentinel(stack, tmp_path / "sentinel", master.port, quorum=1)
        text = json.dumps(
            {
                "store": {"valkey": f"sentinel://127.0.0.1:{watching.port}/main", "namespace": "test"},
                "providers": [{"name": "a", "base_url": upstream.url, "ttl": "2s"}],
                "keys": [{"name": "alice", "hash": digest(KEY), "models": ["*"]}],
            }
        )
        running = stack.enter_context(serving(tmp_path / "1.yaml", text))
        assert served(running.url) == (200, 401, 200)
        until(lambda: master.client.keys("models-proxy:list:*") != [])
        watching.stop()
        try:
            late = stack.enter_context(serving(tmp_path / "2.yaml", text))
            assert served(late.url) == (200, 401, 200)
            late.line(late.err, "store.valkey is not available: ")
            master.kill()
            running.line(running.err, "store.valkey is not available: ")
            assert [served(running.url), served(late.url)] == [(200, 401, 200)] * 2
            master.start()
        finally:
            watching.resume()
        for process in (running, late):
            process.line(process.err, "store.valkey is available again")


def served(url: str) -> tuple[int, int, int]:
    """The status of a list, of one with a wrong key, and of a call."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=30) as client:
        listed = client.get("/v1/models")
        wrong = client.get("/v1/models", headers={"Authorization": "Bearer sk-wrong"})
        called = client.post("/v1/chat/completions", json={"model": "m", "messages": []})
    assert [model["id"] for model in listed.json()["data"]] == ["m"]
    return listed.status_code, wrong.status_code, called.status_code


async def lists_and_answers(exchange: Exchange) -> None:
    await exchange.reply(b'{"object": "list", "data": [{"id": "m", "object": "model"}]}')


def sentinel(stack: ExitStack, folder: Path, master: int, quorum: int = 2) -> ValkeyServer:
    """A sentinel, which writes its state to its configuration file. `quorum`: how many decide that a master is down."""
    folder.mkdir()
    port = free_port()
    (folder / "sentinel.conf").write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor main 127.0.0.1 {master} {quorum}\n"
        "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n"
    )
    return stack.enter_context(ValkeyServer(port=port, command="redis-sentinel", file=folder / "sentinel.conf"))


def wait_for_replica(sentinel: ValkeyServer) -> None:
    ends_at = time.monotonic() + RECOVERED_WITHIN
    while True:
        state = sentinel.client.execute_command("SENTINEL", "MASTER", "main")
        fields = dict(zip(state[::2], state[1::2], strict=False)) if isinstance(state, list) else state
        found = {str(key.decode() if isinstance(key, bytes) else key): fields[key] for key in fields}
        if int(found["num-slaves"]) >= 1 and int(found["num-other-sentinels"]) >= 2:
            return
        assert time.monotonic() < ends_at, found
        time.sleep(0.2)
