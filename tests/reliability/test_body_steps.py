"""Any request body is read in short steps and with little memory."""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Generator
from contextlib import suppress
from types import FrameType

import pytest

from benchmarks.bodies import SHAPES, Shape, parts_of
from proxy.calls import CALLS
from proxy.cooperative import Cooperative, run_now
from proxy.errors import BadRequest
from proxy.inference.request.body import Body, joined_in_steps
from proxy.inference.request.parsing import parse_body
from proxy.inference.turns import Turns
from tests.untraced import untraced

SIZES = {"short": 100 * 1024, "long": 600 * 1024}
"""Bytes of bodies for both ways of reading."""
MAX_EVENTS = 400_000
"""Calls and returns of functions in one step: about 15 ms."""
MAX_MEMORY = 12 * 1024**2
"""Bytes that reading takes besides the body."""
shapes = pytest.mark.parametrize("shape", [shape for shape in SHAPES.values() if not shape.coding],
                                 ids=[name for name, shape in SHAPES.items() if not shape.coding])  # fmt: skip


def shortened(shape: Shape, size: int) -> bytes:
    times = size // len(shape.repeated)
    return b"".join(parts_of(shape._replace(times=min(times, shape.times or times))))


def read(body: bytes, shape: Shape) -> Cooperative[Body]:
    return parse_body(body, {b"content-type": shape.content_type}, CALLS["/v1/responses"], "", "")


def steps_of(work: Generator[None, None, object]) -> list[int]:
    """Run a computation; return the number of function calls and returns in each of its steps."""
    steps = [0]

    def count(frame: FrameType, event: str, arg: object) -> None:
        steps[-1] += 1

    with untraced(), suppress(BadRequest):
        sys.setprofile(count)
        try:
            for _ in work:
                steps.append(0)
        finally:
            sys.setprofile(None)
    return steps


@shapes
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_each_step_is_short(shape: Shape, size: int) -> None:
    assert max(steps_of(read(shortened(shape, size), shape))) < MAX_EVENTS


@pytest.mark.parametrize("name", ["text", "text of escapes", "base64 image", "form with a file"])
def test_what_follows_reading_is_done_in_steps_too(name: str) -> None:
    """A function that searches or copies all bytes in C calls no others, so steps are counted."""
    shape, size = SHAPES[name], 1_500_000
    body = run_now(read(shortened(shape, size), shape))
    copy = joined_in_steps(body.parts_with_ids({body.model: "another"}))
    steps = [sum(1 for _ in work) for work in (copy, body.search("an-id"))]
    assert min(steps) >= size // (256 * 1024)


@pytest.mark.parametrize("name", ["deep tools around a text", "messages with files", "tools with models", "numbers"])
def test_reading_takes_little_memory_besides_the_body(name: str) -> None:
    body = shortened(SHAPES[name], 3 * 1024**2)
    with untraced(), suppress(BadRequest):
        tracemalloc.start()
        try:
            for _ in read(body, SHAPES[name]):
                pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()

    assert peak < MAX_MEMORY


@pytest.mark.anyio
async def test_many_bodies_are_read_in_turns_one_step_in_each_iteration_of_the_loop() -> None:
    order: list[str] = []

    def work(name: str) -> Cooperative[str]:
        for _ in range(3):
            order.append(name)
            yield
        return name

    async def iterations() -> None:
        while True:
            await asyncio.sleep(0)
            order.append(" ")

    turns = Turns()
    watching = asyncio.create_task(iterations())
    results = await asyncio.gather(*(turns.run(work(name)) for name in "abc"))
    watching.cancel()

    assert results == ["a", "b", "c"]
    assert "".join(order).split() == ["abc", "a", "b", "c", "a", "b", "c"]
