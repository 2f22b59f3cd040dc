"""Groups through the real ledger: each calls back once, when its children are over, whatever happens to them."""

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
from models.jobs import ledger as jobs
from models.jobs.groups import Batch, Call, Chain, Children, GroupRef
from tests.fixtures.jobs import Drain, take
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors", "db_clean")


@pytest.fixture
def said(temporary_actors: None) -> list[Any]:
    """What the actors below have said, in order: `group.say` its argument, `group.report` how its children did."""
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


def says(*words: str) -> list[Call]:
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


def mend(query: Query) -> None:
    """What failed would succeed if it were tried again."""
    query("update app.dead_jobs set actor = 'group.say' where actor = 'group.fail'")


def test_a_batch_calls_back_once_when_all_its_children_are_over(drain: Drain, said: list[Any]) -> None:
    start(groups.batch, says("a", "b", "c"), then=Call("group.report", "over"))

    drain()

    assert sorted(said[:-1]) == ["a", "b", "c"]
    assert said[-1] == ("over", 3, 3, 0, 0)


def test_an_empty_batch_calls_back_at_once(drain: Drain, said: list[Any]) -> None:
    start(groups.batch, [], then=Call("group.report", "over"), on_success=Call("group.say", "success"))

    drain()

    assert sorted(map(str, said)) == ["('over', 0, 0, 0, 0)", "success"]


