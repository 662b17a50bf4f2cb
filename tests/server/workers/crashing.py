"""A supervisor whose workers end at once while a file exists: for tests, in a process of its own.

    python -m tests.server.workers.crashing FILE

Others send their number to each connection.
"""

from __future__ import annotations

import logging
import signal
import socket
import sys
from pathlib import Path

from proxy.clock import SystemClock
from proxy.server.listeners import listeners_of
from proxy.server.systemd import ServiceManager
from proxy.server.workers.channel import ChannelClosed
from proxy.server.workers.messages import Announce, Ready, Settings, Stop
from proxy.server.workers.processes import Start
from proxy.server.workers.sockets import Sockets
from proxy.server.workers.supervisor import Supervisor


def serve(start: Start, file: Path) -> None:
    if start.number == 2 and file.exists():
        raise RuntimeError("crashes at start")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    (listening,) = start.sockets
    listening.settimeout(0.05)
    start.channel.send(Ready("generation"))
    while True:
        try:
            for message in start.channel.receive():
                if isinstance(message, Announce):
                    print("announced", flush=True)
                if isinstance(message, Stop):
                    return
        except ChannelClosed:
            return
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection:
            connection.sendall(b"%d" % start.number)


def main(file: Path) -> None:
    logging.basicConfig(format="%(message)s")
    listening = socket.create_server(("127.0.0.1", 0))
    sockets = Sockets(listeners_of([listening]))
    print(sockets.all[0].getsockname()[1], flush=True)
    settings = Settings("127.0.0.1", 0, 0, 2, 1.0)

    def bind(settings: Settings) -> Sockets:
        raise AssertionError("the address does not change")

    Supervisor(
        settings, sockets, lambda start: serve(start, file), bind, ServiceManager(None), SystemClock.monotonic
    ).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
