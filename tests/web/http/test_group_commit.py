"""Rows that arrive together are written together, and whoever asked gets an answer."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import Queue

import pytest

from models.core.errors import Conflict, Unavailable
from web.http.group_commit import GroupCommit

PATIENCE = 60.0


class Table:
    """Where rows are written to: notes the batches, and holds a batch up while its gate is closed."""

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


def committing(
    table: Table, *, max_batch: int = 4, max_queued: int = 8, timeout: float = PATIENCE, **hooks
) -> GroupCommit[int, int]:
    return GroupCommit("test", table.write, max_batch=max_batch, max_queued=max_queued, timeout=timeout, **hooks)


async def begun(table: Table) -> int:
    """Wait until a batch has reached the table."""
    return await asyncio.to_thread(table.begun.get, True, PATIENCE)


async def gathering(group: GroupCommit[int, int], table: Table, rows: Sequence[int]) -> list[asyncio.Task[int]]:
    """The first row on its way into a closed gate, the others waiting behind it."""
    table.gate.clear()
    tasks = [asyncio.create_task(group.submit(rows[0]))]
    await begun(table)
    tasks += [asyncio.create_task(group.submit(row)) for row in rows[1:]]
    await asyncio.sleep(0)
    return tasks


def test_a_lone_row_does_not_wait_for_others():
    table = Table()

    assert asyncio.run(committing(table).submit(1)) == -1
    assert table.batches == [[1]]


def test_what_arrives_while_a_batch_is_written_is_the_next_batch():
    table = Table()

    async def scenario():
        tasks = await gathering(committing(table), table, [1, 2, 3, 4])
        table.gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(scenario()) == [-1, -2, -3, -4]
    assert table.batches == [[1], [2, 3, 4]]


def test_a_batch_has_its_size_at_most():
    table = Table()

    async def scenario():
        tasks = await gathering(committing(table, max_batch=2), table, [1, 2, 3, 4, 5])
        table.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(scenario())
    assert table.batches == [[1], [2, 3], [4, 5]]


def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room():
    table = Table()

    async def scenario():
        group = committing(table, max_batch=2, max_queued=2)
        tasks = await gathering(group, table, [1, 2, 3, 4])
        with pytest.raises(Unavailable) as refused:
            await group.submit(5)
        table.gate.set()
        await asyncio.gather(*tasks)
        return refused.value, await group.submit(6)

    refusal, later = asyncio.run(scenario())
    assert refusal.headers == {"Retry-After": "1"}
    assert later == -6
    assert 5 not in [row for batch in table.batches for row in batch]


def test_an_error_is_the_answer_of_the_row_that_causes_it_alone():
    table = Table(fails=lambda rows: ValueError("three") if 3 in rows else None)

    async def scenario():
        tasks = await gathering(committing(table), table, [1, 2, 3, 4])
        table.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    one, two, three, four = asyncio.run(scenario())
    assert (one, two, four) == (-1, -2, -4)
    assert isinstance(three, ValueError)
    assert table.batches == [[1], [2], [4]]


def test_a_refusal_of_the_batch_is_everybody_s_answer_and_the_next_batch_is_written():
    gone = [True]
    table = Table(fails=lambda rows: Conflict("not now") if gone[0] else None)

    async def scenario():
        group = committing(table)
        tasks = await gathering(group, table, [1, 2, 3])
        table.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        gone[0] = False
        return answers, await group.submit(4)

    answers, later = asyncio.run(scenario())
    assert [type(answer) for answer in answers] == [Conflict] * 3
    assert later == -4


def test_whoever_goes_away_neither_takes_the_row_back_nor_stops_the_writer():
    table = Table()

    async def scenario():
        group = committing(table)
        tasks = await gathering(group, table, [1, 2, 3])
        for task in tasks[:2]:
            task.cancel()
        table.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True), await group.submit(4)

    answers, later = asyncio.run(scenario())
    assert [type(answer) for answer in answers[:2]] == [asyncio.CancelledError] * 2
    assert (answers[2], later) == (-3, -4)
    assert table.batches == [[1], [2, 3], [4]]


def test_whoever_has_waited_long_enough_is_told_to_ask_again():
    table = Table()

    async def scenario():
        group = committing(table, timeout=0.05)
        table.gate.clear()
        with pytest.raises(Unavailable, match="too long"):
            await group.submit(1)
        table.gate.set()
        return await asyncio.to_thread(group.close)

    assert asyncio.run(scenario()) is True
    assert table.batches == [[1]]


def test_closing_writes_what_was_admitted_and_admits_nothing_more():
    table, closed = Table(), []

    async def scenario():
        group = committing(table, max_batch=2, on_close=lambda: closed.append(threading.current_thread().name))
        tasks = await gathering(group, table, [1, 2, 3, 4, 5])
        assert group.close(timeout=0) is False
        with pytest.raises(Unavailable):
            await group.submit(6)
        table.gate.set()
        return await asyncio.gather(*tasks), await asyncio.to_thread(group.close)

    answers, in_time = asyncio.run(scenario())
    assert answers == [-1, -2, -3, -4, -5]
    assert in_time is True
    assert table.batches == [[1], [2, 3], [4, 5]]
    assert closed == ["test"]


def test_it_may_be_opened_again():
    table = Table()

    async def scenario():
        group = committing(table)
        await group.submit(1)
        await asyncio.to_thread(group.close)
        group.open()
        return await group.submit(2)

    assert asyncio.run(scenario()) == -2


def test_nothing_is_left_running_when_nothing_was_written():
    assert committing(Table()).close() is True


def test_the_bell_rings_once_for_a_batch_and_after_its_answers_are_on_their_way():
    table, rung = Table(), []

    async def scenario():
        group = committing(table, on_commit=lambda: rung.append(len(table.batches)))
        tasks = await gathering(group, table, [1, 2, 3])
        table.gate.set()
        await asyncio.gather(*tasks)
        await asyncio.to_thread(group.close)

    asyncio.run(scenario())
    assert rung == [1, 2]


def test_a_loop_that_is_gone_does_not_stop_the_writer():
    table = Table()
    group = committing(table)

    async def leave():
        table.gate.clear()
        task = asyncio.create_task(group.submit(1))
        await begun(table)
        task.cancel()

    asyncio.run(leave())
    table.gate.set()

    assert asyncio.run(group.submit(2)) == -2
    assert table.batches == [[1], [2]]
