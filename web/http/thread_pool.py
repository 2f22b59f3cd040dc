"""The bounded thread pool that synchronous responders run in.

The event loop hands a function over, waits for its result and stays responsive. Admission is bounded: what a
queue can't hold is refused at once, because a request that waits for seconds only makes the next one wait too.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from models.core.errors import Unavailable

WAIT_SECONDS = 10.0
"""Seconds that a call may wait for a thread. Then it is refused, also while every thread is stuck."""


class Overloaded(Unavailable):
    """Every thread is busy and the queue in front of them is full."""

    code = "overloaded"


def _fit_for_a_future(error: BaseException) -> Exception:
    """Futures refuse StopIteration, and SystemExit would end the event loop for one request's sake."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} in a responder")
    wrapped.__cause__ = error
    return wrapped


@dataclass(slots=True)
class _Task:
    run: Callable[[], Any]
    done: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop
    claim: threading.Lock
    """Acquired once: by the thread that begins the call, or by the event loop that gives it up."""


class ThreadPool:
    """`threads` threads with at most `queue` calls waiting for one of them.

    Unlike `concurrent.futures`, it refuses instead of growing its queue, runs each call in a copy of the
    caller's context, and drops calls whose caller has gone before they began.
    """

    def __init__(self, name: str, threads: int, queue: int, *, on_exit: Callable[[], None] | None = None) -> None:
        self.name = name
        self.size = threads
        self.capacity = threads + queue
        self._on_exit = on_exit
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._admitted = 0
        self._closed = False

    @property
    def admitted(self) -> int:
        """How many calls are running or waiting."""
        return self._admitted

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(*args)` in a thread and return what it returns; has to be awaited in one event loop.

        Raises:
            Overloaded: the pool is full, or closed, or no thread became free within `WAIT_SECONDS`.
        """
        if self._closed or self._admitted >= self.capacity:
            raise Overloaded(retry_after=1)
        if not self._threads:
            self._start()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        context = copy_context()
        self._admitted += 1
        task = _Task(lambda: context.run(function, *args), done, loop, threading.Lock())
        self._tasks.put(task)
        giving_up = loop.call_later(WAIT_SECONDS, self._give_up, task)
        try:
            return await done
        finally:
            giving_up.cancel()

    def open(self) -> None:
        """Admit calls; a pool is open from the beginning, and again after this."""
        self._closed = False

    def close(self, timeout: float = 10.0) -> bool:
        """Admit nothing more, finish what was admitted, end the threads; False if `timeout` seconds were too few."""
        self._closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout)
        left, self._threads = self._threads, []
        return not any(thread.is_alive() for thread in left)

    def _start(self) -> None:
        # At the first call and not before: gunicorn forks, and threads don't survive a fork.
        for number in range(self.size):
            thread = threading.Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._perform(task)
                del task  # an idle thread must not keep the last request alive
        finally:
            if self._on_exit is not None:
                self._on_exit()

    def _give_up(self, task: _Task) -> None:
        """Refuse a call that no thread has begun. It keeps its place in the queue until a thread drops it."""
        if task.claim.acquire(blocking=False) and not task.done.done():
            task.done.set_exception(Overloaded(retry_after=1))

    def _perform(self, task: _Task) -> None:
        result: Any = None
        error: BaseException | None = None
        if not task.done.cancelled() and task.claim.acquire(blocking=False):
            try:
                result = task.run()
            except BaseException as raised:  # whatever it was, the waiting request gets to know
                error = _fit_for_a_future(raised)
        try:
            task.loop.call_soon_threadsafe(self._deliver, task.done, result, error)
        except RuntimeError:  # the loop was closed while we worked: nobody waits any more
            self._admitted -= 1

    def _deliver(self, done: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._admitted -= 1
        if done.done():  # its caller has gone, or was refused
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


PATIENCE = 30.0
"""Seconds that an answer which has begun waits for a thread: it can't be refused any more."""


async def run_when_free(pool: ThreadPool, function: Callable[..., Any], *args: Any) -> Any:
    """`pool.run`, again and again while the pool is full.

    Raises:
        Overloaded: it still is after `PATIENCE` seconds.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await pool.run(function, *args)
        except Overloaded:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