def test_a_group_of_a_transaction_that_rolls_back_never_was(query: Query, said: list[Any]) -> None:
    def decide_otherwise() -> None:
        with transaction(context.for_system_job()):
            groups.batch(says("a"), then=Call("group.say", "over"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        decide_otherwise()

    assert query("select (select count(*) from app.jobs) + (select count(*) from app.job_groups)") == [(0,)]


def test_a_chain_runs_in_order_and_then_calls_back(drain: Drain, said: list[Any]) -> None:
    start(groups.chain, says("1", "2", "3"), then=Call("group.report", "over"))

    drain()

    assert said == ["1", "2", "3", ("over", 3, 3, 0, 0)]


def test_a_step_is_not_started_while_the_one_before_waits_for_its_next_attempt(
    ledger: Ledger, runner: Runner, query: Query, said: list[Any]
) -> None:
    @actor("group.shaky", runs_as="system")
    def body() -> None:
        raise ValueError("not this time")

    start(groups.chain, [Call("group.shaky"), *says("after")])
    ledger.close_groups()
    assert runner.run(ledger.claim(take(ledger, "group.shaky"), 1)[0]) == "retry"

    assert ledger.close_groups() == 0
    assert take(ledger, "group.say") == []


def test_a_batch_with_a_dead_child_calls_back_but_not_for_success(drain: Drain, said: list[Any]) -> None:
    start(
        groups.batch,
        [*says("a"), Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )

    drain(allow_dead=True)

    assert said[-1] == ("over", 2, 1, 1, 0)
    assert "success" not in said


def test_a_dead_child_that_succeeds_in_its_replay_calls_back_for_success_and_not_again(
    drain: Drain, said: list[Any], query: Query
) -> None:
    group = start(
        groups.batch,
        [*says("a"), Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.report", "success"),
    )
    drain(allow_dead=True)
    assert query("select state, outcome from app.job_groups") == [("finished", "dead")]
    said.clear()

    mend(query)
    replay(query, "group.say")
    drain()

    assert said == ["b", ("success", 2, 2, 0, 0)]
    assert children(group.then_id) == Children(total=2, done=2, dead=0, cancelled=0)
    assert query("select state, outcome from app.job_groups") == [("finished", "done")]


def test_a_dead_child_that_is_replayed_before_the_others_are_over_is_waited_for(
    drain: Drain, ledger: Ledger, runner: Runner, said: list[Any], query: Query
) -> None:
    start(groups.batch, [*says("a"), Call("group.fail", "b")], then=Call("group.report", "over"))
    runner.run(ledger.claim(take(ledger, "group.fail"), 1)[0])
    mend(query)
    replay(query, "group.say")

    drain()

    assert said[-1] == ("over", 2, 2, 0, 0)


def test_a_child_that_dies_again_in_its_replay_calls_nobody_back(drain: Drain, said: list[Any], query: Query) -> None:
    start(
        groups.batch,
        [Call("group.fail", "b")],
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )
    drain(allow_dead=True)

    replay(query, "group.fail")
    drain(allow_dead=True)

    assert said == ["b", ("over", 1, 0, 1, 0), "b"]


def test_a_replay_that_has_not_committed_keeps_its_group_from_closing_over_it(
    ledger: Ledger, said: list[Any], query: Query, superuser: connection, drain: Drain
) -> None:
    start(groups.batch, [Call("group.fail", "b")], on_success=Call("group.say", "success"))
    Runner(ledger, 1).run(ledger.claim(take(ledger, "group.fail"), 1)[0])
    mend(query)

    query("begin")
    replay(query, "group.say")
    assert ledger.close_groups() == 0  # it can't know yet how this ends
    query("commit")
    drain()

    assert said == ["b", "b", "success"]


def test_a_chain_stops_at_a_dead_letter_says_so_and_goes_on_when_it_is_replayed(
    drain: Drain, said: list[Any], query: Query
) -> None:
    start(
        groups.chain,
        [*says("1"), Call("group.fail", "2"), *says("3", "4")],
        then=Call("group.report", "stopped"),
        on_success=Call("group.report", "success"),
    )
    drain(allow_dead=True)
    assert said == ["1", "2", ("stopped", 4, 1, 1, 0)]
    said.clear()

    mend(query)
    replay(query, "group.say")
    drain()

    assert said == ["2", "3", "4", ("success", 4, 4, 0, 0)]


def test_a_cancelled_step_takes_the_rest_of_its_chain_along(drain: Drain, said: list[Any], query: Query) -> None:
    start(
        groups.chain,
        says("1", "2", "3"),
        then=Call("group.report", "over"),
        on_success=Call("group.say", "success"),
    )
    query("select app.cancel_job(min(id::text)::uuid) from app.jobs where group_id is not null")

    drain()

    assert said == [("over", 3, 0, 0, 3)]
    assert query("select count(*) from app.jobs") == [(0,)]


def test_a_batch_within_a_batch_is_one_child_and_over_when_its_callback_is(
    ledger: Ledger, drain: Drain, said: list[Any]
) -> None:
    inner = Batch(says("a", "b"), then=Call("group.report", "inner"))
    start(groups.batch, [*says("c"), inner, Batch([]), Chain(says("d", "e"))], then=Call("group.report", "outer"))

    drain()

    assert said[-1] == ("outer", 4, 4, 0, 0)
    assert said.index(("inner", 2, 2, 0, 0)) > max(said.index("a"), said.index("b"))


def test_a_dead_letter_deep_down_reaches_the_top_and_so_does_its_replay(
    drain: Drain, said: list[Any], query: Query
) -> None:
    deep = Batch([Batch([Batch([Call("group.fail", "x")])])])
    top = start(groups.batch, [deep], then=Call("group.report", "over"), on_success=Call("group.say", "success"))
    drain(allow_dead=True)
    assert said == ["x", ("over", 1, 0, 1, 0)]

    mend(query)
    replay(query, "group.say")
    drain()

    assert said[2:] == ["x", "success"]
    assert children(top.then_id) == Children(total=1, done=1, dead=0, cancelled=0)


def test_a_callback_that_dies_is_the_end_of_its_group_all_the_same(drain: Drain, said: list[Any], query: Query) -> None:
    inner = Batch(says("a"), then=Call("group.fail", "inner"))
    start(groups.batch, [inner], then=Call("group.report", "over"))

    drain(allow_dead=True)

    assert said == ["a", "inner", ("over", 1, 0, 1, 0)]


def test_a_running_child_adds_others_to_its_batch(drain: Drain, said: list[Any]) -> None:
    @actor("group.spread", runs_as="system")
    def spread(depth: int) -> None:
        said.append(depth)
        if depth:
            groups.add([Call("group.spread", depth - 1), Call("group.spread", depth - 1)])

    start(groups.batch, [Call("group.spread", 3)], then=Call("group.report", "over"))

    drain()

    assert said[-1] == ("over", 15, 15, 0, 0)


def test_what_a_child_added_in_an_attempt_that_failed_never_was(drain: Drain, said: list[Any]) -> None:
    @actor("group.twice", runs_as="system")
    def body() -> None:
        groups.add(says("added"))
        if current_job().attempt == 1:
            raise ValueError("not this time")

    start(groups.batch, [Call("group.twice")], then=Call("group.report", "over"))

    drain()

    assert said == ["added", ("over", 2, 2, 0, 0)]


def test_a_step_that_starts_a_batch_within_its_chain_is_done_when_that_is(drain: Drain, said: list[Any]) -> None:
    @actor("group.fan_out", runs_as="system")
    def body() -> None:
        groups.batch(says("a", "b"), then=Call("group.say", "joined"), within=True)

    start(groups.chain, [Call("group.fan_out"), *says("last")], then=Call("group.report", "over"))

    drain()

    assert said[2:] == ["joined", "last", ("over", 3, 3, 0, 0)]


def test_a_step_appends_to_its_chain(drain: Drain, said: list[Any]) -> None:
    @actor("group.append", runs_as="system")
    def body() -> None:
        groups.add(says("3", "4"))

    start(groups.chain, [Call("group.append"), *says("2")], then=Call("group.report", "over"))

    drain()

    assert said == ["2", "3", "4", ("over", 4, 4, 0, 0)]


def test_only_a_running_child_may_add_to_a_group(said: list[Any]) -> None:
    with pytest.raises(Problem) as refused, transaction(context.for_system_job(uuid4())):
        groups.add(says("late"))

    assert (refused.value.status, refused.value.code) == (409, "not_in_a_group")


def test_nobody_gives_children_to_a_group_that_was_started_elsewhere(said: list[Any], query: Query) -> None:
    group = start(groups.batch, [])
    plan = groups._Plan()
    plan.job(Call("group.say", "x"), group.id)

    with pytest.raises(Problem) as refused, transaction(context.for_system_job()):
        plan.write(within=False)

    assert (refused.value.status, refused.value.code) == (409, "no_such_group")


def test_a_brands_group_holds_no_other_brands_jobs() -> None:
    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        groups.batch([Call("group.say", "x", brand_id=uuid4())])

    assert refused.value.status == 403


def test_what_waits_for_others_has_no_delay_of_its_own() -> None:
    with pytest.raises(ValueError, match="delay"), transaction(context.for_system_job()):
        groups.batch([], then=Call("group.say", "x", delay=timedelta(seconds=1)))


def test_a_cancelled_group_ends_what_waits_asks_what_runs_and_calls_back(
    ledger: Ledger, runner: Runner, drain: Drain, said: list[Any], query: Query
) -> None:
    inner = Batch(says("c"), then=Call("group.report", "inner"))
    group = start(
        groups.batch,
        [*says("a", "b"), inner],
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

    assert said == [("inner", 1, 0, 0, 1), ("over", 3, 0, 0, 3)]
    assert query("select count(*) from app.jobs") == [(0,)]


def test_what_a_running_child_adds_while_its_group_is_cancelled_is_cancelled_too(
    drain: Drain, said: list[Any], query: Query
) -> None:
    @actor("group.late", runs_as="system")
    def body() -> None:
        groups.add(says("added"))
        query("update app.job_groups set cancel_requested_at = now()")

    start(groups.batch, [Call("group.late")], then=Call("group.report", "over"))

    drain()

    assert said == [("over", 2, 1, 0, 1)]


def test_a_brands_job_cancels_no_other_brands_group(said: list[Any]) -> None:
    group = start(groups.batch, says("a"))

    with pytest.raises(Problem) as refused, transaction(context.for_brand_job(uuid4())):
        groups.cancel(group.id)

    assert refused.value.status == 404


def test_whoever_started_a_group_sees_how_far_it_is(
    ledger: Ledger, runner: Runner, drain: Drain, said: list[Any], query: Query
) -> None:
    @actor("group.start", runs_as="system")
    def body() -> None:
        groups.batch([*says("a"), Batch(says("b"))])

    with transaction(context.for_system_job()):
        job = jobs.enqueue("group.start")
    assert children(job.id) is None
    runner.run(ledger.claim(take(ledger, "group.start"), 1)[0])
    assert children(job.id) == Children(total=2, done=0, dead=0, cancelled=0)

    drain()

    assert children(job.id) == Children(total=2, done=2, dead=0, cancelled=0)
    with transaction(context.for_system_job()):
        assert jobs.get(job.id).children == Children(2, 2, 0, 0)


def test_a_callback_is_seen_waiting_with_its_childrens_progress_before_it_is_its_turn(said: list[Any]) -> None:
    group = start(groups.batch, says("a", "b"), then=Call("group.report", "over"))
    assert group.then_id is not None

    with transaction(context.for_system_job()):
        job = jobs.get(group.then_id)

    assert (job.state, job.children) == ("waiting", Children(2, 0, 0, 0))


def test_groups_are_forgotten_with_what_is_still_held_behind_their_dead_letters(
    drain: Drain, said: list[Any], query: Query
) -> None:
    start(groups.chain, [Call("group.fail", "1"), *says("2")], on_success=Call("group.say", "success"))
    open_one = start(groups.batch, [Call("group.unknown")])
    drain(allow_dead=True)
    query("update app.job_groups set finished_at = now() - interval '31 days' where state = 'finished'")

    with transaction(context.for_system_job()):
        assert groups.prune(timedelta(days=30)) == 1

    assert query("select id from app.job_groups") == [(open_one.id,)]
    assert query("select actor from app.jobs") == [("group.unknown",)]


def test_finished_child_group_is_kept_while_its_parent_is_live(drain: Drain, said: list[Any], query: Query) -> None:
    inner = Batch([Call("group.fail", "1")])
    outer = start(groups.batch, [inner, Call("group.unknown")], on_success=Call("group.say", "success"))
    drain(allow_dead=True)
    query("update app.job_groups set finished_at = now() - interval '31 days' where state = 'finished'")

    with transaction(context.for_system_job()):
        pruned = groups.prune(timedelta(days=30))

    assert pruned == 0
    assert query("select count(*) from app.job_groups where parent_id = %s and outcome = 'dead'", outer.id) == [(1,)]


def test_ten_thousand_children_are_one_statement_and_closing_asks_an_index(query: Query, said: list[Any]) -> None:
    group = start(groups.batch, [Call("group.say", str(n)) for n in range(10_000)], then=Call("group.say", "over"))

    assert query("select count(*) from app.jobs where group_id = %s", group.id) == [(10_000,)]
    assert query("select count(distinct xmin::text) from app.jobs") == [(1,)]
    query("set enable_seqscan = off")  # as app.close_groups has it
    plan = str(query("explain select from app.jobs where group_id = %s and due_at < 'infinity' limit 1", group.id))
    query("reset enable_seqscan")
    assert "jobs_group" in plan
