"""What the trail has kept for long enough goes; the rest is verified as before, and from where it is held is said."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg2
import pytest

from jobs.audit import maintenance
from jobs.audit.stores.by_url import store_at
from models.audit import chain, checkpoints, retention
from models.audit import trail as audit
from models.core import context
from models.core.database import new_id, now, transaction, value
from scripts.commands.audit import commands
from settings import settings
from tests.fixtures.audit import seal, writer

ACME, OTHER = new_id(), new_id()
LONG_AGO = timedelta(days=366 * 8)
OLD = """
    insert into public.audit_logs (action, brand_id, timestamp, details)
    select 'old.act', %s, now() - %s - make_interval(secs => 100 - n), jsonb_build_object('n', n)
    from generate_series(1, %s) n
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where checkpoints go."""
    url = f"file://{tmp_path / 'checkpoints'}"
    monkeypatch.setattr(commands, "settings", replace(settings, audit_checkpoint_url=url))
    monkeypatch.setattr(checkpoints, "create", partial(checkpoints.create, min_age=timedelta()))
    return tmp_path / "checkpoints"


def record(brand_id, times):
    with transaction(writer(brand_id)):
        for _ in range(times):
            audit.record("new.act")
    seal(brand_id)


@pytest.fixture
def trail(db_clean, superuser, folder):
    """Eight entries of a brand from long ago and four of today, two of another's of today; a checkpoint of before."""
    with superuser.cursor() as cursor:
        cursor.execute(OLD, (ACME, LONG_AGO, 8))
    seal(ACME)
    maintenance.store_checkpoint(f"file://{folder}")
    record(ACME, 4)
    record(OTHER, 2)


@pytest.fixture
def prune(folder):
    """Drop what is outdated, and seal what is recorded of that; returns the number of runs."""

    def prune(years=7):
        runs = 1
        while maintenance.delete_expired(f"file://{folder}", years):
            runs += 1
        seal(ACME, OTHER, None)
        return runs

    return prune


@pytest.fixture
def verify(monkeypatch):
    """`./scripts/audit verify --json …`: (what is wrong, notes)."""
    said = []
    monkeypatch.setattr(commands, "say", said.append)

    def verify(*arguments):
        status = commands.main(["verify", "--json", *map(str, arguments)])
        report = json.loads(said.pop())
        assert status == (0 if report["intact"] else 1)
        return [(fault["chain"], fault["seq"]) for fault in report["faults"]], report["notes"]

    return verify


def held(brand_id):
    with transaction(context.for_system_job()):
        return [entry["seq"] for entry in chain.sealed_entries(brand_id)]


def test_what_is_old_enough_goes_and_the_rest_is_whole_and_says_from_where(trail, prune, verify, folder):
    prune()

    assert held(ACME) == [9, 10, 11, 12, 13]
    assert held(OTHER) == [1, 2]
    faults, notes = verify()
    assert faults == []
    assert notes == [f"brand {ACME} starts at 9, as checkpoint 2 of {_taken(folder, 2)} says"]


def _taken(folder, number):
    public = checkpoints.public_keys(checkpoints.public_key_set())
    return checkpoints.verify_document(store_at(f"file://{folder}").get(number), public)["at"][:19]


def test_that_it_went_is_in_the_chain_that_it_went_from(trail, prune):
    prune()

    with transaction(context.for_system_job()):
        entry = chain.sealed_entries(ACME)[-1]
    assert (entry["action"], entry["brand_id"], entry["actor_role"]) == ("audit.prune", ACME, "app_sealer")
    assert entry["details"]["before"] == {"held_after": 0}
    assert {name: entry["details"]["after"][name] for name in ("held_after", "entries")} == {
        "held_after": 8,
        "entries": 8,
    }


def test_nothing_goes_twice_and_nothing_where_nothing_is_old(trail, prune, folder):
    prune()
    stored = len(list(folder.iterdir()))
    prune()

    assert held(ACME) == [9, 10, 11, 12, 13]
    assert len(list(folder.iterdir())) == stored


def test_with_0_years_everything_is_kept(trail, prune):
    prune(years=0)

    assert held(ACME) == list(range(1, 13))


def test_what_takes_more_than_one_run_is_finished_by_the_next(trail, prune, verify, monkeypatch):
    monkeypatch.setattr(retention, "MAX_PER_RUN", 3)
    monkeypatch.setattr(retention, "BATCH", 2)

    assert prune() == 3

    assert held(ACME)[0] == 9
    assert verify()[0] == []


def test_a_chain_whose_entries_all_went_is_held_from_the_next_one(db_clean, superuser, folder, prune, verify):
    with superuser.cursor() as cursor:
        cursor.execute(OLD, (ACME, LONG_AGO, 3))
    seal(ACME)
    prune()

    assert held(ACME) == [4]
    assert verify()[0] == []


def test_what_could_not_be_stored_keeps_the_entries_here(trail, prune, folder, verify):
    shutil.move(folder, folder.with_name("kept"))
    folder.write_text("no folder")
    with pytest.raises(OSError, match="checkpoints"):
        prune()
    assert held(ACME)[0] == 1

    folder.unlink()
    shutil.move(folder.with_name("kept"), folder)
    prune()

    assert held(ACME)[0] == 9
    assert verify()[0] == []


def tamper(superuser, *statements):
    with superuser.cursor() as cursor:
        for table in ("public.audit_logs", "app.audit_chains", "app.audit_starts"):
            cursor.execute(f"alter table {table} disable trigger all")
        for statement in statements:
            cursor.execute(statement, {"brand": ACME})
        for table in ("public.audit_logs", "app.audit_chains", "app.audit_starts"):
            cursor.execute(f"alter table {table} enable trigger all")


