"""Test group commit: rows that arrive together are written in one batch, and every caller gets a result."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Queue

import pytest

from models.core.errors import Conflict, Unavailable
from web.http.group_commit import GroupCommit

PATIENCE = 60.0


class Table:
    """Record the written batches. A closed gate blocks the write of a batch."""

    def __init__(self, fails: Callable[[Sequence[int]], Exception | None] = lambda rows: None) -> None:
        self.batches: list[list[int]] = []
        self.begun: Queue[int] = Queue()
        self.gate = threading.Event()
        self.gate.set()
        self._fails = fails

    def write(self, rows: Sequence[int]) -> list[int]:
        self.begun.put(len(rows))
        assert self.gate.wait(PATIENCE)
        if error := self._fails(rows):
            raise error
        self.batches.append(list(rows))
        return [-row for row in rows]


def group_commit(
    table: Table, *, max_batch: int = 4, max_queued: int = 8, timeout: float = PATIENCE, **hooks
) -> GroupCommit[int, int]:
    return GroupCommit("test", table.write, max_batch=max_batch, max_queued=max_queued, timeout=timeout, **hooks)


async def wait_for_write(table: Table) -> int:
    """Wait until a batch has reached the table."""
    return await asyncio.to_thread(table.begun.get, True, PATIENCE)


async def submit_behind_gate(
    group: GroupCommit[int, int], table: Table, rows: Sequence[int]
) -> list[asyncio.Task[int]]:
    """Submit rows: the first is blocked in a closed gate, the others wait for the next batch."""
    table.gate.clear()
    tasks = [asyncio.create_task(group.submit(rows[0]))]
    await wait_for_write(table)
    tasks += [asyncio.create_task(group.submit(row)) for row in rows[1:]]
    await asyncio.sleep(0)
    return tasks


def test_single_row_does_not_wait_for_others():
    table = Table()

    assert asyncio.run(group_commit(table).submit(1)) == -1
    assert table.batches == [[1]]


def test_rows_added_during_a_write_are_the_next_batch():
    table = Table()

    async def scenario():
        tasks = await submit_behind_gate(group_commit(table), table, [1, 2, 3, 4])
        table.gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(scenario()) == [-1, -2, -3, -4]
    assert table.batches == [[1], [2, 3, 4]]


def test_batch_has_at_most_its_size():
    table = Table()

    async def scenario():
        tasks = await submit_behind_gate(group_commit(table, max_batch=2), table, [1, 2, 3, 4, 5])
        table.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert table.batches == [[1], [2, 3], [4, 5]]


def test_full_queue_refuses_rows_until_there_is_room():
    table = Table()

    async def scenario():
        group = group_commit(table, max_batch=2, max_queued=2)
        tasks = await submit_behind_gate(group, table, [1, 2, 3, 4])
        with pytest.raises(Unavailable) as refused:
            await group.submit(5)
        table.gate.set()
        await asyncio.gather(*tasks)
        return refused.value, await group.submit(6)

    refusal, later = asyncio.run(scenario())
    assert refusal.headers == {"Retry-After": "1"}
    assert later == -6
    assert 5 not in [row for batch in table.batches for row in batch]


def test_error_is_the_result_of_the_row_that_causes_it():
    table = Table(fails=lambda rows: ValueError("three") if 3 in rows else None)

    async def scenario():
        tasks = await submit_behind_gate(group_commit(table), table, [1, 2, 3, 4])
        table.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    one, two, three, four = asyncio.run(scenario())
    assert (one, two, four) == (-1, -2, -4)
    assert isinstance(three, ValueError)
    assert table.batches == [[1], [2], [4]]


def test_problem_is_the_result_of_every_row_of_the_batch():
    gone = [True]
    table = Table(fails=lambda rows: Conflict("not now") if gone[0] else None)

    async def scenario():
        group = group_commit(table)
        tasks = await submit_behind_gate(group, table, [1, 2, 3])
        table.gate.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        gone[0] = False
        return results, await group.submit(4)

    results, later = asyncio.run(scenario())
    assert [type(answer) for answer in results] == [Conflict] * 3
    assert later == -4


def test_row_of_cancelled_caller_is_written():
    table = Table()

    async def scenario():
        group = group_commit(table)
        tasks = await submit_behind_gate(group, table, [1, 2, 3])
        for task in tasks[:2]:
            task.cancel()
        table.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True), await group.submit(4)

    results, later = asyncio.run(scenario())
    assert [type(answer) for answer in results[:2]] == [asyncio.CancelledError] * 2
    assert (results[2], later) == (-3, -4)
    assert table.batches == [[1], [2, 3], [4]]


def test_caller_gets_unavailable_after_the_timeout():
    table = Table()

    async def scenario():
        group = group_commit(table, timeout=0.05)
        table.gate.clear()
        with pytest.raises(Unavailable, match="too long"):
            await group.submit(1)
        table.gate.set()
        return await asyncio.to_thread(group.close)

    assert asyncio.run(scenario()) is True
    assert table.batches == [[1]]


def test_close_writes_admitted_rows_and_admits_no_more():
    table, closed = Table(), []

    async def scenario():
        group = group_commit(table, max_batch=2, on_close=lambda: closed.append(threading.current_thread().name))
        tasks = await submit_behind_gate(group, table, [1, 2, 3, 4, 5])
        assert group.close(timeout=0) is False
        with pytest.raises(Unavailable):
            await group.submit(6)
        table.gate.set()
        return await asyncio.gather(*tasks), await asyncio.to_thread(group.close)

    results, in_time = asyncio.run(scenario())
    assert results == [-1, -2, -3, -4, -5]
    assert in_time is True
    assert table.batches == [[1], [2, 3], [4, 5]]
    assert closed == ["test"]


def test_closed_writer_can_be_opened_again():
    table = Table()

    async def scenario():
        group = group_commit(table)
        await group.submit(1)
        await asyncio.to_thread(group.close)
        group.open()
        return await group.submit(2)

    assert asyncio.run(scenario()) == -2


def test_close_without_rows_returns_immediately():
    assert group_commit(Table()).close() is True


def test_on_commit_is_called_once_after_each_batch():
    table, commits = Table(), []

    async def scenario():
        group = group_commit(table, on_commit=lambda: commits.append(len(table.batches)))
        tasks = await submit_behind_gate(group, table, [1, 2, 3])
        table.gate.set()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(group.close)

    asyncio.run(scenario())
    assert commits == [1, 2]


def test_closed_event_loop_does_not_stop_the_writer():
    table = Table()
    group = group_commit(table)

    async def leave():
        table.gate.clear()
        task = asyncio.create_task(group.submit(1))
        await wait_for_write(table)
        task.cancel()

    asyncio.run(leave())
    table.gate.set()

    assert asyncio.run(group.submit(2)) == -2
    assert table.batches == [[1], [2]]
