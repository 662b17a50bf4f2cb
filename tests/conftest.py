"""What every test may use; and the promise that no test reaches beyond this machine."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes import FakeClock, FakeFetch


def _refuse_the_network(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: every look-up and connection that would leave the loopback fails, whoever tries."""
    if event == "socket.getaddrinfo" and not _is_here(str(args[0])):
        raise socket.gaierror(socket.EAI_NONAME, "tests look up no names")
    if event == "socket.connect" and isinstance(args[1], tuple) and not _is_here(str(args[1][0])):
        raise AssertionError(f"a test tried to reach {args[1]}")


def _is_here(host: str) -> bool:
    return host in ("localhost", "::1", "None", "") or host.startswith("127.")


sys.addaudithook(_refuse_the_network)

# On a busy machine an example takes long without being wrong.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fetch() -> FakeFetch:
    return FakeFetch()
