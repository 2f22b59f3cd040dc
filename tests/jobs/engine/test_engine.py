"""The engine, through the real ledger: what a job's end commits, and what its failure leaves behind."""

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
from models.jobs import ledger as jobs
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query
from tests.support.blocked import until_blocked

pytestmark = pytest.mark.usefixtures("temporary_actors")


def enqueue(name: str, *args: Any, **options: Any) -> UUID:
    with transaction(context.for_system_job()):
        return jobs.enqueue(name, *args, **options).id


def claim(ledger: Ledger, *names: str) -> list[Claim]:
    return ledger.claim(take(ledger, *names), 1)


def write_effect() -> None:
    """Something in the job's own transaction that can be seen afterwards."""
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


def test_a_job_of_a_transaction_that_rolls_back_never_was(query: Query) -> None:
    def decide_otherwise() -> None:
        with transaction(context.for_system_job()):
            jobs.enqueue("test.effect")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        decide_otherwise()

    assert query("select count(*) from app.jobs") == [(0,)]


def test_what_a_body_wrote_commits_with_its_end(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")

    ending = runner.run(claim(ledger, "test.effect")[0])

    assert (ending, state_of(query, id), effects(query)) == ("done", "done", 1)


def test_a_body_that_fails_leaves_nothing_and_waits_for_its_next_attempt(
    ledger: Ledger, runner: Runner, query: Query
) -> None:
    @actor("test.failing", runs_as="system")
    def body() -> None:
        write_effect()
        raise ValueError("not this time")

    id = enqueue("test.failing")

    ending = runner.run(claim(ledger, "test.failing")[0])

    assert (ending, state_of(query, id), effects(query)) == ("retry", "waiting", 0)
    ((error, later),) = query("select error, due_at > now() from app.jobs where id = %s", id)
    assert (error["kind"], error["message"], later) == ("ValueError", "not this time", True)


def test_the_last_attempt_that_fails_makes_a_dead_letter(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.hopeless", runs_as="system", max_attempts=1)
    def body() -> None:
        raise ValueError

    id = enqueue("test.hopeless")

    assert runner.run(claim(ledger, "test.hopeless")[0]) == "dead"
    assert state_of(query, id) == "dead"


def test_words_kept_of_an_error_have_no_control_characters(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.hostile", runs_as="system", max_attempts=1)
    def body() -> None:
        # Logged without its traceback: pytest-xdist can't hand on a log with a lone surrogate.
        raise TimeoutError("\x1b]0;owned\x07\x00\x9b2J\u202e\ud800\nsecond line")

    enqueue("test.hostile")

    assert runner.run(claim(ledger, "test.hostile")[0]) == "dead"
    ((said,),) = query("select error ->> 'message' from app.dead_jobs")
    assert said == "\\x1b]0;owned\\x07\\x00\\x9b2J\\u202e?\nsecond line"


def test_actor_with_time_limit_on_retries_is_retried_until_then(ledger: Ledger, runner: Runner, query: Query) -> None:
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
    """Seconds until a job is due."""
    ((seconds,),) = query("select extract(epoch from due_at - now())::float8 from app.jobs where id = %s", id)
    return float(seconds)


def test_actor_without_any_limit_on_retries_is_refused() -> None:
    with pytest.raises(ValueError, match="retried forever"):
        actor("test.endless", max_attempts=None)(write_effect)


def test_a_refusal_is_final_at_once(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.refused", runs_as="system")
    def body() -> None:
        raise NotFound("it is gone")

    id = enqueue("test.refused")

    assert runner.run(claim(ledger, "test.refused")[0]) == "dead"
    assert state_of(query, id) == "dead"


def test_a_body_may_name_its_own_delay(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.later", runs_as="system")
    def body() -> None:
        raise RetryLater(6000)

    id = enqueue("test.later")

    assert runner.run(claim(ledger, "test.later")[0]) == "retry"
    ((seconds,),) = query("select extract(epoch from due_at - now()) from app.jobs where id = %s", id)
    assert 5000 < seconds <= 6000


def test_arguments_that_the_actor_does_not_take_are_a_dead_letter(ledger: Ledger, runner: Runner, query: Query) -> None:
    @actor("test.typed", runs_as="system")
    def body(subject: UUID) -> None:
        write_effect()

    wrong, right = enqueue("test.typed", "no uuid"), enqueue("test.typed", uuid4())

    for held in claim(ledger, "test.typed"):
        runner.run(held)

    assert (state_of(query, wrong), state_of(query, right), effects(query)) == ("dead", "done", 1)


def test_a_claim_that_is_no_longer_the_newest_commits_nothing(ledger: Ledger, runner: Runner, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")
    (stale,) = claim(ledger, "test.effect")
    ledger.release([id], 1)
    (newest,) = claim(ledger, "test.effect")

    assert runner.run(stale) == "stale"
    assert effects(query) == 0
    assert runner.run(newest) == "done"
    assert effects(query) == 1


def test_a_released_job_is_not_charged_an_attempt(ledger: Ledger, query: Query) -> None:
    actor("test.effect", runs_as="system")(write_effect)
    id = enqueue("test.effect")
    claim(ledger, "test.effect")

    ledger.release([id], 1)

    assert query("select state, attempts from app.jobs where id = %s", id) == [("waiting", 0)]


def test_an_actor_that_this_release_does_not_know_keeps_its_job_waiting(
    ledger: Ledger, runner: Runner, query: Query
) -> None:
    id = enqueue("test.of_the_next_release")

    assert runner.run(claim(ledger, "test.of_the_next_release")[0]) == "unknown_actor"
    assert query("select state, attempts from app.jobs where id = %s", id) == [("waiting", 0)]


def test_one_key_until_done_is_one_job(query: Query) -> None:
    with transaction(context.for_system_job()):
        first = jobs.enqueue("test.effect", 1, unique="until_done")
        second = jobs.enqueue("test.effect", 1, unique="until_done")
        other = jobs.enqueue("test.effect", 2, unique="until_done")

    assert (second.id, second.created) == (first.id, False)
    assert other.created


@pytest.mark.parametrize("commits", [True, False])
def test_unique_key_waits_for_the_transaction_that_holds_it(query: Query, superuser: connection, commits: bool) -> None:
    second: list[jobs.JobRef] = []

    def ask() -> jobs.JobRef:
        job = jobs.enqueue("test.effect", unique="until_done")
        row("SELECT 1")  # an enqueued job goes to the server with the next statement
        return job

    def ask_meanwhile() -> None:
        with transaction(context.for_system_job()):
            second.append(jobs.enqueue("test.effect", unique="until_done"))
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


def test_a_key_is_free_again_when_its_job_is_done(ledger: Ledger, runner: Runner) -> None:
    @actor("test.keyed", runs_as="system")
    def body(number: int) -> None:
        assert number == 1

    first = enqueue("test.keyed", 1, unique="until_done")
    runner.run(claim(ledger, "test.keyed")[0])

    with transaction(context.for_system_job()):
        again = jobs.enqueue("test.keyed", 1, unique="until_done")

    assert again.created
    assert again.id != first


def test_jobs_that_wait_under_one_key_run_as_one(ledger: Ledger, query: Query) -> None:
    for _ in range(5):
        enqueue("test.effect", unique="while_waiting")

    assert len(claim(ledger, "test.effect")) == 1
    assert query("select count(*) from app.jobs") == [(1,)]


def test_two_brands_jobs_with_the_same_arguments_are_two_jobs(ledger: Ledger) -> None:
    for brand_id in (uuid4(), uuid4()):
        enqueue("test.effect", 1, unique="while_waiting", brand_id=brand_id)
        enqueue("test.effect", 2, unique="until_done", brand_id=brand_id)

    assert len(claim(ledger, "test.effect")) == 4


def test_a_job_enqueued_while_one_of_its_key_runs_waits_for_its_own_turn(ledger: Ledger) -> None:
    enqueue("test.effect", unique="while_waiting")
    claim(ledger, "test.effect")

    later = enqueue("test.effect", unique="while_waiting")

    assert [held.id for held in claim(ledger, "test.effect")] == [later]


def test_more_urgent_jobs_go_first_while_they_wait(ledger: Ledger) -> None:
    ordinary, urgent, idle = enqueue("t.x", 1), enqueue("t.x", 2, priority=0), enqueue("t.x", 3, priority=3)

    order = [take(ledger, "t.x", most=1)[0] for _ in range(3)]

    assert order == [urgent, ordinary, idle]


def test_a_job_that_is_not_due_waits(ledger: Ledger) -> None:
    from datetime import timedelta

    enqueue("t.x", delay=timedelta(minutes=1))

    assert take(ledger, "t.x", most=1) == []


def test_the_job_of_a_worker_without_a_lock_is_taken_back_and_counted_as_a_crash(ledger: Ledger, query: Query) -> None:
    id = enqueue("t.x")
    ledger.claim(take(ledger, "t.x", most=1), 424242)
    query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)

    assert ledger.sweep_missing(0, 3) == [(id, "waiting")]
    assert query("select state, attempts, crashes from app.jobs where id = %s", id) == [("waiting", 0, 1)]


def test_a_job_that_takes_its_workers_down_is_buried(ledger: Ledger, query: Query) -> None:
    id = enqueue("t.x")
    for _ in range(3):
        ledger.claim(take(ledger, "t.x", most=1), 424242)
        query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)
        ledger.sweep_missing(0, 3)

    assert query("select state, crashes, error->>'kind' from app.dead_jobs where id = %s", id) == [("dead", 3, "crash")]


def test_a_suspect_is_not_claimed_among_others(ledger: Ledger, query: Query) -> None:
    suspect, innocent = enqueue("t.x"), enqueue("t.x")
    query("update app.jobs set crashes = 1 where id = %s", suspect)
    ids = take(ledger, "t.x", most=2)

    assert [held.id for held in ledger.claim(ids, 1)] == [innocent]
    assert [held.id for held in ledger.claim([suspect], 1)] == [suspect]


def test_a_living_worker_keeps_its_jobs(ledger: Ledger, query: Query) -> None:
    from jobs.engine.worker.liveness import Liveness

    liveness = Liveness()
    worker_id = liveness.start()
    id = enqueue("t.x")
    ledger.claim(take(ledger, "t.x", most=1), worker_id)
    query("update app.jobs set claimed_at = now() - interval '1 minute' where id = %s", id)

    assert ledger.sweep_missing(0, 3) == []
    query("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = %s", worker_id)
    liveness.stop()


def test_published_jobs_that_redis_does_not_hold_wait_again(ledger: Ledger, query: Query) -> None:
    forgotten, present = enqueue("t.x"), enqueue("t.x")
    take(ledger, "t.x", most=2)

    assert ledger.sweep_unclaimed(0, [present]) == 1
    assert (state_of(query, forgotten), state_of(query, present)) == ("waiting", "published")


def test_an_outward_body_holds_no_transaction_and_has_a_key_that_stays_the_same(
    ledger: Ledger, runner: Runner, query: Query
) -> None:
    seen: list[tuple[bool, str]] = []

    @actor("test.outward", runs_as="system", outward=True)
    def body() -> None:
        seen.append((db.in_transaction(), current_job().idempotency_key))
        with own_transaction():
            assert db._state.closing == FLUSH  # what it has seen is on the disk when the world is told
            write_effect()
        if current_job().attempt == 1:
            raise RetryLater(0)

    enqueue("test.outward")
    for _ in range(2):
        runner.run(claim(ledger, "test.outward")[0])

    assert [in_transaction for in_transaction, _ in seen] == [False, False]
    assert seen[0][1] == seen[1][1]
    assert effects(query) == 2


def test_a_brands_job_can_not_be_asked_for_by_another_brand() -> None:
    from models.core.errors import Problem

    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        jobs.enqueue("t.x", brand_id=uuid4())

    assert refused.value.status == 403


def test_progress_is_seen_while_the_job_runs(ledger: Ledger, runner: Runner, query: Query) -> None:
    seen: list[tuple[Any, ...]] = []

    @actor("test.slow", runs_as="system")
    def body() -> None:
        current_job().progress(1, 3, "one of three")
        seen.extend(query("select progress_done, progress_total, progress_message from app.jobs"))

    enqueue("test.slow")
    runner.run(claim(ledger, "test.slow")[0])

    assert seen == [(1, 3, "one of three")]


def test_a_job_remembers_the_request_it_came_from(ledger: Ledger, query: Query) -> None:
    context.set_request_info(context.RequestInfo("req-1", "cor-1", "00-aa-bb-01"))
    id = enqueue("t.x")
    context.set_request_info(context.RequestInfo())

    (row,) = query("select request_id, correlation_id, traceparent, args from app.jobs where id = %s", id)
    assert row == ("req-1", "cor-1", "00-aa-bb-01", [])
    assert json.dumps(row)
