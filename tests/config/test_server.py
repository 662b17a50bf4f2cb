"""The section `server`."""

from __future__ import annotations

from proxy.config.server import Server
from tests.config.outcomes import rejections


def test_port_is_0_to_65535() -> None:
    assert [Server.model_validate({"port": port}).port for port in (0, "8000", 65_535)] == [0, 8000, 65_535]
    assert rejections(Server, port=65_536) == ["must be a whole number from 0 to 65535"]
