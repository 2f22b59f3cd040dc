"""Test fair scheduling, limits, windowed and debounced keys, and the prefetch target."""

import math
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.engine import actor, registry
from jobs.engine.ledger import LAST_TENANT_KEY, Ledger
from jobs.engine.relay import fair_share as fair_share_module
from jobs.engine.relay.fair_share import MEMORY, FairShare
from jobs.engine.relay.prefetch import MAX_TARGET, MIN_TARGET, Prefetch
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import JobRef
from models.jobs.ledger import enqueue as enqueue_job
from tests.fixtures.jobs import take
from tests.fixtures.queries import Query

pytestmark = pytest.mark.usefixtures("temporary_actors")


@pytest.fixture
def brands(query: Query, db_clean: str) -> list[UUID]:
    return [query("insert into public.brands (name) values ('b') returning id")[0][0] for _ in range(3)]


def enqueue(name: str, brand_id: UUID | None, count: int, **options: Any) -> list[UUID]:
    with transaction(context.for_system_job()):
        return [enqueue_job(name, n, brand_id=brand_id, **options).id for n in range(count)]


def published_tenants(ledger: Ledger, room: int, *names: str) -> list[UUID]:
    """Publish jobs with the declared limits. Return their tenant keys."""
    return [tenant_key for _, tenant_key in ledger.publish_due(names, room, registry.limits()).jobs]


def test_brands_are_served_in_turn_despite_a_large_backlog(ledger: Ledger, brands: list[UUID]) -> None:
    noisy, *others = brands
    enqueue("t.x", noisy, 100)
    for brand in others:
        enqueue("t.x", brand, 2)

    taken = published_tenants(ledger, 6, "t.x")

    assert sorted(taken) == sorted(brands * 2)


def test_recent_dispatches_count_without_running_jobs(ledger: Ledger, brands: list[UUID]) -> None:
    for brand in brands:
        enqueue("t.x", brand, 20)

    taken = [
        tenant_key
        for _, tenant_key in ledger.publish_due(["t.x"], 13, dispatched={brands[0]: 9.0, brands[1]: 3.0}).jobs
    ]

    assert [taken.count(brand) for brand in brands] == [0, 5, 8]


def test_recent_dispatches_decay_and_report_the_heaviest() -> None:
    now = [0.0]
    fair_share = FairShare(lambda: now[0])
    few, many = [UUID(int=n) for n in range(100)], UUID(int=1000)
    fair_share.record([*few, *few, *[many] * 50])

    now[0] = MEMORY
    assert dict(fair_share.recent()).keys() > {many}
    assert len(fair_share.recent()) == fair_share_module.MAX_TENANTS
    assert fair_share.recent()[many] == pytest.approx(48 / math.e)
    now[0] = 10 * MEMORY
    assert fair_share.recent() == {}