FORGED = "insert into public.audit_logs (action, brand_id, seq, mac, key_version, sealed_at)"
CUT = "delete from public.audit_logs where brand_id = %(brand)s and seq <= "


@pytest.mark.parametrize(("before", "upto", "found"), [(True, 5, 1), (True, 8, 1), (False, 11, 9)])
def test_whoever_cuts_more_off_the_front_is_found_out(trail, prune, verify, superuser, before, upto, found):
    if not before:
        prune()
    tamper(superuser, f"{CUT}{upto}")

    assert verify()[0][0] == (f"brand {ACME}", found)


def test_a_start_that_somebody_wrote_into_the_database_is_none(trail, prune, verify, superuser, folder):
    forged = "insert into app.audit_starts select brand_id, seq, mac, 1 from public.audit_logs where seq = 10"
    tamper(superuser, forged, f"{CUT}10")
    maintenance.store_checkpoint(f"file://{folder}")  # which doesn't say so either

    assert verify()[0][0] == (f"brand {ACME}", 1)


def test_entries_that_were_made_old_don_t_go(trail, prune, superuser, caplog):
    tamper(superuser, "update public.audit_logs set timestamp = timestamp - interval '9 years' where seq = 10")

    with pytest.raises(maintenance.BrokenChain):
        prune()

    assert held(ACME)[0] == 1
    assert "audit entry 10 of chain" in caplog.text


@pytest.fixture
def half_pruned(trail, prune, monkeypatch):
    """Of the eight that may go, three have gone."""
    with monkeypatch.context() as patch:
        patch.setattr(retention, "BATCH", 3)
        patch.setattr(maintenance, "delete_announced", lambda: None)
        prune()
        with transaction(context.for_sealer()):
            number, starts = checkpoints.newest_stored()
            retention.begin_chain_after(ACME, starts[ACME], number)
            assert retention.delete_expired(ACME) == 3


def test_while_entries_are_going_the_chain_is_whole_from_where_the_checkpoint_says(half_pruned, verify):
    assert held(ACME)[:6] == [4, 5, 6, 7, 8, 9]

    faults, notes = verify()

    assert faults == []
    assert notes[0].endswith("; 5 older entries are not deleted yet")


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("update public.audit_logs set reason = 'x' where brand_id = %(brand)s and seq = 6", 6),
        ("update public.audit_logs set mac = 'x' where brand_id = %(brand)s and seq = 4", 5),
        ("delete from public.audit_logs where brand_id = %(brand)s and seq = 6", 6),
        ("delete from public.audit_logs where brand_id = %(brand)s and seq = 8", 7),
        (f"{FORGED} values ('old.act', %(brand)s, 2, '', 1, now())", 3),
    ],
    ids=["changed", "its seal changed", "removed", "the last removed", "inserted"],
)
def test_what_has_not_gone_yet_is_as_it_was_sealed(half_pruned, verify, superuser, statement, found):
    tamper(superuser, statement)

    assert verify()[0][0] == (f"brand {ACME}", found)


@pytest.mark.parametrize("seq", [3, 8])
def test_nobody_writes_history_where_it_has_been_dropped(trail, prune, verify, superuser, seq):
    prune()
    tamper(superuser, f"{FORGED} values ('old.act', %(brand)s, {seq}, '', 1, now())")

    assert verify()[0] == [(f"brand {ACME}", seq)]


def test_an_export_from_before_is_verified_whole_and_one_from_after_from_its_start(
    trail, prune, verify, tmp_path, folder
):
    early, late = tmp_path / "early.jsonl", tmp_path / "late.jsonl"
    assert commands.main(["export", str(early), "--brand", str(ACME)]) == 0
    prune()
    assert commands.main(["export", str(late), "--brand", str(ACME)]) == 0

    assert verify(early) == ([], [])
    assert verify(late)[0] == []
    lines = late.read_text().splitlines(keepends=True)
    late.write_text("".join([lines[0], *lines[2:]]))

    assert verify(late)[0][0] == (f"brand {ACME}", 9)


@pytest.mark.parametrize(
    "statement",
    [
        f"{CUT}8",
        "insert into app.audit_starts select brand_id, seq, mac, 1 from public.audit_logs where seq = 8",
        "update app.audit_starts set seq = 12",
        "delete from app.audit_starts",
        "truncate app.audit_starts",
    ],
)
def test_nobody_lets_anything_go_that_no_stored_checkpoint_speaks_of(trail, prune, superuser, statement):
    if "update" in statement or "from app" in statement or "truncate" in statement:
        prune()
    with superuser.cursor() as cursor, pytest.raises(psycopg2.Error, match="audit_is_append_only"):
        cursor.execute(statement, {"brand": ACME})


def test_not_even_a_vouched_start_lets_go_of_what_is_younger_than_a_year(trail, superuser, folder):
    with transaction(context.for_sealer()):
        ends = retention.expired_ends(now(), {})
        retention.announce(ends, {}, now())
    maintenance.store_pending(f"file://{folder}")
    with transaction(context.for_sealer()):
        number, starts = checkpoints.newest_stored()
        retention.begin_chain_after(ACME, starts[ACME], number)
        assert value("SELECT seq FROM app.audit_starts WHERE chain_id = %s", (ACME,)) == 12

    with superuser.cursor() as cursor, pytest.raises(psycopg2.Error, match="audit_is_append_only"):
        cursor.execute("delete from public.audit_logs where brand_id = %s and seq = 12", (ACME,))


def test_years_are_counted_in_days_that_are_never_too_few():
    assert retention.cutoff(0) is None
    cutoff = retention.cutoff(7)
    assert cutoff is not None
    assert datetime.now(UTC) - cutoff > timedelta(days=7 * 365.25)
