"""Membership of segments: kept up to date from changes, recomputed as time passes, with its history."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from models.audiences import compiler, dsl, engagement_events, membership, membership_history, recomputation, segments
from models.core import context
from models.core.database import new_id, now, transaction
from tests.fixtures.jobs import take
from tests.support import kills

NIGHT = datetime(2026, 11, 20, 23, 30, tzinfo=UTC)
"""A time shortly before midnight in UTC."""


def profile(field, op, value):
    return {"profile": {"field": field, "op": op, "value": value}}


def scanned(n=1, days=None):
    window = {"window": {"last": {"n": days, "unit": "day"}}} if days is not None else {}
    return {"event": {"kind": "scan", "count": {"op": "gte", "n": n}, **window}}


SPANISH = profile("country", "eq", "ES")


@pytest.fixture
def brand_id(manager):
    return manager.brand_id


@pytest.fixture
def segment(manager):
    """`segment(definition, name=…)`: the id of a saved segment of the brand."""

    def run(definition, name="Segment"):
        with manager.acting():
            return segments.create(name=name, definition=dsl.load(definition)).id

    return run


@pytest.fixture
def add_contact(query, brand_id):
    """`add_contact(country="ES", …)`: its id."""

    def run(**columns):
        names = ["brand_id", *columns]
        places = ", ".join(["%s"] * len(names))
        sql = f"insert into contacts ({', '.join(names)}) values ({places}) returning id"
        return query(sql, brand_id, *columns.values())[0][0]

    return run


@pytest.fixture
def apply(brand_id):
    """`apply(as_of=None)`: apply all changes of the brand's contacts."""

    def run(as_of=None):
        has_more = True
        while has_more:
            with transaction(context.for_brand_job(brand_id)):
                has_more = membership.apply(brand_id, as_of=as_of)

    return run


@pytest.fixture
def recompute(brand_id):
    """`recompute(segment_id, as_of=None)`: compute all members; whether the segment could be evaluated."""

    def run(segment_id, as_of=None):
        with transaction(context.for_brand_job(brand_id)):
            begun = recomputation.begin(brand_id, segment_id)
            if begun is None:
                return False
            step = recomputation.step(brand_id, segment_id, None, as_of=as_of)
            recomputation.finish(segment_id, begun)
        return step is not None

    return run


@pytest.fixture
def members(query):
    """`members(segment_id, at=None)`: the contacts."""

    def run(segment_id, at=None):
        found = query(
            "select contact_id from segment_members where segment_id = %s and entered_at <= %s"
            " and (left_at is null or left_at > %s)",
            *(segment_id, at or now(), at or now()),
        )
        return {contact for (contact,) in found}

    return run


@pytest.fixture
def state(manager):
    """`state(segment_id)`: its state."""

    def run(segment_id):
        with manager.acting():
            return membership.find_computation(segment_id)

    return run


def test_new_segment_gets_its_members_from_its_job(segment, add_contact, drain, members, state):
    ana, _ = add_contact(country="ES"), add_contact(country="PT")
    drain()

    spanish = segment(SPANISH)
    before = state(spanish)
    ran = drain()

    assert "segment.recompute" in ran
    assert members(spanish) == {ana}
    assert (before.state, state(spanish).state) == ("computing", "current")


def test_change_moves_a_contact_between_segments(segment, add_contact, drain, query, members):
    ana = add_contact(country="ES")
    spanish, others = segment(SPANISH), segment({"not": SPANISH}, "Others")
    drain()
    at_first = now()

    query("update contacts set country = 'PT' where id = %s", ana)
    ran = drain()

    assert set(ran) == {"segments.apply", "coliseum.deliver"}
    assert (members(spanish), members(others)) == (set(), {ana})
    assert (members(spanish, at_first), members(others, at_first)) == ({ana}, set())


