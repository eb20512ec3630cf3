# SPDX-License-Identifier: Apache-2.0
"""A pipeline seen from coroutines: what would wait for room waits in a thread instead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Mapping,
)
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

__all__ = ["AsyncSide"]

Inputs = Mapping[str, Any]
Outputs = dict[str, Any]


class AsyncSide:
    """Coroutines over a function that submits; items enter in the order in which they were given."""

    def __init__(self, submit: Callable[[Inputs], Future[Outputs]]) -> None:
        self._submit = submit
        # One thread: several would overtake each other.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="submitter")

    async def run(self, inputs: Inputs) -> Outputs:
        """Send one item through.  Cancelling it only drops its outputs."""
        return await asyncio.wrap_future(await self._enter(inputs))

    async def _enter(self, inputs: Inputs) -> Future[Outputs]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._submit, inputs)

    async def map(
        self, items: Iterable[Inputs] | AsyncIterable[Inputs], window: int
    ) -> AsyncGenerator[Outputs, None]:
        """Send items through and yield outputs in order, at most `window` items ahead."""
        fed: asyncio.Queue[Future[Outputs] | None] = asyncio.Queue(window)

        async def feed() -> None:
            try:
                async for item in _each(items):
                    await fed.put(await self._enter(item))
            finally:
                # After a fault, too; only a full queue would let it wait, and then someone reads.
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    await fed.put(None)

        feeder = asyncio.create_task(feed())
        try:
            while (future := await fed.get()) is not None:
                yield await asyncio.wrap_future(future)
            await feeder
        finally:
            feeder.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await feeder

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def _each(items: Iterable[Inputs] | AsyncIterable[Inputs]) -> AsyncIterator[Inputs]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
        return
    iterator = iter(items)

    def following() -> list[Inputs]:
        return list(islice(iterator, 1))

    loop = asyncio.get_running_loop()
    while found := await loop.run_in_executor(None, following):
        yield found[0]
