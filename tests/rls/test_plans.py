"""Plans of frequent queries under the policies: indexes are used and the caller is determined once, not per row."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from models.scans import scoring
from tests.rls import rows
from tests.rls.rows import Party
from tests.rls.shapes import Shape
from tests.rls.world import FAN, JOB, MEMBER, Caller, World

BRANDS, OF_EACH = 30, 30
TABLES = (
    "public.campaigns",
    "public.campaign_versions",
    "public.qr_scans",
    "public.contacts",
    "public.audit_logs",
    "public.consents",
    "public.users",
    "public.rewards",
    "public.check_ins",
    "app.webhook_outbox",
)
HOT: dict[str, tuple[Caller, str]] = {
    "a brand's campaigns": (MEMBER, "select * from public.campaigns order by id desc limit 20"),
    "a page of campaigns, by creation": (
        MEMBER,
        "select * from public.campaigns where (created_at, id) < (now(), %(thing)s)"
        " order by created_at desc, id desc limit 20",
    ),
    "a page of campaigns, by name": (
        MEMBER,
        "select * from public.campaigns where (name collate \"und-x-icu\", id) > ('a', %(thing)s)"
        ' order by name collate "und-x-icu", id limit 20',
    ),
    "a page of campaigns, by start": (
        MEMBER,
        "select * from public.campaigns where (coalesce(starts_at, 'infinity'), id) > (now(), %(thing)s)"
        " order by coalesce(starts_at, 'infinity'), id limit 20",
    ),
    "versions of a campaign": (
        MEMBER,
        "select * from public.campaign_versions where campaign_id = %(thing)s order by version desc limit 20",
    ),
    "one campaign": (MEMBER, "select * from public.campaigns where id = %(thing)s"),
    "a campaign, as a job": (JOB, "select * from public.campaigns where id = %(thing)s"),
    "a campaign's newest scans": (
        MEMBER,
        "select id from public.qr_scans where campaign_id = %(thing)s order by scan_time desc limit 20",
    ),
    "a brand's contacts": (MEMBER, "select * from public.contacts order by id limit 20"),
    "a brand's newest audit entries": (
        MEMBER,
        "select l.id, v.contents from public.audit_logs l left join app.audit_personal_values v using (id)"
        " where seq is not null order by timestamp desc, id desc limit 20",
    ),
    "a brand's unsealed audit entries": (
        MEMBER,
        "select id from public.audit_logs where seq is null order by timestamp desc, id desc limit 20",
    ),
    "audit entries of a user": (
        MEMBER,
        "select id from public.audit_logs where seq is not null and user_id = %(thing)s",
    ),
    "audit entries of a record": (
        MEMBER,
        "select id from public.audit_logs where seq is not null and record_id = %(thing)s",
    ),
    "rewards of a campaign": (
        MEMBER,
        "select * from public.rewards where campaign_id = %(thing)s order by id desc limit 20",
    ),
    "check-ins of an event": (
        MEMBER,
        "select * from public.check_ins where campaign_id = %(thing)s order by id desc limit 20",
    ),
    "the oldest event of an endpoint, as a job": (
        JOB,
        "select event_id from app.webhook_outbox where endpoint_id = %(thing)s and delivered_at is null"
        " order by event_id limit 1",
    ),
    "a fan's consents": (FAN, "select * from public.consents"),
    "a fan's account": (FAN, "select id, name from public.users"),
    "a member's account": (MEMBER, "select id, name from public.users"),
}


SEAL = """
    alter table public.audit_logs disable trigger append_only_update;
    update public.audit_logs l set seq = n.seq, mac = '', key_version = 1
    from (select id, row_number() over (partition by brand_id) as seq from public.audit_logs) as n where n.id = l.id
