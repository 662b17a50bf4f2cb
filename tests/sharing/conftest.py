"""A Valkey server for the tests of one module, empty for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.valkey_servers import ValkeyServer


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def server(shared_server: ValkeyServer) -> ValkeyServer:
    shared_server.client.flushall()
    return shared_server