def test_scan_makes_its_person_a_member_and_reversal_ends_it(
    segment, add_contact, drain, campaign, fan, members, brand_id
):
    summer, user_id, source = campaign(), fan().user_id, new_id()
    ana = add_contact(user_id=user_id)
    active = segment(scanned())
    drain()

    def record(reverses):
        with transaction(context.for_brand_job(brand_id)):
            engagement_events.record(
                "scan",
                brand_id=brand_id,
                campaign_id=summer.id,
                user_id=user_id,
                source_id=source,
                occurred_at=NIGHT,
                reverses=reverses,
            )
        drain()
        return members(active)

    assert [record(reverses) for reverses in (False, True, False)] == [{ana}, set(), {ana}]


def test_merged_contact_leaves_and_erased_contact_has_no_history(segment, add_contact, drain, query, members):
    ana, eva, leo = (add_contact(country="ES") for _ in range(3))
    spanish = segment(SPANISH)
    drain()

    query("update contacts set merged_into = %s where id = %s", ana, eva)
    query("delete from contacts where id = %s", leo)
    drain()

    assert members(spanish) == {ana}
    kept = query("select contact_id, left_at is null from segment_members order by 2")
    assert kept == [(eva, False), (ana, True)]


def test_broken_segment_stops_no_other_and_keeps_its_members(
    segment, add_contact, drain, query, members, state, brand_id
):
    query("insert into contact_properties (brand_id, key, type, label) values (%s, 'vip', 'boolean', 'VIP')", brand_id)
    ana = add_contact(country="ES", properties='{"vip": true}')
    vips = segment(profile("properties.vip", "eq", True), "VIPs")
    spanish = segment(SPANISH)
    drain()

    query("update contact_properties set archived_at = now()")
    drain()
    broken = state(vips)
    query("""update contacts set country = 'PT', properties = '{}'""")
    drain()
    frozen = members(vips)
    query("update contact_properties set archived_at = null")
    drain()

    assert (broken.state, state(spanish).state) == ("broken", "current")
    assert broken.problem.startswith("definition.profile.field: must be a field of contacts")
    assert (frozen, members(spanish)) == ({ana}, set())
    assert (state(vips).state, members(vips)) == ("current", set())


def test_slow_segment_is_broken_and_the_next_one_is_applied(
    segment, add_contact, apply, drain, monkeypatch, state, members
):
    slow, spanish = segment(profile("country", "eq", "PT"), "Slow"), segment(SPANISH)
    drain()
    compiled = compiler.compile

    def delayed(definition, found):
        made = compiled(definition, found)
        if found.segment_id == slow:
            made = replace(made, sql=f"SELECT contact_id FROM ({made.sql}) s, pg_sleep(60)")
        return made

    monkeypatch.setattr(compiler, "compile", delayed)
    monkeypatch.setattr(membership, "EVALUATION_LIMIT", 0.05)
    ana = add_contact(country="ES")
    add_contact(country="PT")
    apply()

    assert (state(slow).state, state(slow).problem) == ("broken", "takes too long to evaluate")
    assert members(spanish) == {ana}


def test_interrupted_application_loses_no_change(segment, add_contact, drain, apply, members, monkeypatch, query):
    spanish = segment(SPANISH)
    drain()
    ana = add_contact(country="ES")

    def fail(*args):
        raise InterruptedError

    with monkeypatch.context() as patched:
        patched.setattr(membership, "_publish", fail)
        with pytest.raises(InterruptedError):
            apply()
    before = members(spanish)
    apply()

    assert (before, members(spanish)) == (set(), {ana})
    assert query("select * from app.segment_changes") == []


def test_time_moves_members_after_the_midnight_of_the_brand(
    segment, add_contact, campaign, fan, drain, apply, recompute, members, brand_id
):
    summer, user_id = campaign(), fan().user_id
    ana = add_contact(user_id=user_id)
    today = segment(scanned(days=0))
    drain()
    with transaction(context.for_brand_job(brand_id)):
        engagement_events.record(
            *("scan",),
            brand_id=brand_id,
            campaign_id=summer.id,
            user_id=user_id,
            source_id=new_id(),
            occurred_at=NIGHT,
        )
    apply(NIGHT)
    evening = members(today)

    recompute(today, NIGHT + timedelta(hours=1))

    assert (evening, members(today)) == ({ana}, set())


