"""Fixtures for tests that fetch over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.leaks import Held


@pytest.fixture
async def nothing_is_left_behind() -> AsyncIterator[None]:
    held = Held.now()
    yield
    assert await held.left() == Held()