"""


@pytest.fixture(scope="module")
def world(bare: Shape) -> Iterator[World]:
    """Yield brands with enough rows for realistic plans."""
    with bare.undone() as cur:
        world = World(cur)
        crowded = [table for table in world.tables if table.full_name in TABLES]
        for brand_id in [world.mine.brand_id, *(uuid4() for _ in range(BRANDS))]:
            for _ in range(OF_EACH):
                party = Party(brand_id, uuid4(), uuid4())
                for table in crowded:
                    rows.insert(cur, table, rows.values(table, party))
        cur.execute(SEAL)
        for table in crowded:
            cur.execute(sql.SQL("analyze {}").format(table.identifier))
        yield world


def plan_of(world: World, caller: Caller, query: str) -> dict[str, Any]:
    """Return the executed plan of a caller's query."""
    with world.acting_as(caller):
        world.cur.execute("explain (analyze, format json) " + query, {"thing": str(world.mine.thing_id)})
        (found,) = world.cur.fetchone() or ()
        return found[0]["Plan"]  # type: ignore[no-any-return]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all steps of a plan."""
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize(("caller", "query"), HOT.values(), ids=HOT)
def test_frequent_query_uses_index_and_determines_caller_once(caller: Caller, query: str, world: World) -> None:
    steps = list(nodes(plan_of(world, caller, query)))
    assert [step for step in steps if "Index" in step["Node Type"]], json.dumps(steps[0], indent=1)
    assert not [step for step in steps if step["Node Type"] == "Seq Scan"], json.dumps(steps[0], indent=1)
    asked = [step for step in steps if step.get("Parent Relationship") == "InitPlan"]
    assert asked
    assert {step["Actual Loops"] for step in asked} <= {0, 1}
    assert not [step for step in steps if step.get("Parent Relationship") == "SubPlan"]


SCORING = {
    "the history of scans": (scoring.HISTORY, {"ids": "{%(thing)s}"}),
    "scans affected by a scan": (scoring.AFFECTED, {"id": "%(thing)s"}),
    "scans around a device's day": (scoring.AROUND_DAY["device"], {"subject": "%(thing)s"}),
    "scans around a person's day": (scoring.AROUND_DAY["person"], {"subject": "%(thing)s"}),
}


SCORING_INDEXES = {
    "qr_scans_brand_id_id_key": "id",
    "qr_scans_device": "scan_time",
    "qr_scans_user": "scan_time",
    "qr_scans_new_devices": "received_at",
}
"""The column that a time window bounds, by index."""


@pytest.mark.parametrize(("query", "params"), SCORING.values(), ids=SCORING)
def test_scoring_reads_scans_by_index(query: str, params: dict[str, str], world: World) -> None:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    given = scoring.WINDOWS | dict.fromkeys(("day", "end", "from", "to"), start)
    given |= {name: text % {"thing": world.mine.thing_id} for name, text in params.items()}
    asked = world.cur.mogrify(query, given).decode().replace("%", "%%")

    steps = list(nodes(plan_of(world, JOB, asked)))

    of_scans = [step for step in steps if step.get("Relation Name") == "qr_scans"]
    assert of_scans
    for step in of_scans:
        bound = SCORING_INDEXES.get(step.get("Index Name", ""))
        assert bound, json.dumps(steps[0], indent=1)
        assert bound not in step.get("Filter", ""), "the window must bound the scanned part of the index"


def test_policy_evaluated_per_row_shows_in_plan(world: World) -> None:
    for_every_row = "alter policy authenticated_select on public.campaigns using (brand_id = app.brand_for('a:b'))"
    with world.undone():
        world.cur.execute(for_every_row)
        steps = list(nodes(plan_of(world, MEMBER, "select * from public.campaigns")))
    assert not [step for step in steps if step.get("Parent Relationship") == "InitPlan"]


INLINED = {
    "app.place": "select app.place(lat, 1) from generate_series(1, 2) as lat",
    "app.is_late": "select app.is_late(now() - n * interval '1 d') from generate_series(1, 2) n",
    "app.find_earlier_scan": "select id from app.find_earlier_scan(null, null, null, null)",
    "app.limit_window": "select app.limit_window('day', to_timestamp(n), 'UTC') from generate_series(1, 2) n",
    "app.matching_dead_jobs": "select id from app.matching_dead_jobs(null, null, null, null, null, null)",
    "app.brand_for": "select app.brand_for(name) from public.permissions",
}
"""Helpers that the planner must inline, and one that it can't."""


@pytest.mark.parametrize(("helper", "query"), INLINED.items(), ids=INLINED)
def test_helper_with_standard_body_is_inlined(helper: str, query: str, world: World) -> None:
    world.cur.execute("explain (verbose) " + query)
    plan = "\n".join(line for (line,) in world.cur.fetchall())

    assert (helper in plan) == (helper == "app.brand_for"), plan
