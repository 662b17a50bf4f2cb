"""The command `serve` with frequent heartbeats of its workers: for tests, in a process of its own.

python -m tests.server.workers.hanging CONFIG SECONDS
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from proxy.cli.serve import ConfigFile, bound
from proxy.cli.serve_workers import SharedFiles, start_workers
from proxy.cli.startup import StartupReport
from proxy.server.config_process import load_first
from proxy.server.log import LogOptions


def main(path: Path, heartbeat: float) -> None:
    config = load_first(path)
    with bound("127.0.0.1", 0) as listeners:
        refuse = ConfigFile(path, "127.0.0.1", listeners).refuse
        files = SharedFiles(path, "127.0.0.1", 0, listeners, refuse)
        report_to = partial(StartupReport, config, str(path))
        start_workers(config, report_to, listeners, LogOptions("console"), files, heartbeat)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
