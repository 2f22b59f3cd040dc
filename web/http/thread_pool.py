"""Bounded thread pool for synchronous responders.

The event loop passes a function to a thread and awaits its result. A call that the queue can't hold is refused
immediately: if it waited for seconds, the next requests would wait, too.
"""

import asyncio
import threading
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from models.core.errors import Unavailable
from web.http.request_metrics import Load

WAIT_SECONDS = 10.0
"""Seconds that a call may wait for a thread. Then it is refused, even if every thread is blocked."""


class Overloaded(Unavailable):
    """Every thread is busy and the queue in front of them is full."""

    code = "overloaded"


def _storable_exception(error: BaseException) -> Exception:
    """Return an exception that a future accepts. Futures refuse StopIteration; SystemExit would end the event loop."""
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
    """Acquired once: by the thread that begins the call, or by the event loop when the wait is over."""


class ThreadPool:
    """Runs calls in `threads` threads, with at most `queue` calls waiting.

    Unlike `concurrent.futures`, the queue is bounded, each call runs in a copy of the caller's context, and a call is
    dropped if its caller disconnects before it begins.
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
        """Return the number of running and waiting calls."""
        return self._admitted

    @property
    def load(self) -> Load:
        """Return the running and waiting calls."""
        running = min(self._admitted, self.size)
        return Load(self.name, running, self._admitted - running, self.capacity)

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function(*args)` in a thread and return its result. Belongs to one event loop.

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
        timer = loop.call_later(WAIT_SECONDS, self._refuse_waiting, task)
        try:
            return await done
        finally:
            timer.cancel()

    def open(self) -> None:
        """Accept calls. A new pool is open; a closed one is reopened."""
        self._closed = False

    def close(self, timeout: float = 10.0) -> bool:
        """Refuse new calls, finish admitted ones and end the threads. Return False on timeout (seconds)."""
        self._closed = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout)
        left, self._threads = self._threads, []
        return not any(thread.is_alive() for thread in left)

    def _start(self) -> None:
        # Started by the first call: gunicorn forks before, and threads don't survive a fork.
        for number in range(self.size):
            thread = threading.Thread(target=self._work, name=f"{self.name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        try:
            while (task := self._tasks.get()) is not None:
                self._perform(task)
                del task  # an idle thread must not keep the last request in memory
        finally:
            if self._on_exit is not None:
                self._on_exit()

    def _refuse_waiting(self, task: _Task) -> None:
        """Refuse a call that no thread has begun. It stays in the queue until a thread drops it."""
        if task.claim.acquire(blocking=False) and not task.done.done():
            task.done.set_exception(Overloaded(retry_after=1))

    def _perform(self, task: _Task) -> None:
        result: Any = None
        error: BaseException | None = None
        if not task.done.cancelled() and task.claim.acquire(blocking=False):
            try:
                result = task.run()
            except BaseException as raised:  # each error is passed to the waiting request
                error = _storable_exception(raised)
        try:
            task.loop.call_soon_threadsafe(self._deliver, task.done, result, error)
        except RuntimeError:  # the event loop was closed meanwhile: no request waits
            self._admitted -= 1

    def _deliver(self, done: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
        self._admitted -= 1
        if done.done():  # the caller disconnected or was refused
            return
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)


STREAM_WAIT_SECONDS = 30.0
"""Seconds that a streamed answer waits for a thread: after its head is sent, it can't be refused."""


async def run_when_free(pool: ThreadPool, function: Callable[..., Any], *args: Any) -> Any:
    """Call `pool.run`, and repeat it while the pool is full.

    Raises:
        Overloaded: the pool is still full after `STREAM_WAIT_SECONDS`.
    """
    deadline = asyncio.get_running_loop().time() + STREAM_WAIT_SECONDS
    while True:
        try:
            return await pool.run(function, *args)
        except Overloaded:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)
