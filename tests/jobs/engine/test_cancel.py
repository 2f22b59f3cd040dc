"""Test cancellation: immediate before the claim, at the next check of the body after it."""

from typing import Any
from uuid import UUID

import pytest

from jobs.engine import actor, current_job, own_transaction
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import execute, new_id, transaction
from models.core.errors import Problem
from models.jobs import control
from models.jobs.ledger import enqueue as enqueue_job
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors")


def enqueue(name: str, **options: Any) -> UUID:
    with transaction(context.for_system_job()):
        return enqueue_job(name, **options).id


def state_of(query: Query, id: UUID) -> str:
    return str(query("select state from app.job_status where id = %s", id)[0][0])


@pytest.mark.parametrize("published", [False, True])
def test_cancel_of_unclaimed_job_ends_it_and_frees_its_key(admin, ledger: Ledger, query, published) -> None:
    id = enqueue("test.one", unique="until_done")
    if published:
        assert take(ledger, "test.one") == [id]

    with admin.acting():
        done = control.cancel(id)

    assert (done.state, state_of(query, id)) == ("cancelled", "cancelled")
    assert ledger.claim([id], 1) == []
    assert enqueue("test.one", unique="until_done") != id


def test_cancelled_body_ends_at_its_check_and_is_rolled_back(admin, ledger, runner: Runner, query) -> None:
    reached = []

    @actor("test.asking", runs_as="system")
    def body() -> None:
        execute("DELETE FROM app.schedule_occurrences")
        with transaction(admin.identity):
            control.cancel(current_job().id)
        reached.append("before")
        current_job().check_cancelled()
        reached.append("after")

    query("insert into app.schedule_occurrences (schedule, due_at, job_id) values ('kept', now(), %s)", new_id())
    id = enqueue("test.asking")

    (claim,) = ledger.claim(take(ledger, "test.asking"), 1)
    ending = runner.run(claim)

    assert (ending, state_of(query, id), reached) == ("cancelled", "cancelled", ["before"])
    assert query("select schedule from app.schedule_occurrences") == [("kept",)]


def test_cancelled_body_ends_at_progress_report(admin, ledger, runner, query) -> None:
    reached = []

    @actor("test.steps", runs_as="system", outward=True)
    def body() -> None:
        for step in range(3):
            reached.append(step)
            try:
                current_job().progress(step, 3)
            except Exception:
                reached.append("caught")
            with own_transaction():
                pass
            with transaction(admin.identity):
                control.cancel(current_job().id)

    id = enqueue("test.steps")

    (claim,) = ledger.claim(take(ledger, "test.steps"), 1)
    ending = runner.run(claim)

    assert (ending, state_of(query, id), reached) == ("cancelled", "cancelled", [0, 1])


def test_cancelled_body_without_checks_finishes(admin, ledger, runner, query) -> None:
    @actor("test.deaf", runs_as="system")
    def body() -> None:
        with transaction(admin.identity):
            assert control.cancel(current_job().id).state == "running"

    id = enqueue("test.deaf")

    (claim,) = ledger.claim(take(ledger, "test.deaf"), 1)

    assert (runner.run(claim), state_of(query, id)) == ("done", "done")


def test_released_cancelled_job_is_not_run_again(admin, ledger, runner, query) -> None:
    @actor("test.never", runs_as="system")
    def body() -> None:
        raise AssertionError("it was cancelled")

    id = enqueue("test.never")
    ledger.claim(take(ledger, "test.never"), 1)
    with admin.acting():
        control.cancel(id)
    ledger.release([id], 1)

    (claim,) = ledger.claim(take(ledger, "test.never"), 1)

    assert (runner.run(claim), state_of(query, id)) == ("cancelled", "cancelled")


def test_cancel_of_ended_job_is_refused(admin, ledger, query) -> None:
    done = enqueue("test.one")
    with admin.acting():
        control.cancel(done)

    with admin.acting(), pytest.raises(Problem) as over:
        control.cancel(done)
    with admin.acting(), pytest.raises(Problem) as unknown:
        control.cancel(new_id())

    assert (over.value.status, over.value.code) == (409, "job_is_over")
    assert unknown.value.status == 404
