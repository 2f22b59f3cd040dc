"""Test the thread pool: bounds, the context of calls, and closing."""

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest

from web.http.thread_pool import Overloaded, ThreadPool, run_when_free

color: ContextVar[str] = ContextVar("color", default="none")


@pytest.fixture
def pool():
    made = ThreadPool("p", threads=2, queue=1)
    yield made
    assert made.close(timeout=60)


def test_result_and_exception_of_a_call_are_returned(pool):
    async def main():
        assert await pool.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)

    asyncio.run(main())
    assert pool.admitted == 0


@pytest.mark.parametrize("error", [StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_unsafe_exception_is_raised_as_runtime_error(pool, error):
    def fail():
        raise error

    async def main():
        with pytest.raises(RuntimeError, match=error.__name__):
            await pool.run(fail)
        assert await pool.run(int, "1") == 1

    asyncio.run(main())


def test_call_runs_in_a_copy_of_the_callers_context(pool):
    def set_color():
        seen = color.get()
        color.set("blue")
        return seen

    async def main():
        color.set("red")
        assert await pool.run(set_color) == "red"
        assert color.get() == "red"

    asyncio.run(main())


def test_full_pool_refuses_new_calls_and_finishes_admitted_ones(pool):
    door = threading.Event()

    async def main():
        running = [asyncio.create_task(pool.run(door.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded) as refusal:
            await pool.run(int)
        door.set()
        return refusal.value, await asyncio.gather(*running)

    refusal, results = asyncio.run(main())
    assert (refusal.status, refusal.code, refusal.headers["Retry-After"]) == (503, "overloaded", "1")
    assert results == [True, True, True]


def test_run_when_free_waits_until_a_full_pool_has_a_free_place(pool):
    door = threading.Event()

    async def main():
        running = [asyncio.create_task(pool.run(door.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting = asyncio.create_task(run_when_free(pool, divmod, 7, 2))
        await asyncio.sleep(0)
        door.set()
        return await asyncio.gather(waiting, *running)

    assert asyncio.run(main()) == [(3, 1), True, True, True]


def test_run_when_free_of_pool_that_stays_full_is_refused(pool, monkeypatch):
    monkeypatch.setattr("web.http.thread_pool.STREAM_WAIT_SECONDS", 0.0)
    door = threading.Event()

    async def main():
        running = [asyncio.create_task(pool.run(door.wait, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await run_when_free(pool, int)
        door.set()
        await asyncio.gather(*running)

    asyncio.run(main())


def test_call_of_cancelled_caller_is_not_begun(pool):
    door, calls = threading.Event(), []

    async def main():
        running = [asyncio.create_task(pool.run(door.wait, 60)) for _ in range(2)]
        waiting = asyncio.create_task(pool.run(calls.append, 1))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        door.set()
        await asyncio.gather(*running)
        await pool.run(int)  # has passed the queue behind it

    asyncio.run(main())
    assert calls == []


def test_cancelled_running_call_frees_its_place_at_its_end(pool):
    started, door = threading.Event(), threading.Event()

    def work():
        started.set()
        door.wait(60)

    async def main():
        running = asyncio.create_task(pool.run(work))
        await asyncio.to_thread(started.wait, 60)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert pool.admitted == 1
        door.set()
        while pool.admitted:
            await asyncio.to_thread(time.sleep, 0.001)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_closed_pool_finishes_admitted_calls_and_refuses_new_ones():
    ended = []
    pool = ThreadPool("p", threads=2, queue=8, on_exit=lambda: ended.append(1))
    done = []

    async def main():
        calls = [asyncio.create_task(pool.run(lambda: done.append(time.sleep(0.01)))) for _ in range(6)]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(pool.close, 60)
        await asyncio.gather(*calls)
        with pytest.raises(Overloaded):
            await pool.run(int)

    asyncio.run(main())
    assert len(done) == 6
    assert ended == [1, 1]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("p-")]


def test_close_returns_false_on_timeout():
    door = threading.Event()
    pool = ThreadPool("p", threads=1, queue=1)

    async def main():
        call = asyncio.create_task(pool.run(door.wait, 60))
        await asyncio.sleep(0)
        assert not await asyncio.to_thread(pool.close, 0.05)
        door.set()
        await call

    asyncio.run(main())


def test_closed_pool_can_be_reopened():
    pool = ThreadPool("p", threads=1, queue=1)
    pool.close()
    pool.open()

    assert asyncio.run(pool.run(int, "7")) == 7
    assert pool.close(60)
