"""Tests that `docs/growth.md` has a rule for the growth of every table."""

import re

import jobs.actors  # noqa: F401  (declares every actor)
from schedules.table import SCHEDULES
from scripts.devstack.environment import ROOT
from tests.fixtures.queries import Query

TABLE = (ROOT / "docs" / "growth.md").read_text().partition("<!-- growth -->")[2].partition("<!-- /growth -->")[0]
RULES = dict(re.findall(r"^\| `([\w.]+)` \|.*\| ([^|]+) \|$", TABLE, re.MULTILINE))
"""The job that deletes rows of a table, or a dash."""
DROPPED = {"app.job_history", "public.engagement_events"}
"""Tables whose partitions are dropped as a whole."""


def test_growth_page_has_every_table(query: Query) -> None:
    found = query(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname in ('app', 'public') and c.relkind in ('r', 'p') and not c.relispartition"
        " and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')"
    )

    assert {name for (name,) in found} == set(RULES), "add or remove the row of the table in docs/growth.md"


def test_jobs_of_the_growth_page_are_scheduled() -> None:
    named = {rule.strip("`") for rule in RULES.values() if rule.startswith("`")}

    assert named
    assert named <= {schedule.do for schedule in SCHEDULES}


def test_bounded_tables_are_deleted_from() -> None:
    sources = [*(ROOT / "models").rglob("*.sql"), *(ROOT / "models").rglob("*.py")]
    deleted = re.findall(
        r"delete from ([a-z_]+[.][a-z_]+)", " ".join(source.read_text() for source in sources), re.IGNORECASE
    )

    assert {name for name, rule in RULES.items() if rule != "–"} <= {*deleted, *DROPPED}