def test_segments_with_windows_are_due_each_hour_and_at_midnight(segment, drain, query):
    today, _ = segment(scanned(days=0)), segment(SPANISH, "Spanish")
    drain()

    def due(zone, tried, at):
        query("update brands set settings = jsonb_build_object('timezone', %s::text)", zone)
        query("update segment_states set tried_at = %s", NIGHT.replace(hour=18, minute=tried))
        with transaction(context.for_system_job()):
            recomputation.enqueue_due(NIGHT.replace(hour=18, minute=0) + timedelta(minutes=at))
        return [
            UUID(id) for (id,) in query("with gone as (delete from app.jobs returning *) select subject_id from gone")
        ]

    assert due("UTC", tried=10, at=40) == []
    assert due("UTC", tried=10, at=65) == [today]
    # It is midnight in India at 18:30 in UTC.
    assert due("Asia/Kolkata", tried=10, at=40) == [today]
    assert due("Asia/Kolkata", tried=31, at=40) == []


def test_new_definition_recomputes_the_segments_that_refer_to_it(segment, add_contact, drain, manager, members):
    ana, eva = add_contact(country="ES"), add_contact(country="PT")
    spanish = segment(SPANISH)
    outer = segment({"segment": {"segment_id": str(spanish)}}, "Outer")
    drain()
    before = members(outer)

    with manager.acting():
        found = segments.get_for_update(spanish)
        segments.replace(found, name="Segment", definition=dsl.load(profile("country", "eq", "PT")), description=None)
    drain()

    assert (before, members(spanish), members(outer)) == ({ana}, {eva}, {eva})


def test_members_of_archived_segment_leave(segment, add_contact, drain, manager, query):
    ana = add_contact(country="ES")
    spanish = segment(SPANISH)
    drain()

    with manager.acting():
        segments.archive(segments.get_for_update(spanish))
    drain()

    assert query("select contact_id from segment_members where left_at is not null") == [(ana,)]


def test_ended_memberships_expire_after_the_history(segment, add_contact, drain, query):
    ana, eva = add_contact(country="ES"), add_contact(country="ES")
    segment(SPANISH)
    drain()
    query("update contacts set country = 'PT'")
    drain()
    old = membership_history.HISTORY + timedelta(days=1)
    query(
        "update segment_members set entered_at = entered_at - %s, left_at = left_at - %s where contact_id = %s",
        old,
        old,
        ana,
    )

    with transaction(context.for_system_job()):
        membership_history.expire()

    assert query("select contact_id from segment_members") == [(eva,)]


def test_entering_and_leaving_are_published_with_their_contacts(
    segment, add_contact, apply, drain, query, subscribe, monkeypatch
):
    monkeypatch.setattr(membership, "EVENT_CONTACTS", 2)
    spanish = segment(SPANISH)
    drain()
    subscribe(event_types=["segment.entered", "segment.left"])

    people = {add_contact(country="ES") for _ in range(3)}
    apply()
    query("update contacts set country = 'PT'")
    apply()

    payloads = [json.loads(payload) for (payload,) in query("select payload from app.webhook_outbox order by event_id")]
    sizes = [(one["type"], len(one["data"]["contact_ids"])) for one in payloads]
    assert sizes == [(event, size) for event in ("segment.entered", "segment.left") for size in (2, 1)]
    assert {one["data"]["segment_id"] for one in payloads} == {str(spanish)}
    assert {UUID(id) for one in payloads[:2] for id in one["data"]["contact_ids"]} == people


def test_members_and_counts_of_a_time_are_read_from_the_history(segment, add_contact, drain, query, manager):
    ana, eva = sorted(add_contact(country="ES") for _ in range(2))
    spanish = segment(SPANISH)
    drain()
    at_first = now()
    query("update contacts set country = 'PT' where id = %s", ana)
    drain()

    with manager.acting():
        present = membership_history.members(spanish, limit=10)
        past = [contact for contact, _ in membership_history.members(spanish, limit=10, at=at_first)]
        second_page = [contact for contact, _ in membership_history.members(spanish, limit=10, after=ana, at=at_first)]
        since = membership_history.last_membership(spanish, eva)
        ended = membership_history.last_membership(spanish, ana)

    assert present == [(eva, since[0])]
    assert (past, second_page) == ([ana, eva], [eva])
    assert (since[1], ended[0]) == (None, None)
    assert ended[1] is not None


