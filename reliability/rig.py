"""The attacked process, its providers, and what is measured of them."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from benchmarks.harness import LOAD_CORE, ROOT, SERVER_CORE, free_port, mebibytes, pin, process, python, wait_for
from reliability.attacks import Target
from reliability.canaries import ATTACKER_KEY, CONTROL_KEY, PROVIDER_KEY, found_in
from reliability.control import Result
from reliability.providers import CALLS, LISTS

DESCRIPTORS = 1024
_WARM_UP = 5.0
_RECOVERED = 20.0
"""Milliseconds of a list's p99."""


def config(port: int) -> str:
    """A configuration with a provider for each behavior."""
    lists = [f"  - {{name: list-{kind}, base_url: 'http://127.0.0.1:{port}/{kind}/1/good'}}" for kind in LISTS]
    calls = [
        f"  - {{name: {kind}, base_url: 'http://127.0.0.1:{port}/good/0/{kind}', prefix: {kind}/, "
        f"api_key: '${{PROVIDER_KEY}}', max_in_flight: 100}}"
        for kind in CALLS
    ]
    keys = [
        f"  - {{name: {name}, hash: 'sha256:{sha256(key.encode()).hexdigest()}', models: ['*']}}"
        for name, key in (("control", CONTROL_KEY), ("mallory", ATTACKER_KEY))
    ]
    return "\n".join(["cache: {ttl: 10s}", "keys:", *keys, "providers:", *calls, *lists, ""])


class Rig:
    """A running proxy."""

    def __init__(self, port: int, pid: int, log: Log) -> None:
        self.target = Target(port, pid)
        self.log = log

    @property
    def memory(self) -> float:
        """Resident memory in MiB."""
        return mebibytes(self.target.pid, "VmRSS")

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.target.pid}/fd"))

    async def recover(self) -> None:
        """Wait until the work of the last attack is done: until lists are fast again, for at most 10 s."""
        for _ in range(20):
            if (await self.measure(0.3)).list_p99 < _RECOVERED:
                return
            await asyncio.sleep(0.2)

    async def measure(self, seconds: float) -> Result:
        """What the control client experiences."""
        measuring = await asyncio.create_subprocess_exec(
            *python("-m", "reliability.control", str(self.target.port), str(seconds)),
            stdout=asyncio.subprocess.PIPE,
            cwd=ROOT,
        )
        out, _ = await measuring.communicate()
        return msgspec.json.decode(out, type=Result)


class Log:
    """Reads what the process prints, and counts the secrets in it."""

    def __init__(self, descriptor: int) -> None:
        self.canaries = 0
        self.is_read = threading.Event()
        self.is_read.set()
        self._descriptor = descriptor
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        last = b""
        while data := os.read(self._descriptor, 64 * 1024):
            self.is_read.wait()
            self.canaries += found_in(last + data)
            last = data[-64:]


@contextmanager
def _providers() -> Iterator[int]:
    port = free_port()
    with process(python("-m", "reliability.providers", str(port)), LOAD_CORE) as running:
        wait_for(port, running)
        yield port


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Rig]:
    """A proxy with few descriptors, whose log is read."""
    pin(LOAD_CORE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    with _providers() as port:
        path = folder / "config.yaml"
        path.write_text(config(port))
        own = free_port()
        readable, writable = os.pipe()

        def limited() -> None:
            pin(SERVER_CORE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

        command = (sys.executable, "-m", "proxy", "serve", "--config", str(path), "--port", str(own))
        started = await asyncio.create_subprocess_exec(
            *command,
            stdout=writable,
            stderr=writable,
            cwd=ROOT,
            env={**os.environ, "PROVIDER_KEY": PROVIDER_KEY},
            preexec_fn=limited,
        )
        os.close(writable)
        try:
            log = Log(readable)
            await _listens(own)
            await asyncio.sleep(_WARM_UP)
            yield Rig(own, started.pid, log)
        finally:
            log.is_read.set()
            with suppress(ProcessLookupError):
                started.terminate()
            try:
                await asyncio.wait_for(started.wait(), 30)
            except TimeoutError:
                started.kill()


async def _listens(port: int) -> None:
    for _ in range(400):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise SystemExit("the proxy is not listening after 20 s")
