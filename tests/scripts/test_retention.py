"""Tests of retention: expired entries are deleted, and the rest of the chain stays verifiable."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg2
import pytest

from jobs.audit import maintenance
from jobs.audit.stores.by_url import store_at
from models.audit import chain, checkpoints, retention, trail
from models.core import context
from models.core.database import new_id, now, transaction, value
from models.core.errors import Problem
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
    """Return the folder of the checkpoints."""
    url = f"file://{tmp_path / 'checkpoints'}"
    monkeypatch.setattr(commands, "settings", replace(settings, audit_checkpoint_url=url))
    monkeypatch.setattr(checkpoints, "create", partial(checkpoints.create, min_age=timedelta()))
    return tmp_path / "checkpoints"


def record(brand_id, times):
    with transaction(writer(brand_id)):
        for _ in range(times):
            trail.record("new.act")
    seal(brand_id)


@pytest.fixture
def recorded_trail(db_clean, superuser, folder):
    """Record eight old entries of a brand, store a checkpoint, and record four new ones and two of another brand."""
    with superuser.cursor() as cursor:
        cursor.execute(OLD, (ACME, LONG_AGO, 8))
    seal(ACME)
    maintenance.store_checkpoint(f"file://{folder}")
    record(ACME, 4)
    record(OTHER, 2)


@pytest.fixture
def prune(folder):
    """Return a function that deletes expired entries, seals the new entries and returns the number of runs."""

    def prune(years=7):
        runs = 1
        while maintenance.delete_expired(f"file://{folder}", years):
            runs += 1
        seal(ACME, OTHER, None)
        return runs

    return prune


@pytest.fixture
def verify(monkeypatch):
    """Return a function that runs `./scripts/audit verify --json` and returns the faults and notes."""
    printed = []
    monkeypatch.setattr(commands, "say", printed.append)

    def verify(*arguments):
        status = commands.main(["verify", "--json", *map(str, arguments)])
        report = json.loads(printed.pop())
        assert status == (0 if report["intact"] else 1)
        return [(fault["chain"], fault["seq"]) for fault in report["faults"]], report["notes"]

    return verify


def held(brand_id):
    with transaction(context.for_system_job()):
        return [entry["seq"] for entry in chain.sealed_entries(brand_id)]


def test_expired_entries_are_deleted_and_the_rest_is_intact(recorded_trail, prune, verify, folder):
    prune()

    assert held(ACME) == [9, 10, 11, 12, 13]
    assert held(OTHER) == [1, 2]
    faults, notes = verify()
    assert faults == []
    assert notes == [f"brand {ACME} starts at 9, as checkpoint 2 of {_taken(folder, 2)} says"]


def _taken(folder, number):
    public = checkpoints.public_keys(checkpoints.public_key_set())
    return checkpoints.verify_document(store_at(f"file://{folder}").get(number), public)["at"][:19]


def test_deletion_is_recorded_in_its_chain(recorded_trail, prune):
    prune()

    with transaction(context.for_system_job()):
        entry = chain.sealed_entries(ACME)[-1]
    assert (entry["action"], entry["brand_id"], entry["actor_role"]) == ("audit.prune", ACME, "app_sealer")
    assert entry["details"]["before"] == {"held_after": 0}
    assert {name: entry["details"]["after"][name] for name in ("held_after", "entries")} == {
        "held_after": 8,
        "entries": 8,
    }


def test_second_run_deletes_nothing(recorded_trail, prune, folder):
    prune()
    stored = len(list(folder.iterdir()))
    prune()

    assert held(ACME) == [9, 10, 11, 12, 13]
    assert len(list(folder.iterdir())) == stored


def test_retention_of_0_years_keeps_all_entries(recorded_trail, prune):
    prune(years=0)

    assert held(ACME) == list(range(1, 13))


def test_more_entries_than_one_run_deletes_go_with_the_next(recorded_trail, prune, verify, monkeypatch):
    monkeypatch.setattr(retention, "MAX_PER_RUN", 3)
    monkeypatch.setattr(retention, "BATCH", 2)

    assert prune() == 3

    assert held(ACME)[0] == 9
    assert verify()[0] == []


def test_chain_without_entries_starts_at_the_next_one(db_clean, superuser, folder, prune, verify):
    with superuser.cursor() as cursor:
        cursor.execute(OLD, (ACME, LONG_AGO, 3))
    seal(ACME)
    prune()

    assert held(ACME) == [4]
    assert verify()[0] == []


def test_unstored_checkpoint_keeps_the_entries(recorded_trail, prune, folder, verify):
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
def test_entries_cut_off_at_the_front_are_reported(recorded_trail, prune, verify, superuser, before, upto, found):
    if not before:
        prune()
    tamper(superuser, f"{CUT}{upto}")

    assert verify()[0][0] == (f"brand {ACME}", found)


def test_start_that_was_written_into_the_database_is_ignored(recorded_trail, prune, verify, superuser, folder):
    forged = "insert into app.audit_starts select brand_id, seq, mac, 1 from public.audit_logs where seq = 10"
    tamper(superuser, forged, f"{CUT}10")
    maintenance.store_checkpoint(f"file://{folder}")  # It must not contain the forged start.

    assert verify()[0][0] == (f"brand {ACME}", 1)


def test_entries_with_a_changed_time_are_not_deleted(recorded_trail, prune, superuser, caplog):
    tamper(superuser, "update public.audit_logs set timestamp = timestamp - interval '9 years' where seq = 10")

    with pytest.raises(maintenance.BrokenChain):
        prune()

    assert held(ACME)[0] == 1
    assert "audit entry 10 of chain" in caplog.text


@pytest.fixture
def half_pruned(recorded_trail, prune, monkeypatch):
    """Delete three of the eight released entries."""
    with monkeypatch.context() as patch:
        patch.setattr(retention, "BATCH", 3)
        patch.setattr(maintenance, "delete_announced", lambda: None)
        prune()
        with transaction(context.for_sealer()):
            number, starts = checkpoints.newest_stored()
            retention.begin_chain_after(ACME, starts[ACME], number)
            assert retention.delete_expired(ACME) == 3


def test_chain_is_intact_during_the_deletion(half_pruned, verify):
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
def test_changed_entry_before_the_start_is_reported(half_pruned, verify, superuser, statement, found):
    tamper(superuser, statement)

    assert verify()[0][0] == (f"brand {ACME}", found)


@pytest.mark.parametrize("seq", [3, 8])
def test_entry_written_before_the_start_is_reported(recorded_trail, prune, verify, superuser, seq):
    prune()
    tamper(superuser, f"{FORGED} values ('old.act', %(brand)s, {seq}, '', 1, now())")

    assert verify()[0] == [(f"brand {ACME}", seq)]


def test_exports_from_before_and_after_a_deletion_are_intact(recorded_trail, prune, verify, tmp_path, folder):
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
def test_deletion_without_a_stored_checkpoint_is_refused(recorded_trail, prune, superuser, statement):
    if "update" in statement or "from app" in statement or "truncate" in statement:
        prune()
    with superuser.cursor() as cursor, pytest.raises(psycopg2.Error, match="audit_is_append_only"):
        cursor.execute(statement, {"brand": ACME})


def test_entry_younger_than_a_year_is_not_deleted(recorded_trail, superuser, folder):
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


def test_retention_counts_years_as_366_days():
    assert retention.cutoff(0) is None
    cutoff = retention.cutoff(7)
    assert cutoff is not None
    assert timedelta() <= datetime.now(UTC) - cutoff - timedelta(days=7 * 366 + 1) < timedelta(minutes=1)


def test_start_of_one_chain_does_not_release_another(recorded_trail, prune, superuser):
    with superuser.cursor() as cursor:
        for brand in (OTHER, None):
            cursor.execute(
                "insert into public.audit_logs (action, brand_id, timestamp)"
                " values ('old.act', %s, now() - interval '2 years')",
                (brand,),
            )
    seal(OTHER, None)
    prune()

    for condition in (f"brand_id = '{OTHER}'", "brand_id is null"):
        with superuser.cursor() as cursor, pytest.raises(psycopg2.Error, match="audit_is_append_only"):
            cursor.execute(f"delete from public.audit_logs where {condition} and timestamp < now() - interval '1 year'")


def test_start_must_be_the_one_of_its_stored_checkpoint(recorded_trail, superuser, folder):
    with transaction(context.for_sealer()):
        ends = retention.expired_ends(now(), {})
        retention.announce(ends, {}, now())
    insert = "insert into app.audit_starts values (%s, %s, %s, %s)"
    start = (ACME, ends[ACME].seq, ends[ACME].mac, 2)

    def refuse(*row):
        with superuser.cursor() as cursor, pytest.raises(psycopg2.Error, match="audit_is_append_only"):
            cursor.execute(insert, row)

    refuse(*start)
    maintenance.store_pending(f"file://{folder}")
    refuse(OTHER, *start[1:])
    refuse(ACME, start[1] - 1, *start[2:])
    refuse(ACME, start[1], b"x" * 32, 2)
    refuse(*start[:3], 1)
    with superuser.cursor() as cursor:
        cursor.execute(insert, start)


def test_deleted_entries_take_their_personal_values_with_them(recorded_trail, prune, superuser):
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.audit_personal_values (id, brand_id, contents)"
            " select id, brand_id, '{}' from public.audit_logs where brand_id = %s and seq in (2, 9)",
            (ACME,),
        )

    prune()

    with superuser.cursor() as cursor:
        cursor.execute("select l.seq from app.audit_personal_values v join public.audit_logs l using (id)")
        assert cursor.fetchall() == [(9,)]
        cursor.execute("select count(*) from app.audit_personal_values")
        assert cursor.fetchone() == (1,)


def test_checkpoint_with_another_mac_of_a_start_is_refused(recorded_trail, prune):
    prune()
    with transaction(context.for_sealer()):
        number = checkpoints.last_stored_number()
        document = value("SELECT document FROM app.audit_checkpoints WHERE number = %s", (number,))
    statement = json.loads(document)
    statement |= {"number": number + 1, "previous": checkpoints.digest(document).hex(), "chains": []}
    statement["starts"][0]["mac"] = "00" * 32

    with pytest.raises(Problem) as refusal, transaction(context.for_sealer()):
        value("SELECT app.add_checkpoint(%s, now(), %s)", (number + 1, chain.canonical(statement)))

    assert refusal.value.code == "audit_checkpoint_invalid"


def test_starts_are_carried_on_by_later_checkpoints(recorded_trail, prune):
    prune()

    with transaction(context.for_sealer()):
        number, starts = checkpoints.newest_stored()
        checkpoints.mark_stored(checkpoints.create().number)
        assert checkpoints.newest_stored() == (number + 1, starts)
    assert starts[ACME].seq == 8


def test_start_of_an_unstored_checkpoint_does_not_count(recorded_trail, prune):
    prune()
    with transaction(context.for_sealer()):
        stored = checkpoints.newest_stored()
        heads = checkpoints.heads([ACME])
        checkpoints.create(starts=heads)

        assert checkpoints.newest_stored() == stored


def test_released_entries_are_not_released_again(recorded_trail):
    with transaction(context.for_sealer()):
        ends = retention.expired_ends(retention.cutoff(7), {})

        assert ends[ACME].seq == 8
        assert retention.expired_ends(retention.cutoff(7), ends) == {}


def test_break_at_the_end_of_expired_entries_is_found(recorded_trail):
    with transaction(context.for_sealer()):
        ends = retention.expired_ends(retention.cutoff(7), {})

        assert retention.find_break(ACME, chain.Head(), ends[ACME]) is None
        assert retention.find_break(ACME, chain.Head(), chain.Head(8, b"another")) == 8
        assert retention.find_break(ACME, chain.Head(), chain.Head(20, b"another")) == 13


def test_expired_entries_of_the_platform_are_deleted(recorded_trail, prune, verify, superuser):
    with superuser.cursor() as cursor:
        cursor.execute(OLD, (None, LONG_AGO, 3))
    seal(None)
    record(None, 1)

    prune()

    assert held(None) == [4, 5]
    with transaction(context.for_system_job()):
        assert chain.sealed_entries(None)[-1]["action"] == "audit.prune"
    assert verify()[0] == []
