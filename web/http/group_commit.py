"""Group commit: requests that arrive together share a transaction.

While the database writes one batch, the next batch collects; no batch waits until it is full. One thread writes. The
event loop passes rows to it through a bounded queue, and gets the results of a batch in one call.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from models.core.errors import Problem, Unavailable
from web.http.request_metrics import Load

logger = logging.getLogger(__name__)

Row = TypeVar("Row")
Result = TypeVar("Result")


@dataclass(slots=True)
class _Pending(Generic[Row, Result]):
    row: Row
    future: "asyncio.Future[Result]"


@dataclass(frozen=True, slots=True)
class _Done(Generic[Row, Result]):
    """A written row: its result or its error."""

    pending: _Pending[Row, Result]
    result: Result | None = None
    error: Exception | None = None

    def deliver(self) -> None:
        future = self.pending.future
        if future.done():
            return  # The caller has stopped waiting. The row stays written.
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(self.result)  # type: ignore[arg-type]


class GroupCommit(Generic[Row, Result]):
    """Write rows in batches, one batch at a time.

    Args:
        name: name of the thread, and in logs.
        write: writes a batch and returns one result for each row, in order, after the commit. If it raises a
            `Problem`, every row of the batch fails with it. After any other error the rows are written one by one,
            so that only the rows that cause it fail.
        max_batch: most rows of a batch.
        max_queued: most rows that wait for a batch.
        timeout: seconds to wait for a row's result.
        on_commit: called in the writer's thread after each batch. Must not raise.
        on_close: called in the writer's thread when it ends.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        max_batch: int,
        max_queued: int,
        timeout: float,
        on_commit: Callable[[], None] = lambda: None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self._write = write
        self._max_batch = max_batch
        self._capacity = max_batch + max_queued
        self._timeout = timeout
        self._on_commit = on_commit
        self._on_close = on_close
        self._queue: SimpleQueue[_Pending[Row, Result] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._admitted = 0
        self._is_closing = False

    @property
    def load(self) -> Load:
        """Return the admitted rows: the present batch, and those that wait for the next one."""
        running = min(self._admitted, self._max_batch)
        return Load(self.name, running, self._admitted - running, self._capacity)

    async def submit(self, row: Row) -> Result:
        """Write `row` and return its result. Call it in one event loop only.

        The row is written even if the caller stops waiting.

        Raises:
            Unavailable: the queue is full, the writer is closing, or `timeout` has passed.
        """
        if self._is_closing or self._admitted >= self._capacity:
            raise Unavailable("Too many requests are waiting.")
        pending: _Pending[Row, Result] = _Pending(row, asyncio.get_running_loop().create_future())
        self._admitted += 1
        self._queue.put(pending)
        if self._thread is None:
            # Start at the first row, not earlier: gunicorn forks, and a thread doesn't survive a fork.
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        try:
            async with asyncio.timeout(self._timeout):
                return await pending.future
        except TimeoutError:
            raise Unavailable("The request took too long.") from None

    def close(self, timeout: float = 10.0) -> bool:
        """Admit no more rows, write the admitted ones, end the thread. Return False after `timeout` seconds."""
        self._is_closing = True
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def open(self) -> None:
        """Admit rows again after `close`."""
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        self._is_closing = False

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._return_results(self._write_batch(batch))
                self._on_commit()
        finally:
            self._on_close()

    def _next_batch(self) -> list[_Pending[Row, Result]]:
        """Wait for a row and return it with the other queued rows. An empty list ends the thread."""
        first = self._queue.get()
        if first is None:
            return []
        batch = [first]
        while len(batch) < self._max_batch:
            try:
                pending = self._queue.get_nowait()
            except Empty:
                break
            if pending is None:
                self._queue.put(None)  # End after this batch.
                break
            batch.append(pending)
        return batch

    def _write_batch(self, batch: list[_Pending[Row, Result]]) -> list[_Done[Row, Result]]:
        try:
            results = self._write([pending.row for pending in batch])
            return [_Done(pending, result) for pending, result in zip(batch, results, strict=True)]
        except Problem as problem:
            return [_Done(pending, error=problem) for pending in batch]
        except Exception as error:
            logger.exception("%s: a batch of %d rows failed", self.name, len(batch))
            if len(batch) == 1:
                return [_Done(batch[0], error=error)]
        return [done for pending in batch for done in self._write_batch([pending])]

    def _return_results(self, batch: list[_Done[Row, Result]]) -> None:
        loop = batch[0].pending.future.get_loop()
        try:
            loop.call_soon_threadsafe(self._deliver, batch)
        except RuntimeError:
            # The loop was closed during the write: no caller waits any more.
            self._admitted -= len(batch)

    def _deliver(self, batch: list[_Done[Row, Result]]) -> None:
        self._admitted -= len(batch)
        for done in batch:
            done.deliver()
