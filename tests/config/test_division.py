"""The parts of the limits that workers have."""

from __future__ import annotations

import pytest

from proxy.config import Config, ConfigError, parse
from proxy.config.division import part_of

TEXT = """
server: {workers: 3, limits: {connections: 100, body_memory: 256MiB}}
providers:
  - {name: lab, base_url: "http://127.0.0.1:1", max_in_flight: 10, queue: {size: 2}}
"""


def limits(config: Config) -> tuple[int, int, int, int]:
    (provider,) = config.providers
    limits = config.server.limits
    return limits.connections, limits.body_memory, provider.max_in_flight, provider.queue.size


def test_the_parts_of_all_workers_are_the_limits() -> None:
    config = parse(TEXT)
    parts = [limits(part_of(config, number, 3)) for number in range(3)]
    assert parts == [(34, 89478486, 4, 1), (33, 89478485, 3, 1), (33, 89478485, 3, 0)]
    assert tuple(map(sum, zip(*parts, strict=True))) == limits(config)


def test_a_part_has_the_generation_of_the_configuration() -> None:
    config = parse(TEXT)
    assert part_of(config, 1, 3).generation == config.generation


def test_one_worker_has_all() -> None:
    config = parse(TEXT)
    assert part_of(config, 0, 1) is config


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            TEXT.replace("max_in_flight: 10", "max_in_flight: 2"),
            "config.yaml:4: providers[0].max_in_flight: must be at least `server.workers` (3), between which it is "
            "divided; raise it, or lower `workers`",
        ),
        (
            TEXT.replace("connections: 100", "connections: 2"),
            "config.yaml:2: server.limits.connections: must be at least `server.workers` (3), between which it is "
            "divided; raise it, or lower `workers`",
        ),
        (
            TEXT.replace("256MiB", "128MiB"),
            "config.yaml:2: server.limits.body_memory: must be at least twice `server.max_request` for each of the "
            "`server.workers`; raise it, or lower `server.max_request`",
        ),
    ],
)
def test_a_limit_that_leaves_a_worker_nothing_is_a_problem(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert [str(each) for each in error.value.problems] == [problem]
