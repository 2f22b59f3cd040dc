"""Test groups on the real ledger: each calls back once, when its children have ended."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extensions import connection

from jobs.engine import actor, current_job
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import transaction
from models.core.errors import NotFound, Problem
from models.jobs import groups
from models.jobs.groups import Batch, Call, Chain, Children, GroupRef
from models.jobs.ledger import enqueue
from models.jobs.ledger import get as get_job
from tests.fixtures.jobs import Drain, take
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors", "db_clean")


@pytest.fixture
def outputs(temporary_actors: None) -> list[Any]:
    """Return the actors' outputs in order: `group.say` its argument, `group.report` the counts of its children."""
    words: list[Any] = []

    @actor("group.say", runs_as="system")
    def say(word: str) -> None:
        words.append(word)

    @actor("group.fail", runs_as="system")
    def fail(word: str) -> None:
        words.append(word)
        raise NotFound(word)

    @actor("group.report", runs_as="system")
    def report(word: str) -> None:
        found = groups.children(current_job().id)
        assert found is not None
        words.append((word, found.total, found.done, found.dead, found.cancelled))

    return words


def say_calls(*words: str) -> list[Call]:
    return [Call("group.say", word) for word in words]


def start(kind: Callable[..., GroupRef], *args: Any, **options: Any) -> GroupRef:
    with transaction(context.for_system_job()):
        return kind(*args, **options)


def children(job_id: UUID | None) -> Children | None:
    assert job_id is not None
    with transaction(context.for_system_job()):
        return groups.children(job_id)


def replay(query: Query, *names: str) -> None:
    query("select app.revive_job(d, null, now()) from app.dead_jobs d where actor = any (%s)", list(names))


def make_actors_succeed(query: Query) -> None:
    """Make failing actors succeed in their next attempt."""
    query("update app.dead_jobs set actor = 'group.say' where actor = 'group.fail'")


def test_batch_calls_back_once_after_all_children(drain: Drain, outputs: list[Any]) -> None:
    start(groups.batch, say_calls("a", "b", "c"), then=Call("group.report", "over"))

    drain()

    assert sorted(outputs[:-1]) == ["a", "b", "c"]
    assert outputs[-1] == ("over", 3, 3, 0, 0)


def test_empty_batch_calls_back_immediately(drain: Drain, outputs: list[Any]) -> None:
    start(groups.batch, [], then=Call("group.report", "over"), on_success=Call("group.say", "success"))

    drain()

    assert sorted(map(str, outputs)) == ["('over', 0, 0, 0, 0)", "success"]