@pytest.mark.parametrize("interval", ["hour", "day", "week", "month"])
def test_counts_over_time_agree_with_the_memberships(segment, add_contact, drain, query, manager, interval):
    """The clock of New York moves in this time, and months have different lengths."""
    spanish, contacts = segment(SPANISH), [add_contact(country="ES") for _ in range(4)]
    segment(profile("country", "in", ["ES"]), "Other")
    drain()
    query("delete from segment_members where segment_id = %s", spanish)
    query("update segment_members set entered_at = now() - interval '20 days', left_at = now() - interval '10 days'")
    stays = [(0, 1, 30), (1, 1, None), (2, 40, 41), (2, 50, None), (3, 3, 3)]
    for contact, entered, left in stays:
        query(
            "insert into segment_members (brand_id, segment_id, contact_id, entered_at, left_at)"
            " select brand_id, %s, id, now() - make_interval(days => %s), now() - make_interval(days => %s)"
            " from contacts where id = %s",
            *(spanish, 60 - entered, None if left is None else 60 - left, contacts[contact]),
        )
    today = datetime.now(ZoneInfo("America/New_York")).date()
    first = today - timedelta(days=20 if interval == "hour" else 65)

    with manager.acting():
        found = membership_history.counts(spanish, first, today, interval, "America/New_York")
    stored = query("select entered_at, left_at from segment_members where segment_id = %s", spanish)

    assert [one.start for one in found[1:]] == [one.at for one in found[:-1]]
    for one in found:
        assert one.members == sum(a <= one.at and (b is None or b > one.at) for a, b in stored)
        assert one.entered == sum(one.start < a <= one.at for a, _ in stored)
        assert one.left == sum(b is not None and one.start < b <= one.at for _, b in stored)
    assert found[-1].members == 2
    locals_ = [one.start.astimezone(ZoneInfo("America/New_York")) for one in found]
    assert interval == "hour" or all((one.hour, one.minute) == (0, 0) for one in locals_)


def test_numbers_of_moves_wait_for_coliseum(segment, add_contact, apply, drain, query):
    segment(SPANISH)
    drain()
    for country in ("ES", "PT"):
        add_contact(country=country)
        apply()
    query("update contacts set country = 'PT'")
    apply()

    assert query("select entered, gone from app.segment_outbox order by event_id") == [(1, 0), (0, 1)]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (membership, "_apply_within_limit"),
        (membership, "_publish"),
        (recomputation, "begin"),
        (recomputation, "finish"),
    ],
)
def test_killed_computation_is_repeated_and_members_counted_once(
    segment, add_contact, drain, drain_with_kill, members, query, monkeypatch, place, name
):
    monkeypatch.setattr(recomputation, "STEP", 2)
    people = {add_contact(country="ES") for _ in range(3)}
    drain()
    spanish = segment(SPANISH)
    people.add(add_contact(country="ES"))

    drain_with_kill(lambda: kills.kill_after(place, name))

    assert drain_with_kill.has_killed
    assert members(spanish) == people
    assert query("select entered, gone from coliseum_segments") == [(4, 0)]
    assert query("select count(*) from app.segment_changes") == [(0,)]


@pytest.mark.parametrize("name", ["_apply_within_limit", "_publish"])
def test_killed_job_of_changes_loses_no_change(segment, add_contact, ledger, drain, members, query, name):
    spanish = segment(SPANISH)
    drain()
    people = {add_contact(country="ES") for _ in range(3)}
    query("update app.jobs set due_at = now()")
    take(ledger, "segments.apply")
    ((job_id,),) = query("select id from app.jobs where actor = 'segments.apply'")
    (claim,) = ledger.claim([job_id], kills.WORKER)

    assert kills.is_killed(claim, lambda: kills.kill_after(membership, name))
    ledger.release([job_id], kills.WORKER)
    drain()

    assert members(spanish) == people
    assert query("select entered, gone from coliseum_segments") == [(3, 0)]