def test_brand_with_more_weight_has_more_jobs_per_round(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    heavy, light, _ = brands
    query("insert into app.brand_shares (brand_id, weight) values (%s, 3)", heavy)
    for brand in (heavy, light):
        enqueue("t.x", brand, 20)

    taken = published_tenants(ledger, 8, "t.x")

    assert (taken.count(heavy), taken.count(light)) == (6, 2)


def test_rounds_count_jobs_of_all_actors_of_a_brand(ledger: Ledger, brands: list[UUID]) -> None:
    busy, other, _ = brands
    for name in ("t.x", "t.y", "t.z"):
        enqueue(name, busy, 20)
    enqueue("t.x", other, 20)

    taken = published_tenants(ledger, 10, "t.x", "t.y", "t.z")

    assert taken.count(other) == 5


def test_brand_whose_newest_dispatch_is_oldest_goes_first(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    minutes = {brands[0]: {"t.x": 10, "t.y": 1}, brands[1]: {"t.x": 5, "t.y": 4}}
    for brand in minutes:
        enqueue("t.x", brand, 1)
        enqueue("t.y", brand, 1)
    ledger.publish_due(["t.x", "t.y"], 4)
    for brand, ages in minutes.items():
        for name, age in ages.items():
            query(
                "update app.jobs set published_at = now() - make_interval(mins => %s)"
                " where actor = %s and brand_id = %s",
                age,
                name,
                brand,
            )
        enqueue("t.x", brand, 1)

    assert published_tenants(ledger, 1, "t.x", "t.y") == [brands[1]]


def test_unused_capacity_goes_to_other_brands(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    enqueue("t.x", brands[0], 100)
    query(
        "insert into app.jobs (id, actor, brand_id) select gen_random_uuid(), 't.x', md5(n::text)::uuid"
        " from generate_series(1, 20) as n"
    )

    taken = published_tenants(ledger, 80, "t.x")

    assert (taken.count(brands[0]), len(set(taken))) == (60, 21)


def test_brand_at_max_running_gets_no_jobs(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    query("insert into app.brand_shares (brand_id, max_running) values (%s, 2)", brands[0])
    enqueue("t.x", brands[0], 5)
    enqueue("t.y", brands[0], 5)

    first = ledger.publish_due(["t.x", "t.y"], 10).jobs
    ledger.claim([id for id, _ in first], 1)

    assert len(first) == 2
    assert published_tenants(ledger, 10, "t.x", "t.y") == []


def test_brand_below_max_running_gets_all_its_jobs(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    query("insert into app.brand_shares (brand_id, max_running) values (%s, 3)", brands[0])
    enqueue("t.x", brands[0], 1)
    enqueue("t.y", brands[0], 1)

    assert published_tenants(ledger, 10, "t.x", "t.y") == [brands[0]] * 2


def test_capacity_depends_on_live_jobs_only(ledger: Ledger, brands: list[UUID]) -> None:
    actor("t.capped", runs_as="system", max_running=2)(lambda: None)
    enqueue("t.capped", brands[0], 5)

    held = ledger.claim([id for id, _ in ledger.publish_due(["t.capped"], 10, registry.limits()).jobs], 1)
    assert len(held) == 2
    assert published_tenants(ledger, 10, "t.capped") == []
    ledger.dead_letter(held[0], {})
    ledger.release([held[1].id], 1)

    assert len(published_tenants(ledger, 10, "t.capped")) == 2


def test_max_per_brand_leaves_capacity_for_others(ledger: Ledger, brands: list[UUID]) -> None:
    actor("t.each", runs_as="system", max_per_brand=1)(lambda: None)
    for brand in brands:
        enqueue("t.each", brand, 5)

    assert sorted(published_tenants(ledger, 10, "t.each")) == sorted(brands)
    assert published_tenants(ledger, 10, "t.each") == []


def test_rate_allows_a_burst_and_then_one_at_a_time(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    actor("t.rated", runs_as="system", rate=0.001, burst=3)(lambda: None)
    enqueue("t.rated", brands[0], 20)

    assert len(published_tenants(ledger, 10, "t.rated")) == 3
    assert len(published_tenants(ledger, 10, "t.rated")) == 0
    query("update app.actor_rates set arrival = arrival - interval '2000 seconds'")
    assert len(published_tenants(ledger, 10, "t.rated")) == 2


def test_jobs_of_paused_actor_wait(ledger: Ledger, brands: list[UUID], query: Query) -> None:
    query("insert into app.paused_actors (actor) values ('t.x')")
    enqueue("t.x", brands[0], 1)

    assert take(ledger, "t.x") == []
    query("delete from app.paused_actors")
    assert len(take(ledger, "t.x")) == 1


def test_more_tenants_than_one_poll_visits_are_all_served(ledger: Ledger, query: Query) -> None:
    query(
        "insert into app.jobs (id, actor, brand_id) select gen_random_uuid(), 't.x', gen_random_uuid()"
        " from generate_series(1, 1200)"
    )
    after, served = LAST_TENANT_KEY, set[UUID]()

    for _ in range(50):
        taken = ledger.publish_due(["t.x"], 400, (), after)
        after = taken.last_tenant
        served |= {tenant_key for _, tenant_key in taken.jobs}

    assert len(served) == 1200


def test_tenant_that_a_poll_ended_at_is_visited_again(ledger: Ledger, brands: list[UUID]) -> None:
    enqueue("t.x", brands[0], 1)

    assert len(ledger.publish_due(["t.x"], 10, (), brands[0]).jobs) == 1


def test_walk_that_ends_nearest_to_its_start_continues_the_poll(ledger: Ledger, query: Query) -> None:
    start = UUID("80000000-0000-0000-0000-000000000000")
    add = (
        "insert into app.jobs (id, actor, brand_id, due_at) select gen_random_uuid(), %s,"
        " (%s || lpad(n::text, 6, '0') || '-0000-0000-0000-000000000000')::uuid, 'infinity'"
        " from generate_series(1, 30) as n"
    )
    for name, first in (("t.x", "f0"), ("t.y", "10")):  # t.y wraps; t.x does not.
        query(add, name, first)

    ended_at = ledger.publish_due(["t.x", "t.y"], 10, (), start).last_tenant

    assert str(ended_at).startswith("f0")


def test_tenants_without_due_jobs_do_not_hide_others(ledger: Ledger, query: Query) -> None:
    query(
        "insert into app.jobs (id, actor, brand_id, due_at)"
        " select gen_random_uuid(), 't.x', md5(n::text)::uuid, 'infinity' from generate_series(1, 600) as n"
    )
    query(
        "update app.jobs set due_at = now()"
        " where tenant_key = (select tenant_key from app.jobs order by tenant_key desc limit 1)"
    )
    looks = [ledger.publish_due(["t.x"], 10)]
    while not looks[-1].jobs and len(looks) < 30:
        looks.append(ledger.publish_due(["t.x"], 10, (), looks[-1].last_tenant))

    assert len(looks[-1].jobs) == 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40), st.integers(1, 20))
def test_no_brand_is_served_twice_before_each_is_served(
    ledger: Ledger, brands: list[UUID], query: Query, waiting: list[tuple[int, int]], room: int
) -> None:
    query("truncate app.jobs")
    for brand, priority in waiting:
        enqueue("t.x", brands[brand], 1, priority=priority)
    has = {brand: sum(1 for b, _ in waiting if brands[b] == brand) for brand in brands}

    taken = published_tenants(ledger, room, "t.x")

    assert len(taken) == min(room, len(waiting))
    counts = {brand: taken.count(brand) for brand in brands}
    for brand in brands:
        rest = [counts[other] for other in brands if counts[other] < has[other]]
        assert counts[brand] <= min(rest, default=len(waiting)) + 1


def test_windowed_key_outlives_its_job_and_is_renewed(ledger: Ledger, query: Query, db_clean: str) -> None:
    def ask() -> JobRef:
        with transaction(context.for_system_job()):
            return enqueue_job("t.x", 1, unique="within", window=timedelta(minutes=10))

    first = ask()
    (held,) = ledger.claim(take(ledger, "t.x"), 1)
    ledger.dead_letter(held, {})

    assert (ask().id, ask().created) == (first.id, False)
    query("update app.job_keys set expires_at = now() - interval '1 second'")
    second = ask()
    assert second.created
    assert (ask().id, ask().created) == (second.id, False), "a key that is taken over gets a new window"


def test_window_without_within_is_refused() -> None:
    with pytest.raises(ValueError, match="must be used together"):
        enqueue_job("t.x", unique="until_done", window=timedelta(minutes=1))


def test_debounced_job_runs_once_with_the_last_arguments(ledger: Ledger, query: Query, db_clean: str) -> None:
    def ask(value: int) -> JobRef:
        with transaction(context.for_system_job()):
            return enqueue_job(
                "t.x", value, unique="while_waiting", unique_key="k", replace=True, delay=timedelta(minutes=30)
            )

    first = ask(1)
    query("update app.jobs set due_at = now() + interval '1 second'")
    ask(2)

    rows = query("select id, args, due_at > now() + interval '20 minutes' from app.jobs")
    assert rows == [(first.id, [2], True)]


def test_debounced_key_after_publication_gets_a_new_job(ledger: Ledger, db_clean: str) -> None:
    def ask(value: int) -> JobRef:
        with transaction(context.for_system_job()):
            return enqueue_job("t.x", value, unique="while_waiting", unique_key="k", replace=True)

    first = ask(1)
    take(ledger, "t.x")
    second = ask(2)

    assert second.created
    assert second.id != first.id


@given(st.lists(st.integers(0, 300), min_size=1, max_size=200))
def test_prefetch_target_stays_within_its_bounds(fetched: list[int]) -> None:
    prefetch, present = Prefetch(), 0
    for count in fetched:
        room = prefetch.capacity(present)
        assert 0 <= room <= MAX_TARGET
        assert MIN_TARGET <= prefetch.target <= MAX_TARGET
        prefetch.record_filled(present, room)
        present = max(0, present + room - count)


def test_prefetch_target_follows_the_throughput() -> None:
    looks = iter(range(10**6))
    prefetch = Prefetch(lambda: 0.002 * next(looks))
    for _ in range(100):  # 1,000 ids are popped per second
        prefetch.record_filled(prefetch.target - 2, prefetch.capacity(prefetch.target - 2))
    busy = prefetch.target
    for _ in range(200):
        prefetch.record_filled(prefetch.target, prefetch.capacity(prefetch.target))

    assert 30 <= busy <= 60
    assert prefetch.target == MIN_TARGET


def test_prefetch_target_grows_when_the_queue_starves() -> None:
    prefetch = Prefetch(lambda: 0.0)
    for _ in range(6):
        prefetch.record_filled(0, prefetch.capacity(0))

    assert prefetch.target >= 8 * MIN_TARGET
