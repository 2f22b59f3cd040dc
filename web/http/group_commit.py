"""Group commit: requests that arrive together share a transaction.

While one batch is on its way to the database, the next one gathers behind it; nobody waits for a batch to fill up.
One thread writes. The event loop hands it rows through a bounded queue and gets every batch's results in one call.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from models.core.errors import Problem, Unavailable

logger = logging.getLogger(__name__)

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Waiting(Generic[Row, Result]):
    row: Row
    done: "asyncio.Future[Result]"


@dataclass(frozen=True, slots=True)
class _Settled(Generic[Row, Result]):
    """What became of one row: a result, or an error."""

    waiting: _Waiting[Row, Result]
    result: Result | None = None
    error: Exception | None = None

    def deliver(self) -> None:
        done = self.waiting.done
        if done.done():
            return  # whoever asked has gone; what was written stays written
        if self.error is not None:
            done.set_exception(self.error)
        else:
            done.set_result(self.result)  # type: ignore[arg-type]


class GroupCommit(Generic[Row, Result]):
    """Writes rows in batches, one batch at a time.

    Args:
        write: writes a batch and returns a result for each row, in order, once they are committed. A `Problem`
            that it raises is every row's answer. At any other error the rows are written one by one, so that it
            is the answer of those alone that cause it.
        size: rows that a batch may have.
        queue: rows that may wait in front of it.
        patience: seconds that a row's result is waited for.
        committed: called in the writer's thread after each batch, when its results are on their way. Must not raise.
        closed: called in the writer's thread when it ends.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        size: int,
        queue: int,
        patience: float,
        committed: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._write = write
        self._size = size
        self._capacity = size + queue
        self._patience = patience
        self._committed = committed
        self._closed = closed
        self._rows: SimpleQueue[_Waiting[Row, Result] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._admitted = 0
        self._is_closing = False

    async def submit(self, row: Row) -> Result:
        """Have `row` written, and wait for its result. In one event loop only.

        Whoever stops waiting doesn't take the row back: it is written all the same.

        Raises:
            Unavailable: too many rows wait already, the writer is being closed, or it took too long.
        """
        if self._is_closing or self._admitted >= self._capacity:
            raise Unavailable("Too many requests are waiting.")
        waiting: _Waiting[Row, Result] = _Waiting(row, asyncio.get_running_loop().create_future())
        self._admitted += 1
        self._rows.put(waiting)
        if self._thread is None:
            # At the first row and not before: gunicorn forks, and threads don't survive a fork.
            self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
            self._thread.start()
        try:
            async with asyncio.timeout(self._patience):
                return await waiting.done
        except TimeoutError:
            raise Unavailable("It took too long.") from None

    def close(self, timeout: float = 10.0) -> bool:
        """Admit nothing more, write what was admitted, end; False if `timeout` seconds were too few."""
        self._is_closing = True
        if self._thread is None:
            return True
        self._rows.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def open(self) -> None:
        """Admit rows again after `close`."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        self._is_closing = False

    def _work(self) -> None:
        try:
            while batch := self._next_batch():
                self._hand_back(self._settle(batch))
                self._committed()
        finally:
            self._closed()

    def _next_batch(self) -> list[_Waiting[Row, Result]]:
        """What waits, after waiting for a first row; empty at the end."""
        first = self._rows.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < self._size:
            try:
                waiting = self._rows.get_nowait()
            except Empty:
                break
            if waiting is None:
                self._rows.put(None)  # this batch first
                break
            batch.append(waiting)
        return batch

    def _settle(self, batch: list[_Waiting[Row, Result]]) -> list[_Settled[Row, Result]]:
        try:
            results = self._write([waiting.row for waiting in batch])
            return [_Settled(waiting, result) for waiting, result in zip(batch, results, strict=True)]
        except Problem as problem:
            return [_Settled(waiting, error=problem) for waiting in batch]
        except Exception as error:
            logger.exception("%s: a batch of %d failed", self.name, len(batch))
            if len(batch) == 1:
                return [_Settled(batch[0], error=error)]
        return [settled for waiting in batch for settled in self._settle([waiting])]

    def _hand_back(self, settled: list[_Settled[Row, Result]]) -> None:
        loop = settled[0].waiting.done.get_loop()
        try:
            loop.call_soon_threadsafe(self._deliver, settled)
        except RuntimeError:
            # The loop was closed while we wrote: nobody waits any more.
            self._admitted -= len(settled)

    def _deliver(self, settled: list[_Settled[Row, Result]]) -> None:
        self._admitted -= len(settled)
        for one in settled:
            one.deliver()
