"""Detect leaked descriptors and tasks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """The descriptors and tasks of this process."""

    descriptors: frozenset[str] = frozenset()
    tasks: frozenset[asyncio.Task[object]] = frozenset()

    @classmethod
    def now(cls) -> Held:
        # Includes the descriptor of the directory while it is listed, which has the same number each time.
        # anyio runs every fixture and every test in its own task.
        tasks = (task for task in asyncio.all_tasks() if "TestRunner." not in repr(task.get_coro()))
        return cls(frozenset(os.listdir("/dev/fd")), frozenset(tasks))

    async def left(self) -> Held:
        """The descriptors and tasks that were added since, after waiting for those that are closing."""
        for _ in range(1000):
            now = Held.now()
            left = Held(now.descriptors - self.descriptors, now.tasks - self.tasks)
            if left == Held():
                break
            await asyncio.sleep(0.005)
        return left
