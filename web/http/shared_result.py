"""Share the result of one costly check among callers that request it at about the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedResult(Generic[T]):
    """The result of a coroutine function; lives in one event loop."""

    def __init__(self, produce: Callable[[], Awaitable[T]]) -> None:
        self._produce = produce
        self._task: asyncio.Task[T] | None = None
        self._ended = 0.0

    async def get(self, max_age: float) -> T:
        """Return the last result if it is at most `max_age` seconds old, else a new one.

        Callers that arrive while a new one is computed wait for it.
        """
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._ended > max_age):
            task = self._task = asyncio.create_task(self._run())
        # Shielded: a caller that disconnects must not cancel the result that the others wait for.
        return await asyncio.shield(task)

    async def _run(self) -> T:
        try:
            return await self._produce()
        finally:
            self._ended = time.monotonic()
