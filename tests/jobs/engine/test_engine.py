"""Test the engine on the real ledger: commits, retries, dead letters, unique keys and sweeps."""

import json
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection

from jobs.engine import RetryLater, actor, current_job, own_transaction
from jobs.engine.ledger import Claim, Ledger
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import FLUSH, close_thread_connections, db, execute, new_id, row, transaction
from models.core.errors import NotFound
from models.jobs.ledger import JobRef
from models.jobs.ledger import enqueue as enqueue_job
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query
from tests.support.blocked import until_blocked

pytestmark = pytest.mark.usefixtures("temporary_actors")


def enqueue(name: str, *args: Any, **options: Any) -> UUID:
    with transaction(context.for_system_job()):
        return enqueue_job(name, *args, **options).id


def claim(ledger: Ledger, *names: str) -> list[Claim]:
    return ledger.claim(take(ledger, *names), 1)


def write_effect() -> None:
    """Write a row in the job's transaction."""
    execute("INSERT INTO app.schedule_occurrences (schedule, due_at, job_id) VALUES ('effect', now(), %s)", (new_id(),))


def effects(query: Query) -> int:
    return int(query("select count(*) from app.schedule_occurrences where schedule = 'effect'")[0][0])


@pytest.fixture(autouse=True)
def writable(db_clean: str, query: Query) -> None:
    query("grant insert on app.schedule_occurrences to app_system")
    query("drop policy if exists test_insert on app.schedule_occurrences")
    query("create policy test_insert on app.schedule_occurrences for insert to app_system with check (true)")


def state_of(query: Query, id: UUID) -> str:
    rows = query("select state from app.job_status where id = %s", id)
    return str(rows[0][0])


def test_job_of_rolled_back_transaction_does_not_exist(query: Query) -> None:
    def roll_back() -> None:
        with transaction(context.for_system_job()):
            enqueue_job("test.effect")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        roll_back()

    assert query("select count(*) from app.jobs") == [(0,)]


