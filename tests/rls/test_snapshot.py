"""Grants and policies equal the reviewed `grants.txt`, so that each change shows in a review."""

import difflib
from pathlib import Path

import pytest
from psycopg2 import sql

from tests.rls import rows, snapshot
from tests.rls.shapes import Shape
from tests.rls.world import OF_ROLE


def differences(taken: str) -> str:
    """Return the difference from `grants.txt`."""
    meant = snapshot.FILE.read_text().splitlines()
    return "\n".join(difflib.unified_diff(meant, taken.splitlines(), "grants.txt", "the database", lineterm="", n=1))


@pytest.fixture
def text(request: pytest.FixtureRequest, shape: Shape) -> str:
    with shape.undone() as cur:
        taken = snapshot.take(cur)
    if request.config.getoption("--renew-grants") and shape.name == "bare":
        snapshot.FILE.write_text(taken)
    return taken


def test_grants_and_policies_equal_grants_txt_in_every_shape(text: str) -> None:
    changed = differences(text)
    assert not changed, f"If this is intended: {snapshot.RENEW}\n{changed}"


@pytest.mark.parametrize("role", [*OF_ROLE, "anon", "public"])
def test_grant_on_any_table_shows_in_snapshot(role: str, bare: Shape) -> None:
    with bare.undone() as cur:
        before = snapshot.take(cur).splitlines()
        tables = [table for table in rows.tables(cur) if not (table.is_partition and table.name[-1].isdigit())]
        for table in tables:
            cur.execute(sql.SQL("grant trigger on {} to {}").format(table.identifier, sql.SQL(role)))
        after = snapshot.take(cur).splitlines()
        assert len([line for line in after if "trigger" in line]) == len(tables)
        assert not [line for line in before if line.startswith("  ") and "trigger" in line]


MUTATIONS: dict[str, str] = {
    "a policy's predicate": "alter policy authenticated_select on public.campaigns using (true)",
    "a policy's role": "alter policy authenticated_select on public.campaigns to app_fan",
    "a dropped policy": "drop policy authenticated_select on public.campaigns",
    "a column's grant": "grant select (password_hash) on public.users to authenticated",
    "a revoked grant": "revoke select on public.campaigns from authenticated",
    "a function's grant": "grant execute on function app.rotate_job_history(int, interval) to app_fan",
    "a function's rights": "alter function app.brand_for(text) security invoker",
    "a sequence's grant": "grant usage on sequence app.worker_ids to app_fan",
    "a membership": "grant app_system to app_web",
    "a login's inheritance": "alter role app_web inherit",
    "a schema's grant": "grant create on schema app to app_fan",
}


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_each_kind_of_change_shows_in_snapshot(mutation: str, bare: Shape) -> None:
    with bare.undone() as cur:
        before = snapshot.take(cur)
        cur.execute(mutation)
        assert snapshot.take(cur) != before


def test_difference_names_lines_and_renewal_command(
    bare: Shape, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meant = tmp_path / "grants.txt"
    meant.write_text("app.claims(): nobody\n")
    monkeypatch.setattr(snapshot, "FILE", meant)
    with bare.undone() as cur, pytest.raises(AssertionError) as failed:
        test_grants_and_policies_equal_grants_txt_in_every_shape(snapshot.take(cur))
    assert snapshot.RENEW in str(failed.value)
    assert "-app.claims(): nobody" in str(failed.value)
    assert "+app.claims(): PUBLIC" in str(failed.value)
