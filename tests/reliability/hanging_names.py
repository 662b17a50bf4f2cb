"""Run the command with a name server that never answers for `*.hanging.test`; all other names are this machine."""

from __future__ import annotations

import socket
import threading
from typing import Any

from proxy.cli.main import main

_system = socket.getaddrinfo


def _look_up(host: Any, *arguments: Any, **options: Any) -> Any:
    if str(host).endswith(".hanging.test"):
        threading.Event().wait()
    is_name = str(host).endswith(".test")
    return _system("127.0.0.1" if is_name else host, *arguments, **options)


if __name__ == "__main__":
    socket.getaddrinfo = _look_up
    main()