def test_writes_of_a_body_commit_with_its_end(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")

    ending = runner.run(claim(ledger, "test.effect")[0])

    assert (ending, state_of(query, id), effects(query)) == ("done", "done", 1)


def test_failed_body_rolls_back_and_waits_for_retry(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.failing", runs_as="system")
    def body() -> None:
        write_effect()
        raise ValueError("not this time")

    id = enqueue("test.failing")

    ending = runner.run(claim(ledger, "test.failing")[0])

    assert (ending, state_of(query, id), effects(query)) == ("retry", "waiting", 0)
    ((error, later),) = query("select error, due_at > now() from app.jobs where id = %s", id)
    assert (error["kind"], error["message"], later) == ("ValueError", "not this time", True)


def test_failed_last_attempt_makes_a_dead_letter(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.hopeless", runs_as="system", max_attempts=1)
    def body() -> None:
        raise ValueError

    id = enqueue("test.hopeless")

    assert runner.run(claim(ledger, "test.hopeless")[0]) == "dead"
    assert state_of(query, id) == "dead"


def test_stored_error_message_has_no_control_characters(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.hostile", runs_as="system", max_attempts=1)
    def body() -> None:
        # A TimeoutError is logged without a traceback: pytest-xdist cannot send a log with a lone surrogate.
        raise TimeoutError("\x1b]0;owned\x07\x00\x9b2J\u202e\ud800\nsecond line")

    enqueue("test.hostile")

    assert runner.run(claim(ledger, "test.hostile")[0]) == "dead"
    ((said,),) = query("select error ->> 'message' from app.dead_jobs")
    assert said == "\\x1b]0;owned\\x07\\x00\\x9b2J\\u202e?\nsecond line"


def test_actor_with_give_up_after_is_retried_until_then(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.patient", runs_as="system", max_attempts=None, give_up_after=timedelta(hours=1), waits=(60.0, 600.0))
    def body() -> None:
        raise ValueError

    def attempt(id: UUID, *, made: str, attempts: int) -> str:
        query(
            "update app.jobs set created_at = now() - %s::interval, attempts = %s, due_at = now() where id = %s",
            made,
            attempts,
            id,
        )
        return runner.run(claim(ledger, "test.patient")[0])

    id = enqueue("test.patient")

    assert attempt(id, made="0 s", attempts=0) == "retry"
    assert 55 < wait_of(query, id) <= 66
    assert attempt(id, made="48 min", attempts=40) == "retry"
    assert 595 < wait_of(query, id) <= 660
    assert attempt(id, made="51 min", attempts=41) == "dead"
    assert state_of(query, id) == "dead"


def wait_of(query: Query, id: UUID) -> float:
    """Return the seconds until a job is due."""
    ((seconds,),) = query("select extract(epoch from due_at - now())::float8 from app.jobs where id = %s", id)
    return float(seconds)


def test_actor_without_retry_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="retried forever"):
        actor("test.endless", max_attempts=None)(write_effect)


def test_problem_below_500_becomes_a_dead_letter(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.refused", runs_as="system")
    def body() -> None:
        raise NotFound("it is gone")

    id = enqueue("test.refused")

    assert runner.run(claim(ledger, "test.refused")[0]) == "dead"
    assert state_of(query, id) == "dead"


def test_retry_later_sets_the_delay(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.later", runs_as="system")
    def body() -> None:
        raise RetryLater(6000)

    id = enqueue("test.later")

    assert runner.run(claim(ledger, "test.later")[0]) == "retry"
    ((seconds,),) = query("select extract(epoch from due_at - now()) from app.jobs where id = %s", id)
    assert 5000 < seconds <= 6000


def test_arguments_of_wrong_type_make_a_dead_letter(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.typed", runs_as="system")
    def body(subject: UUID) -> None:
        write_effect()

    wrong, right = enqueue("test.typed", "no uuid"), enqueue("test.typed", uuid4())

    for held in claim(ledger, "test.typed"):
        runner.run(held)

    assert (state_of(query, wrong), state_of(query, right), effects(query)) == ("dead", "done", 1)


def test_stale_claim_commits_nothing(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")
    (stale,) = claim(ledger, "test.effect")
    ledger.release([id], 1)
    (newest,) = claim(ledger, "test.effect")

    assert runner.run(stale) == "stale"
    assert effects(query) == 0
    assert runner.run(newest) == "done"
    assert effects(query) == 1


def test_released_job_is_charged_no_attempt(ledger: Ledger, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")
    claim(ledger, "test.effect")

    ledger.release([id], 1)

    assert query("select state, attempts from app.jobs where id = %s", id) == [("waiting", 0)]


def test_job_of_unknown_actor_keeps_waiting(ledger: Ledger, runner: Runner, query: Query) -> None:
    id = enqueue("test.of_the_next_release")

    assert runner.run(claim(ledger, "test.of_the_next_release")[0]) == "unknown_actor"
    assert query("select state, attempts from app.jobs where id = %s", id) == [("waiting", 0)]


def test_unique_key_until_done_returns_the_live_job(query: Query) -> None:
    with transaction(context.for_system_job()):
        first = enqueue_job("test.effect", 1, unique="until_done")
        second = enqueue_job("test.effect", 1, unique="until_done")
        other = enqueue_job("test.effect", 2, unique="until_done")

    assert (second.id, second.created) == (first.id, False)
    assert other.created


@pytest.mark.parametrize("commits", [True, False])
def test_unique_key_waits_for_the_transaction_that_holds_it(query: Query, superuser: connection, commits: bool) -> None:
    second: list[JobRef] = []

    def ask() -> JobRef:
        job = enqueue_job("test.effect", unique="until_done")
        row("SELECT 1")  # an enqueued job goes to the server with the next statement
        return job

    def ask_meanwhile() -> None:
        with transaction(context.for_system_job()):
            second.append(enqueue_job("test.effect", unique="until_done"))
        close_thread_connections()

    with transaction(context.for_system_job()):
        first = ask()
        waiting = threading.Thread(target=ask_meanwhile)
        waiting.start()
        until_blocked(superuser)
        if not commits:
            db.rollback()
            db.begin()
    waiting.join()

    assert [(ref.id == first.id, ref.created) for ref in second] == [(commits, not commits)]
    assert query("select id from app.jobs") == [(second[0].id,)]


def test_unique_key_is_free_after_its_job_is_done(ledger: Ledger, runner: Runner) -> None:
    @actor("test.keyed", runs_as="system")
    def body(number: int) -> None:
        assert number == 1

    first = enqueue("test.keyed", 1, unique="until_done")
    runner.run(claim(ledger, "test.keyed")[0])

    with transaction(context.for_system_job()):
        again = enqueue_job("test.keyed", 1, unique="until_done")

    assert again.created
    assert again.id != first


def test_waiting_jobs_with_one_key_are_coalesced(ledger: Ledger, query: Query) -> None:
    for _ in range(5):
        enqueue("test.effect", unique="while_waiting")

    assert len(claim(ledger, "test.effect")) == 1
    assert query("select count(*) from app.jobs") == [(1,)]


def test_default_keys_of_two_brands_differ(ledger: Ledger) -> None:
    for brand_id in (uuid4(), uuid4()):
        enqueue("test.effect", 1, unique="while_waiting", brand_id=brand_id)
        enqueue("test.effect", 2, unique="until_done", brand_id=brand_id)

    assert len(claim(ledger, "test.effect")) == 4


def test_job_enqueued_while_its_key_runs_is_run_later(ledger: Ledger) -> None:
    enqueue("test.effect", unique="while_waiting")
    claim(ledger, "test.effect")

    later = enqueue("test.effect", unique="while_waiting")

    assert [held.id for held in claim(ledger, "test.effect")] == [later]


def test_waiting_urgent_jobs_are_published_first(ledger: Ledger) -> None:
    ordinary, urgent, idle = enqueue("t.x", 1), enqueue("t.x", 2, priority=0), enqueue("t.x", 3, priority=3)

    order = [take(ledger, "t.x", most=1)[0] for _ in range(3)]

    assert order == [urgent, ordinary, idle]


def test_job_before_its_due_time_waits(ledger: Ledger) -> None:
    from datetime import timedelta

    enqueue("t.x", delay=timedelta(minutes=1))

    assert take(ledger, "t.x", most=1) == []


def test_job_of_missing_worker_is_reclaimed_with_a_crash(ledger: Ledger, query: Query) -> None:
    id = enqueue("t.x")
    ledger.claim(take(ledger, "t.x", most=1), 424242)
    query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)

    assert ledger.sweep_missing(0, 3) == [(id, "waiting")]
    assert query("select state, attempts, crashes from app.jobs where id = %s", id) == [("waiting", 0, 1)]


def test_job_at_max_crashes_becomes_a_dead_letter(ledger: Ledger, query: Query) -> None:
    id = enqueue("t.x")
    for _ in range(3):
        ledger.claim(take(ledger, "t.x", most=1), 424242)
        query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)
        ledger.sweep_missing(0, 3)

    assert query("select state, crashes, error->>'kind' from app.dead_jobs where id = %s", id) == [("dead", 3, "crash")]


def test_quarantined_job_is_claimed_alone_only(ledger: Ledger, query: Query) -> None:
    quarantined, other = enqueue("t.x"), enqueue("t.x")
    query("update app.jobs set crashes = 1 where id = %s", quarantined)
    ids = take(ledger, "t.x", most=2)

    assert [held.id for held in ledger.claim(ids, 1)] == [other]
    assert [held.id for held in ledger.claim([quarantined], 1)] == [quarantined]


def test_live_worker_keeps_its_jobs(ledger: Ledger, query: Query) -> None:
    from jobs.engine.worker.liveness import Liveness

    liveness = Liveness()
    worker_id = liveness.start()
    id = enqueue("t.x")
    ledger.claim(take(ledger, "t.x", most=1), worker_id)
    query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)

    assert ledger.sweep_missing(0, 3) == []
    query("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = %s", worker_id)
    liveness.stop()


def test_published_job_missing_at_the_broker_waits_again(ledger: Ledger, query: Query) -> None:
    forgotten, present = enqueue("t.x"), enqueue("t.x")
    take(ledger, "t.x", most=2)

    assert ledger.sweep_unclaimed(60, [present]) == 0
    assert ledger.sweep_unclaimed(0, [present]) == 1
    assert (state_of(query, forgotten), state_of(query, present)) == ("waiting", "published")


def test_outward_body_has_no_transaction_and_a_stable_key(ledger: Ledger, runner: Runner, query: Query) -> None:
    seen: list[tuple[bool, str]] = []

    @actor("test.outward", runs_as="system", outward=True)
    def body() -> None:
        seen.append((db.in_transaction(), current_job().idempotency_key))
        with own_transaction():
            assert db._state.closing == FLUSH  # the WAL is flushed before other systems get the data
            write_effect()
        if current_job().attempt == 1:
            raise RetryLater(0)

    enqueue("test.outward")
    for _ in range(2):
        runner.run(claim(ledger, "test.outward")[0])

    assert [in_transaction for in_transaction, _ in seen] == [False, False]
    assert seen[0][1] == seen[1][1]
    assert effects(query) == 2


def test_job_for_another_brand_is_refused() -> None:
    from models.core.errors import Problem

    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        enqueue_job("t.x", brand_id=uuid4())

    assert refused.value.status == 403


def test_progress_is_visible_while_the_job_runs(ledger: Ledger, runner: Runner, query: Query) -> None:
    seen: list[tuple[Any, ...]] = []

    @actor("test.slow", runs_as="system")
    def body() -> None:
        current_job().progress(1, 3, "one of three")
        seen.extend(query("select progress_done, progress_total, progress_message from app.jobs"))

    enqueue("test.slow")
    runner.run(claim(ledger, "test.slow")[0])

    assert seen == [(1, 3, "one of three")]


def test_job_keeps_the_ids_of_its_request(ledger: Ledger, query: Query) -> None:
    context.set_request_info(context.RequestInfo("req-1", "cor-1", "00-aa-bb-01"))
    id = enqueue("t.x")
    context.set_request_info(context.RequestInfo())

    (row,) = query("select request_id, correlation_id, traceparent, args from app.jobs where id = %s", id)
    assert row == ("req-1", "cor-1", "00-aa-bb-01", [])
    assert json.dumps(row)
