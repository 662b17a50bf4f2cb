"""The part of a configuration's limits that one of several worker processes uses."""

from __future__ import annotations

from dataclasses import replace

from proxy.config.provider_settings import Provider
from proxy.config.settings import Config


def part_of(config: Config, number: int, workers: int) -> Config:
    """The configuration of one worker. The parts of all workers together are the limits. `number`: from 0.

    Divided are what all clients together can use: `connections` and `body_memory`, and the `max_in_flight` and the
    `size` of the `queue` of each provider.
    """
    if workers == 1:
        return config
    limits = config.server.limits
    part = replace(
        config,
        server=config.server.model_copy(
            update={
                "limits": limits.model_copy(
                    update={
                        "connections": _share(limits.connections, number, workers),
                        "body_memory": _share(limits.body_memory, number, workers),
                    }
                )
            }
        ),
        providers=tuple(_provider(provider, number, workers) for provider in config.providers),
    )
    vars(part)["generation"] = config.generation  # a cached property: that of the files
    return part


def _provider(provider: Provider, number: int, workers: int) -> Provider:
    size = _share(provider.queue.size, number, workers)
    return provider.model_copy(
        update={
            "max_in_flight": _share(provider.max_in_flight, number, workers),
            "queue": provider.queue.model_copy(update={"size": size}),
        }
    )


def _share(total: int, number: int, workers: int) -> int:
    return total // workers + (number < total % workers)
