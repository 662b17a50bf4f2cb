"""Fixtures for all tests, and a hook that blocks network access beyond the loopback interface."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import FakeClock, FakeFetch
from tests.steady_loop import SteadyLoop


def _block_network(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook that fails every DNS lookup and connection that is not to the loopback interface."""
    if event == "socket.getaddrinfo" and not _is_loopback(str(args[0])):
        raise socket.gaierror(socket.EAI_NONAME, "tests must not use DNS")
    if event == "socket.connect" and isinstance(args[1], tuple) and not _is_loopback(str(args[1][0])):
        raise AssertionError(f"a test tried to connect to {args[1]}")


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1", "None", "") or host.startswith("127.")


sys.addaudithook(_block_network)

# On a busy machine examples can be slow, so there is no deadline.
# In CI the examples are the same in every run, so that a change fails for its own faults only.
settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files that start processes first. Each of their tests takes long; at the end, all workers should be busy."""
    starts_processes = {path: _starts_processes(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: not starts_processes[item.path])


def _starts_processes(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return any(name in text for name in ("tests.processes", "import processes", "subprocess"))


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": SteadyLoop}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fetch() -> FakeFetch:
    return FakeFetch()


@pytest.fixture
def own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what only our own HTTP protocol does: servers, also in other processes, use it in any case."""
    monkeypatch.delenv("MODELS_PROXY_PLAIN_HTTP", raising=False)