def test_group_of_rolled_back_transaction_does_not_exist(query: Query, outputs: list[Any]) -> None:
    def roll_back() -> None:
        with transaction(context.for_system_job()):
            groups.batch(say_calls("a"), then=Call("group.say", "over"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        roll_back()

    assert query("select (select count(*) from app.jobs) + (select count(*) from app.job_groups)") == [(0,)]


def test_chain_runs_in_order_and_calls_back(drain: Drain, outputs: list[Any]) -> None:
    start(groups.chain, say_calls("1", "2", "3"), then=Call("group.report", "over"))

    drain()

    assert outputs == ["1", "2", "3", ("over", 3, 3, 0, 0)]


def test_step_waits_for_the_retry_of_the_one_before(
    ledger: Ledger, runner: Runner, query: Query, outputs: list[Any]
) -> None:
    @actor("group.shaky", runs_as="system")
    def body() -> None:
        raise ValueError("not this time")

    start(groups.chain, [Call("group.shaky"), *say_calls("after")])
    ledger.close_groups()
    assert runner.run(ledger.claim(take(ledger, "group.shaky"), 1)[0]) == "retry"

    assert ledger.close_groups() == 0
    assert take(ledger, "group.say") == []


def test_batch_with_dead_child_calls_then_only(drain: Drain, outputs: list[Any]) -> None:
    start(
        groups.batch,
        [*say_calls("a"), Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )

    drain(allow_dead=True)

    assert outputs[-1] == ("over", 2, 1, 1, 0)
    assert "success" not in outputs


def test_replayed_dead_child_calls_on_success_once(drain: Drain, outputs: list[Any], query: Query) -> None:
    group = start(
        groups.batch,
        [*say_calls("a"), Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.report", "success"),
    )
    drain(allow_dead=True)
    assert query("select state, outcome from app.job_groups") == [("finished", "dead")]
    outputs.clear()

    make_actors_succeed(query)
    replay(query, "group.say")
    drain()

    assert outputs == ["b", ("success", 2, 2, 0, 0)]
    assert children(group.then_id) == Children(total=2, done=2, dead=0, cancelled=0)
    assert query("select state, outcome from app.job_groups") == [("finished", "done")]


def test_batch_waits_for_replayed_dead_child(
    drain: Drain, ledger: Ledger, runner: Runner, outputs: list[Any], query: Query
) -> None:
    start(groups.batch, [*say_calls("a"), Call("group.fail", "b")], then=Call("group.report", "over"))
    runner.run(ledger.claim(take(ledger, "group.fail"), 1)[0])
    make_actors_succeed(query)
    replay(query, "group.say")

    drain()

    assert outputs[-1] == ("over", 2, 2, 0, 0)


def test_child_that_fails_in_its_replay_starts_no_callback(drain: Drain, outputs: list[Any], query: Query) -> None:
    start(
        groups.batch,
        [Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )
    drain(allow_dead=True)

    replay(query, "group.fail")
    drain(allow_dead=True)

    assert outputs == ["b", ("over", 1, 0, 1, 0), "b"]


def test_uncommitted_replay_keeps_its_group_open(
    ledger: Ledger, outputs: list[Any], query: Query, superuser: connection, drain: Drain
) -> None:
    start(groups.batch, [Call("group.fail", "b")], on_success=Call("group.say", "success"))
    Runner(ledger, 1).run(ledger.claim(take(ledger, "group.fail"), 1)[0])
    make_actors_succeed(query)

    query("begin")
    replay(query, "group.say")
    assert ledger.close_groups() == 0  # the replay has not committed
    query("commit")
    drain()

    assert outputs == ["b", "b", "success"]


def test_chain_stops_at_dead_letter_until_its_replay(drain: Drain, outputs: list[Any], query: Query) -> None:
    start(
        groups.chain,
        [*say_calls("1"), Call("group.fail", "2"), *say_calls("3", "4")],
        then=Call("group.report", "stopped"),
        on_success=Call("group.report", "success"),
    )
    drain(allow_dead=True)
    assert outputs == ["1", "2", ("stopped", 4, 1, 1, 0)]
    outputs.clear()

    make_actors_succeed(query)
    replay(query, "group.say")
    drain()

    assert outputs == ["2", "3", "4", ("success", 4, 4, 0, 0)]


def test_cancelled_step_cancels_the_later_steps(drain: Drain, outputs: list[Any], query: Query) -> None:
    start(
        groups.chain,
        say_calls("1", "2", "3"),
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )
    query("select app.cancel_job(min(id::text)::uuid) from app.jobs where group_id is not null")

    drain()

    assert outputs == [("over", 3, 0, 0, 3)]
    assert query("select count(*) from app.jobs") == [(0,)]


def test_nested_batch_is_one_child_until_its_callback_ends(ledger: Ledger, drain: Drain, outputs: list[Any]) -> None:
    inner = Batch(say_calls("a", "b"), then=Call("group.report", "inner"))
    start(
        groups.batch,
        [*say_calls("c"), inner, Batch([]), Chain(say_calls("d", "e"))],
        then=Call("group.report", "outer"),
    )

    drain()

    assert outputs[-1] == ("outer", 4, 4, 0, 0)
    assert outputs.index(("inner", 2, 2, 0, 0)) > max(outputs.index("a"), outputs.index("b"))


def test_nested_dead_letter_and_its_replay_reach_the_outer_group(
    drain: Drain, outputs: list[Any], query: Query
) -> None:
    deep = Batch([Batch([Batch([Call("group.fail", "x")])])])
    top = start(groups.batch, [deep], then=Call("group.report", "over"), on_success=Call("group.say", "success"))
    drain(allow_dead=True)
    assert outputs == ["x", ("over", 1, 0, 1, 0)]

    make_actors_succeed(query)
    replay(query, "group.say")
    drain()

    assert outputs[2:] == ["x", "success"]
    assert children(top.then_id) == Children(total=1, done=1, dead=0, cancelled=0)


def test_dead_callback_finishes_its_group(drain: Drain, outputs: list[Any], query: Query) -> None:
    inner = Batch(say_calls("a"), then=Call("group.fail", "inner"))
    start(groups.batch, [inner], then=Call("group.report", "over"))

    drain(allow_dead=True)

    assert outputs == ["a", "inner", ("over", 1, 0, 1, 0)]


def test_running_child_adds_children_to_its_batch(drain: Drain, outputs: list[Any]) -> None:
    @actor("group.spread", runs_as="system")
    def spread(depth: int) -> None:
        outputs.append(depth)
        if depth:
            groups.add([Call("group.spread", depth - 1), Call("group.spread", depth - 1)])

    start(groups.batch, [Call("group.spread", 3)], then=Call("group.report", "over"))

    drain()

    assert outputs[-1] == ("over", 15, 15, 0, 0)


def test_children_of_a_failed_attempt_do_not_exist(drain: Drain, outputs: list[Any]) -> None:
    @actor("group.twice", runs_as="system")
    def body() -> None:
        groups.add(say_calls("added"))
        if current_job().attempt == 1:
            raise ValueError("not this time")

    start(groups.batch, [Call("group.twice")], then=Call("group.report", "over"))

    drain()

    assert outputs == ["added", ("over", 2, 2, 0, 0)]


def test_step_with_batch_is_done_after_the_batch(drain: Drain, outputs: list[Any]) -> None:
    @actor("group.fan_out", runs_as="system")
    def body() -> None:
        groups.batch(say_calls("a", "b"), then=Call("group.say", "joined"), within=True)

    start(groups.chain, [Call("group.fan_out"), *say_calls("last")], then=Call("group.report", "over"))

    drain()

    assert outputs[2:] == ["joined", "last", ("over", 3, 3, 0, 0)]


def test_step_appends_to_its_chain(drain: Drain, outputs: list[Any]) -> None:
    @actor("group.append", runs_as="system")
    def body() -> None:
        groups.add(say_calls("3", "4"))

    start(groups.chain, [Call("group.append"), *say_calls("2")], then=Call("group.report", "over"))

    drain()

    assert outputs == ["2", "3", "4", ("over", 4, 4, 0, 0)]


def test_add_outside_of_a_running_child_is_refused(outputs: list[Any]) -> None:
    with pytest.raises(Problem) as refused, transaction(context.for_system_job(uuid4())):
        groups.add(say_calls("late"))

    assert (refused.value.status, refused.value.code) == (409, "not_in_a_group")


def test_children_for_a_foreign_group_are_refused(outputs: list[Any], query: Query) -> None:
    group = start(groups.batch, [])
    plan = groups._Plan()
    plan.job(Call("group.say", "x"), group.id)

    with pytest.raises(Problem) as refused, transaction(context.for_system_job()):
        plan.write(within=False)

    assert (refused.value.status, refused.value.code) == (409, "no_such_group")


def test_group_with_job_of_another_brand_is_refused() -> None:
    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        groups.batch([Call("group.say", "x", brand_id=uuid4())])

    assert refused.value.status == 403


def test_delay_of_callback_or_step_is_refused() -> None:
    with pytest.raises(ValueError, match="delay"), transaction(context.for_system_job()):
        groups.batch([], then=Call("group.say", "x", delay=timedelta(seconds=1)))


def test_delayed_child_of_batch_is_due_after_its_delay(outputs: list[Any], query: Query) -> None:
    start(groups.batch, [Call("group.say", "now"), Call("group.say", "later", delay=timedelta(hours=1))])

    found = query("select args ->> 0, round(extract(epoch from due_at - created_at)) from app.jobs order by due_at")

    assert found == [("now", 0), ("later", 3600)]


def test_cancelled_group_cancels_children_and_calls_back(
    ledger: Ledger, runner: Runner, drain: Drain, outputs: list[Any], query: Query
) -> None:
    inner = Batch(say_calls("c"), then=Call("group.report", "inner"))
    group = start(
        groups.batch,
        [*say_calls("a", "b"), inner],
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )
    (running, *_) = ledger.claim(take(ledger, "group.say", most=1), 1)

    with transaction(context.for_system_job()):
        assert groups.cancel(group.id) == 3
    assert query("select id, cancel_requested_at is not null from app.jobs where group_id is not null") == [
        (running.id, True)
    ]
    ledger.finish_cancelled(running)
    drain()

    assert outputs == [("inner", 1, 0, 0, 1), ("over", 3, 0, 0, 3)]
    assert query("select count(*) from app.jobs") == [(0,)]


def test_child_added_to_cancelled_group_is_cancelled(drain: Drain, outputs: list[Any], query: Query) -> None:
    @actor("group.late", runs_as="system")
    def body() -> None:
        groups.add(say_calls("added"))
        query("update app.job_groups set cancel_requested_at = now()")

    start(groups.batch, [Call("group.late")], then=Call("group.report", "over"))

    drain()

    assert outputs == [("over", 2, 1, 0, 1)]


def test_cancel_of_another_brands_group_returns_not_found(outputs: list[Any]) -> None:
    group = start(groups.batch, say_calls("a"))

    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        groups.cancel(group.id)

    assert refused.value.status == 404


def test_starter_of_a_group_sees_its_counts(
    ledger: Ledger, runner: Runner, drain: Drain, outputs: list[Any], query: Query
) -> None:
    @actor("group.start", runs_as="system")
    def body() -> None:
        groups.batch([*say_calls("a"), Batch(say_calls("b"))])

    with transaction(context.for_system_job()):
        job = enqueue("group.start")
    assert children(job.id) is None
    runner.run(ledger.claim(take(ledger, "group.start"), 1)[0])
    assert children(job.id) == Children(total=2, done=0, dead=0, cancelled=0)

    drain()

    assert children(job.id) == Children(total=2, done=2, dead=0, cancelled=0)
    with transaction(context.for_system_job()):
        assert get_job(job.id).children == Children(2, 2, 0, 0)


def test_held_callback_shows_the_counts_of_its_children(outputs: list[Any]) -> None:
    group = start(groups.batch, say_calls("a", "b"), then=Call("group.report", "over"))
    assert group.then_id is not None

    with transaction(context.for_system_job()):
        job = get_job(group.then_id)

    assert (job.state, job.children) == ("waiting", Children(2, 0, 0, 0))


def test_prune_deletes_old_groups_and_their_held_jobs(drain: Drain, outputs: list[Any], query: Query) -> None:
    start(groups.chain, [Call("group.fail", "1"), *say_calls("2")], on_success=Call("group.say", "success"))
    open_one = start(groups.batch, [Call("group.unknown")])
    drain(allow_dead=True)
    query("update app.job_groups set finished_at = now() - interval '31 days' where state = 'finished'")

    with transaction(context.for_system_job()):
        assert groups.prune(timedelta(days=30)) == 1

    assert query("select id from app.job_groups") == [(open_one.id,)]
    assert query("select actor from app.jobs") == [("group.unknown",)]


def test_prune_keeps_group_that_finished_exactly_the_period_ago(
    drain: Drain, outputs: list[Any], superuser: connection
) -> None:
    start(groups.batch, say_calls("a"))
    drain()
    with superuser.cursor() as cursor:
        # now() is the same in all statements of a transaction.
        cursor.execute("begin; update app.job_groups set finished_at = now() - interval '30 days'")
        cursor.execute("select app.prune_groups('30 days'), app.prune_groups('29 days 23:59:59.999999')")
        pruned = cursor.fetchone()
        cursor.execute("commit")

    assert pruned == (0, 1)


def test_prune_keeps_child_groups_of_live_parents(drain: Drain, outputs: list[Any], query: Query) -> None:
    inner = Batch([Call("group.fail", "1")])
    outer = start(groups.batch, [inner, Call("group.unknown")], on_success=Call("group.say", "success"))
    drain(allow_dead=True)
    query("update app.job_groups set finished_at = now() - interval '31 days' where state = 'finished'")

    with transaction(context.for_system_job()):
        pruned = groups.prune(timedelta(days=30))

    assert pruned == 0
    assert query("select count(*) from app.job_groups where parent_id = %s and outcome = 'dead'", outer.id) == [(1,)]


def test_group_of_10000_is_one_statement_and_closes_by_index(query: Query, outputs: list[Any]) -> None:
    group = start(groups.batch, [Call("group.say", str(n)) for n in range(10_000)], then=Call("group.say", "over"))

    assert query("select count(*) from app.jobs where group_id = %s", group.id) == [(10_000,)]
    assert query("select count(distinct xmin::text) from app.jobs") == [(1,)]
    query("set enable_seqscan = off")  # as app.close_groups sets it
    plan = str(query("explain select from app.jobs where group_id = %s and due_at < 'infinity' limit 1", group.id))
    query("reset enable_seqscan")
    assert "jobs_group" in plan
