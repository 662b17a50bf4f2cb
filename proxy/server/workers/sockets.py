"""The listening sockets of all workers. The supervisor keeps them open, so that no waiting connection is reset.

On a TCP address each worker has sockets of its own (SO_REUSEPORT), between which the kernel divides new connections
evenly. A Unix socket, and sockets that another process has created, are shared: whichever worker is idle accepts.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from proxy.server.listeners import Listeners

Group = tuple[socket.socket, ...]
"""One socket for each address."""


class Sockets:
    """The sockets of one address of the server."""

    def __init__(self, listeners: Listeners) -> None:
        """`listeners`: of TCP addresses, they are replaced. It was checked with them that no other process listens
        there, which a socket with SO_REUSEPORT does not notice."""
        self._is_shared = listeners.handed_down or not listeners.ports
        self._addresses = [(each.family, each.getsockname()) for each in listeners.sockets]
        self._groups: list[Group] = [tuple(listeners.sockets)]
        if not self._is_shared:
            for each in listeners.sockets:
                each.close()
            self._groups = [self._bind()]

    def of_workers(self, workers: int) -> Sequence[Group]:
        """The sockets of each worker. Raises OSError.

        With fewer workers than before some get those of others: if one was closed, connections that wait there would be
        reset.
        """
        if self._is_shared:
            return self._groups * workers
        while len(self._groups) < workers:
            self._groups.append(self._bind())
        return [tuple(each for group in self._groups[number::workers] for each in group) for number in range(workers)]

    @property
    def all(self) -> Sequence[socket.socket]:
        return [each for group in self._groups for each in group]

    def close(self) -> None:
        for each in self.all:
            each.close()

    def _bind(self) -> Group:
        return tuple(
            socket.create_server(address, family=family, reuse_port=True) for family, address in self._addresses
        )
