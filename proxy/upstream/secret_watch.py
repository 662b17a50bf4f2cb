"""Load the secrets in files again when the files change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from proxy.clock import Clock
from proxy.config import Provider
from proxy.config.secret_files import SecretFile

POLL_SECONDS = 1.0
"""Seconds between two checks of the files. A changed file is loaded when it was the same at two checks."""


async def watch_secrets(providers: Iterable[Provider], clock: Clock) -> None:
    """Poll the files of these providers until canceled. Returns at once if they have none.

    No library that is notified of changes: replaced symbolic links, bind mounts and network file systems lose events.
    """
    files = [file for provider in providers for file in provider.secret_files]
    while files:
        await clock.sleep(POLL_SECONDS)
        await asyncio.to_thread(_poll, files)  # a network file system can block


def _poll(files: Iterable[SecretFile]) -> None:
    for file in files:
        file.poll()
