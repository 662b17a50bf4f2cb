"""What a process must not hold any more after an exchange: descriptors and tasks."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """What a process holds that an exchange could leave behind."""

    descriptors: frozenset[str] = frozenset()
    tasks: frozenset[asyncio.Task[object]] = frozenset()

    @classmethod
    def now(cls) -> Held:
        # The directory itself is open while it is listed; its number is the next free one each time.
        # anyio runs every fixture and every test in a task of its own.
        tasks = (task for task in asyncio.all_tasks() if "TestRunner." not in repr(task.get_coro()))
        return cls(frozenset(os.listdir("/dev/fd")), frozenset(tasks))

    async def left(self) -> Held:
        """What is held beside this, once what is closing has closed."""
        for _ in range(1000):
            now = Held.now()
            left = Held(now.descriptors - self.descriptors, now.tasks - self.tasks)
            if left == Held():
                break
            await asyncio.sleep(0.005)
        return left
