"""Which workers there are, and which replace others: decisions without I/O."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from proxy.server.workers.messages import Settings
from proxy.server.workers.processes import Place, Worker
from proxy.server.workers.sockets import Sockets


class Fleet:
    """The places of workers, and the workers that are replaced by those of other places."""

    def __init__(self, settings: Settings, sockets: Sockets) -> None:
        self.settings = settings
        """Those in use."""
        self.sockets = sockets
        self.places: list[Place] = []
        self.old: list[Worker] = []
        """Workers that are replaced, one after the other, by those of `places`."""
        self.old_sockets: list[Sockets] = []
        self._open_places()

    @property
    def workers(self) -> list[Worker]:
        """All that have not ended."""
        return [*self.old, *(place.worker for place in self.places if place.worker)]

    def others(self, worker: Worker) -> list[Worker]:
        return [other for other in self.workers if other is not worker]

    def leader(self) -> Worker | None:
        """The worker that has served for the longest time."""
        candidates = [worker for worker in self.workers if not worker.is_stopping]
        return min(candidates, key=lambda worker: (not worker.is_ready, worker.started_at), default=None)

    def empty_places(self) -> list[Place]:
        """Those for which a worker is to be started, when it is time."""
        return [place for place in self.places if place.is_open and not place.worker]

    def configure(self, configured: Settings) -> None:
        """Use the settings of another configuration that need no other processes."""
        self.settings = replace(self.settings, stop_seconds=configured.stop_seconds)

    def ended(self, worker: Worker) -> bool:
        """Remove a worker. Returns whether it is to be replaced."""
        if worker not in self.old:
            return True
        self.old.remove(worker)
        if not self.old:
            for sockets in self.old_sockets:
                sockets.close()
            self.old_sockets.clear()
        return False

    def replace_all(self, settings: Settings, sockets: Sockets | None) -> None:
        """Replace all workers. `sockets`: None for the current ones. Raises OSError if further ones are needed."""
        groups = (sockets or self.sockets).of_workers(settings.workers)
        if sockets:
            self.old_sockets.append(self.sockets)
            self.sockets = sockets
        self.settings = settings
        self.old = [place.worker for place in self.places if place.worker]
        self.places = [Place(number, group, is_open=number == 1) for number, group in enumerate(groups, 1)]

    def next_step(self) -> Sequence[Worker]:
        """Open the next place when the workers before it are ready. Returns the workers to retire now."""
        if self.old and any(place.is_open and not _is_ready(place) for place in self.places):
            return ()
        closed = [place for place in self.places if not place.is_open]
        for place in closed[:1] if self.old else closed:
            place.is_open = True
        serving = [worker for worker in self.old if not worker.is_stopping]
        return serving[:1] if closed else serving

    def close_sockets_but(self, place: Place) -> None:
        """In the process of a worker: free the descriptors of the others."""
        kept = set(place.sockets)
        for sockets in (self.sockets, *self.old_sockets):
            for each in sockets.all:
                if each not in kept:
                    each.close()

    def _open_places(self) -> None:
        groups = self.sockets.of_workers(self.settings.workers)
        self.places = [Place(number, group) for number, group in enumerate(groups, 1)]


def _is_ready(place: Place) -> bool:
    return place.worker is not None and place.worker.is_ready
