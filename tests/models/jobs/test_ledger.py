"""Enqueueing within a transaction, and looking jobs up."""

import re
import threading
from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection

from models.core import context
from models.core.database import db, execute, new_id, now, rows, transaction, value
from models.core.errors import Forbidden, Problem
from models.jobs import groups, wakeup
from models.jobs.ledger import _GET, enqueue, has_live, is_live
from models.jobs.ledger import get as get_job

pytestmark = pytest.mark.usefixtures("db_clean")

SYSTEM = context.for_system_job()
PAST_THE_RULES = """
    CALL app.enqueue(%s, 'test.one', '[]', '0', 1, null, null, null, null, %s, null, null, null, null, null, false, 1,
        null)
"""


@pytest.fixture
def ledger(superuser: connection) -> "list[UUID]":
    """Return a list that compares as the ids in the ledger."""

    class Ledger(list[UUID]):
        def __eq__(self, expected: object) -> bool:
            with superuser.cursor() as cursor:
                cursor.execute("select id from app.jobs order by id")
                return [id for (id,) in cursor.fetchall()] == expected

    return Ledger()


def test_transaction_without_other_statements_enqueues(ledger: list[UUID]) -> None:
    with transaction(SYSTEM):
        job = enqueue("test.one")

    assert ledger == [job.id]


def test_has_live_finds_jobs_of_the_named_actors_only() -> None:
    with transaction(SYSTEM):
        enqueue("test.one")

        assert has_live("test.other", "test.one")
        assert not has_live("test.other")


def test_job_is_live_until_it_ends_whatever_other_jobs_exist(ledger: list[UUID]) -> None:
    with transaction(context.for_system_job()):
        made = [enqueue("t.x", number).id for number in range(2)]
        assert [is_live(one) for one in (*made, new_id())] == [True, True, False]


def test_rolled_back_transaction_enqueues_nothing(ledger: list[UUID]) -> None:
    for statements in (0, 1):
        with suppress(KeyError), transaction(SYSTEM):
            enqueue("test.one")
            for _ in range(statements):
                value("SELECT 1")
            raise KeyError

    assert ledger == []


def test_later_statements_see_the_enqueued_job() -> None:
    with transaction(SYSTEM):
        job = enqueue("test.one", "100 %", "%s")

        assert (
            value("SELECT args ->> 0 FROM app.job_status JOIN app.jobs USING (id) WHERE id = %s", (job.id,)) == "100 %"
        )
        assert value("SELECT count(*) FROM app.jobs WHERE id = %(id)s", {"id": job.id}) == 1


def test_rolled_back_savepoint_drops_its_jobs_only(ledger: list[UUID]) -> None:
    with transaction(SYSTEM):
        value("SELECT 1")
        before = enqueue("test.one").id
        with suppress(KeyError), db.atomic():
            enqueue("test.one")
            raise KeyError
        with db.atomic():
            within = enqueue("test.one").id

    assert ledger == [before, within]


def test_job_for_another_brand_is_refused_at_once(ledger: list[UUID]) -> None:
    brand = context.for_brand_job(new_id())

    with transaction(brand), pytest.raises(Forbidden):
        enqueue("test.one", brand_id=new_id())
    with transaction(brand), pytest.raises(Problem) as refused:
        execute(PAST_THE_RULES, (new_id(), new_id()))

    assert refused.value.status == 403
    assert ledger == []


def test_job_that_names_an_unknown_person_is_refused(ledger: list[UUID]) -> None:
    brand, stranger = context.for_brand_job(new_id()), new_id()

    for ask in (
        lambda: enqueue("test.one", user_id=stranger),
        lambda: groups.batch([groups.Call("test.one", user_id=stranger)]),
        lambda: groups.chain([groups.Call("test.one")], then=groups.Call("test.one", user_id=stranger)),
    ):
        with pytest.raises(Problem) as refused, transaction(brand):
            ask()
        assert (refused.value.status, refused.value.detail) == (
            403,
            "A job may name only a member, contact or participant of the brand.",
        )

    assert ledger == []


def test_job_of_a_fan_for_others_is_refused(ledger: list[UUID]) -> None:
    fan = context.for_fan_job(new_id())

    with transaction(fan):
        with pytest.raises(Forbidden):
            enqueue("test.one", user_id=new_id())
        with pytest.raises(Forbidden):
            enqueue("test.one", brand_id=new_id())
        own = enqueue("test.one")

    assert ledger == [own.id]


class Stuck:
    """A notifier whose broker answers when the test allows it."""

    def __init__(self) -> None:
        self.answer, self.called, self.calls = threading.Event(), threading.Semaphore(0), 0

    def notify(self) -> bool:
        self.calls += 1
        self.called.release()
        return self.answer.wait(10)


def test_notify_does_not_wait_and_merges_notifications() -> None:
    stuck = Stuck()
    background = wakeup._BackgroundNotifier(stuck)

    background.notify()
    assert stuck.called.acquire(timeout=60)
    for _ in range(100):
        background.notify()
    stuck.answer.set()

    assert stuck.called.acquire(timeout=60)
    assert stuck.calls == 2


@pytest.mark.parametrize("is_over", [False, True])
@pytest.mark.parametrize(
    "job_id", [uuid4(), new_id(), UUID(int=2**128 - 1), UUID(f"{2**48 - 1:012x}-7000-8000-{0:012x}")]
)
def test_get_finds_live_and_ended_jobs_by_any_id(superuser: connection, job_id: UUID, is_over: bool) -> None:
    with transaction(SYSTEM):
        execute(PAST_THE_RULES, (job_id, None))
    if is_over:
        with superuser.cursor() as cursor:
            cursor.execute("select app.close_job(id, fence, 'cancelled') from app.jobs")

    with transaction(SYSTEM):
        assert get_job(job_id).state == ("cancelled" if is_over else "waiting")


def test_get_plans_only_possible_partitions() -> None:
    with transaction(SYSTEM):
        # The planner prefers a sequential scan of a partition that holds one row, whatever its indexes are.
        execute("SET LOCAL enable_seqscan = off")
        parameters = (new_id(), now() - timedelta(days=1), now() + timedelta(days=1))
        plan = "\n".join(row["QUERY PLAN"] for row in rows(f"EXPLAIN {_GET}", parameters))

    days = set(re.findall(r"job_history_(\d{8})", plan))
    assert 1 <= len(days) <= 3
    assert "Seq Scan on job_history" not in plan
