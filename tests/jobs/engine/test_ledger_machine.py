"""Compare the ledger with a model: after any sequence of operations, both have the same state.

Hypothesis chooses the sequence: enqueue, publish, claim, end, release, reclaim, loss at the broker, and crashes of
workers. Ledgers that are broken on purpose show that the machine detects faults.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg2.extensions import connection

from jobs.engine.ledger import Claim, Ledger
from models.jobs.ledger import ENDED_STATES as OVER

ACTOR = "machine.job"
MAX_CRASHES = 3
EXAMPLES = 20
"""Number of examples. It is enough to detect each broken ledger."""

TRANSITIONS = {
    "new": {"waiting"},
    "waiting": {"published", "cancelled"},
    "published": {"waiting", "running", "cancelled"},
    "running": {"waiting", "done", "dead", "cancelled"},
    "done": set(),
    "dead": set(),
    "cancelled": set(),
}
"""The transitions that the migration documents."""


class LedgerWithFinish(Ledger):
    """A ledger with `finish` as a method. The engine sends it together with COMMIT."""

    def finish(self, claim: Claim) -> None:
        """End a job."""
        self._rows("CALL app.finish(%s, %s); SELECT", (claim.id, claim.fence))


class FinishIgnoresTheFence(LedgerWithFinish):
    """Broken: an old claim can end the job."""

    def finish(self, claim: Claim) -> None:
        """End a job under the newest fence."""
        superuser = LedgerMachine.superuser
        with superuser.cursor() as cursor:
            cursor.execute("select fence from app.jobs where id = %s and state = 'running'", (claim.id,))
            for (fence,) in cursor.fetchall():
                cursor.execute("call app.finish(%s, %s)", (claim.id, fence))


class EndsIgnoreTheState(LedgerWithFinish):
    """Broken: a released claim can end its job until the next claim changes the fence."""

    def retry(self, claim: Claim, delay: float, error: dict[str, Any]) -> None:
        """Retry a waiting or published job as if it were running."""
        with LedgerMachine.superuser.cursor() as cursor:
            cursor.execute("update app.jobs set due_at = now() where id = %s and fence = %s", (claim.id, claim.fence))
            if cursor.rowcount == 0:
                super().retry(claim, delay, error)
            cursor.execute(
                "update app.jobs set state = 'waiting', worker_id = null, published_at = null where id = %s",
                (claim.id,),
            )


class ClaimIncludesRunningJobs(LedgerWithFinish):
    """Broken: a running job can be claimed again."""

    def claim(self, ids: Sequence[UUID], worker_id: int, *, alone: bool = True) -> list[Claim]:
        """Claim jobs, running or not."""
        with LedgerMachine.superuser.cursor() as cursor:
            cursor.execute(
                "update app.jobs set state = 'published', worker_id = null where state = 'running' and id = any (%s)",
                (list(ids),),
            )
        return super().claim(ids, worker_id, alone=alone)


@dataclass
class Job:
    """The model of a job."""

    key: str | None
    state: str = "new"
    attempts: int = 0
    crashes: int = 0
    fence: int = 0
    worker: int | None = None
    is_unwanted: bool = False

    def go(self, state: str) -> None:
        """Change the state by a documented transition."""
        assert state in TRANSITIONS[self.state], f"{self.state} → {state}"
        self.state = state
        self.worker = self.worker if state == "running" else None


class LedgerMachine(RuleBasedStateMachine):
    """The operations on the ledger and the model, and their invariants."""

    superuser: connection
    kind: type[LedgerWithFinish] = LedgerWithFinish

    def __init__(self) -> None:
        super().__init__()
        self.ask(
            "delete from app.jobs",
            "delete from app.job_keys",
            "delete from app.job_history",
            "delete from app.dead_jobs",
        )
        self.ledger = self.kind()
        self.jobs: dict[UUID, Job] = {}
        self.claims: list[Claim] = []
        self.finished: list[UUID] = []
        self.workers: list[int] = []
        self.dead_workers: list[int] = []
        self.born = 0

    def teardown(self) -> None:
        self.ask("select pg_advisory_unlock_all()")
        self.ledger.close()

    def ask(self, *statements: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.superuser.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def having(self, *states: str) -> list[UUID]:
        return [id for id, job in self.jobs.items() if job.state in states]

    def is_newest(self, claim: Claim) -> bool:
        job = self.jobs[claim.id]
        return job.state == "running" and job.fence == claim.fence

    def ends(self, claim: Claim, end: Callable[[], object], state: str) -> None:
        """End a claim. Expect success under the newest fence and a refusal under any other."""
        was_newest, refused = self.is_newest(claim), ""
        try:
            end()
        except psycopg2.Error as error:
            refused = error.pgcode or "lost"
        assert refused == ("" if was_newest else "PT409"), "only the newest claim can end a job"
        if was_newest:
            self.jobs[claim.id].go(state)

    @initialize(jobs=st.integers(1, 3))
    def claim_first_jobs(self, jobs: int) -> None:
        """Begin with running jobs: random operations seldom claim one within few examples."""
        self.add_worker()
        for _ in range(jobs):
            self.add_job(None)
        self.publish(jobs)
        self.claim_jobs(sorted(self.jobs), self.workers[0], alone=False)

    @rule(key=st.sampled_from([None, None, "a", "b"]))
    def enqueue(self, key: str | None) -> None:
        self.add_job(key)

    def add_job(self, key: str | None) -> None:
        held = [id for id, job in self.jobs.items() if key and job.key == key and job.state not in OVER]
        new_id = UUID(int=len(self.jobs) + 1)
        ((id,),) = self.ask("select app.add_job(%s, %s, '[]', p_unique_key => %s)", params=(new_id, ACTOR, key))
        created = id == new_id
        assert created == (not held)
        assert created or [id] == held
        if created:
            self.jobs[id] = Job(key)
            self.jobs[id].go("waiting")

    @rule()
    def start_worker(self) -> None:
        if len(self.workers) < 3:
            self.add_worker()

    def add_worker(self) -> None:
        self.born += 1
        self.workers.append(self.born)
        self.ask("select pg_advisory_lock(app.liveness_class(), %s)", params=(self.born,))

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def crash_worker(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        self.workers.remove(worker)
        self.dead_workers.append(worker)
        self.ask("select pg_advisory_unlock(app.liveness_class(), %s)", params=(worker,))

    @precondition(lambda self: self.having("waiting"))
    @rule(room=st.integers(1, 4))
    def publish_due(self, room: int) -> None:
        self.publish(room)

    def publish(self, room: int) -> None:
        # Make all jobs due, ordered by id: if the clock chose the jobs, examples would not be repeatable.
        self.ask(
            "update app.jobs set due_at = now() - interval '1 hour'"
            " + interval '1 ms' * ('x' || right(id::text, 4))::bit(16)::int where state = 'waiting'"
        )
        taken = [id for id, _ in self.ledger.publish_due([ACTOR], room).jobs]
        assert len(set(taken)) == len(taken) == min(room, len(self.having("waiting")))
        for id in taken:
            self.jobs[id].go("published")

    @precondition(lambda self: self.workers and self.jobs)
    @rule(data=st.data())
    def claim(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        wanted = data.draw(st.lists(st.sampled_from(sorted(self.jobs)), min_size=1, max_size=3, unique=True))
        self.claim_jobs(wanted, worker, alone=data.draw(st.booleans()))

    def claim_jobs(self, wanted: list[UUID], worker: int, *, alone: bool) -> None:
        may = [id for id in self.having("published") if id in wanted]
        expected = [id for id in may if (alone and len(wanted) == 1) or not self.jobs[id].crashes]
        assert set(self.ledger.quarantined(wanted)) == {id for id in may if self.jobs[id].crashes}
        claims = self.ledger.claim(wanted, worker, alone=alone)
        assert sorted(claim.id for claim in claims) == sorted(expected), "only published jobs can be claimed"
        for claim in claims:
            job = self.jobs[claim.id]
            job.go("running")
            job.worker, job.fence, job.attempts = worker, job.fence + 1, job.attempts + 1
            assert (claim.fence, claim.attempts, claim.crashes) == (job.fence, job.attempts, job.crashes)
            assert claim.is_cancelled == job.is_unwanted
        # Sort by id: the order of the database differs between runs.
        self.claims += sorted(claims, key=lambda claim: claim.id)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.ends(claim, lambda: self.ledger.finish(claim), "done")

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.ends(claim, lambda: self.ledger.retry(claim, 5.0, {"kind": "x"}), "waiting")

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def dead_letter(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        self.ends(claim, lambda: self.ledger.dead_letter(claim, {"kind": "x"}), "dead")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[id]
        if job.state in OVER:
            with pytest.raises(psycopg2.Error, match="job_is_over"):
                self.ask("select app.cancel_job(%s)", params=(id,))
            return
        said = "running" if job.state == "running" else "cancelled"
        assert self.ask("select app.cancel_job(%s)", params=(id,)) == [(said,)]
        if said == "running":
            job.is_unwanted = True
        else:
            job.go("cancelled")

    @precondition(lambda self: any(self.jobs[claim.id].is_unwanted for claim in self.claims))
    @rule(data=st.data())
    def give_in(self, data: st.DataObject) -> None:
        """End a cancelled job, which may have been released or reclaimed meanwhile."""
        claim = data.draw(st.sampled_from([claim for claim in self.claims if self.jobs[claim.id].is_unwanted]))
        job, refused = self.jobs[claim.id], ""
        is_mine = job.state not in OVER and job.fence == claim.fence
        try:
            self.ledger.finish_cancelled(claim)
        except psycopg2.Error as error:
            refused = error.pgcode or "lost"
        assert refused == ("" if is_mine else "PT409")
        if is_mine:
            job.go("cancelled")

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def look_up(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        state = self.jobs[claim.id].state
        expected = state if state in OVER else "running" if self.is_newest(claim) else "lost"
        assert self.ledger.outcome(claim) == expected

    @precondition(lambda self: self.workers and self.jobs)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        ids = data.draw(st.lists(st.sampled_from(sorted(self.jobs)), min_size=1, max_size=3, unique=True))
        self.ledger.release(ids, worker)
        for job in (self.jobs[id] for id in ids):
            if job.state == "running" and job.worker == worker:
                job.go("waiting")
                job.attempts -= 1

    @rule()
    def sweep(self) -> None:
        self.ask("update app.jobs set claimed_at = now() - interval '1 minute' where state = 'running'")
        lost = [id for id in self.having("running") if self.jobs[id].worker in self.dead_workers]
        assert set(self.ledger.missing_workers()) == {self.jobs[id].worker for id in lost}
        self.assert_reclaimed(lost, self.ledger.sweep_missing(0, MAX_CRASHES))

    @precondition(lambda self: self.having("running"))
    @rule(data=st.data())
    def sweep_overdue(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.having("running"))))
        self.ask("update app.jobs set claimed_at = now() where state = 'running'")
        self.ask("update app.jobs set claimed_at = now() - interval '1 hour' where id = %s", params=(id,))
        self.assert_reclaimed([id], self.ledger.sweep_overdue({ACTOR: 60.0}, MAX_CRASHES))

    def assert_reclaimed(self, ids: list[UUID], swept: list[tuple[UUID, str]]) -> None:
        for id in ids:
            job = self.jobs[id]
            job.crashes += 1
            job.attempts -= 0 if job.crashes == MAX_CRASHES else 1
            job.go("dead" if job.crashes == MAX_CRASHES else "waiting")
        assert dict(swept) == {id: self.jobs[id].state for id in ids}

    @rule(data=st.data())
    def broker_forgets(self, data: st.DataObject) -> None:
        published = sorted(self.having("published"))
        present = data.draw(st.lists(st.sampled_from(published), unique=True)) if published else []
        assert self.ledger.sweep_unclaimed(-1, present) == len(published) - len(present)
        for id in set(published) - set(present):
            self.jobs[id].go("waiting")

    @invariant()
    def ledger_equals_model(self) -> None:
        rows = self.ask("select id, state, attempts, crashes from app.job_status")
        assert len(rows) == len({row[0] for row in rows}), "a job is in two states"
        assert {row[0]: row[1:] for row in rows} == {
            id: (job.state, job.attempts, job.crashes) for id, job in self.jobs.items()
        }
        held = self.ask("select id, fence, worker_id from app.jobs")
        assert {row[0]: row[1:] for row in held} == {
            id: (job.fence, job.worker) for id, job in self.jobs.items() if job.state not in OVER
        }

    @invariant()
    def key_has_one_live_job(self) -> None:
        live = [job.key for job in self.jobs.values() if job.key and job.state not in OVER]
        assert len(live) == len(set(live))
        assert {key for (key,) in self.ask("select key from app.job_keys")} == set(live)


def run_machine(kind: type[LedgerWithFinish], superuser: connection, examples: int, *phases: Phase) -> None:
    LedgerMachine.superuser = superuser
    machine = type("Machine", (LedgerMachine,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_ledger_agrees_with_its_model_in_any_order(db_clean: str, superuser: connection) -> None:
    run_machine(LedgerWithFinish, superuser, EXAMPLES, Phase.generate, Phase.shrink)


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (FinishIgnoresTheFence, "only the newest claim can end a job"),
        (EndsIgnoreTheState, "only the newest claim can end a job"),
        (ClaimIncludesRunningJobs, "only published jobs can be claimed"),
    ],
)
def test_broken_ledger_is_detected(
    db_clean: str, superuser: connection, broken: type[LedgerWithFinish], found: str
) -> None:
    with pytest.raises(AssertionError, match=found):
        run_machine(broken, superuser, EXAMPLES, Phase.generate)
