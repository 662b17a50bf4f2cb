from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.providers.scripted import FakeProviders


@pytest.fixture
def upstreams() -> Iterator[FakeProviders]:
    with FakeProviders() as opened:
        yield opened


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "config.yaml"
