"""Tests of recording: the trail is append-only for every role, and an entry commits with its act."""

import json
from dataclasses import replace

import peewee
import psycopg2
import pytest

from models.audit import chain, trail
from models.core import context
from models.core.database import db, execute, new_id, row, transaction, value
from tests.fixtures.audit import writer

BRAND = writer(new_id())

SEALED = "where seq is not null"
FORBIDDEN = [
    "update public.audit_logs set reason = 'other'",
    f"update public.audit_logs set seq = seq + 1 {SEALED}",
    f"update public.audit_logs set seq = null, mac = null, key_version = null, sealed_at = null {SEALED}",
    "update public.audit_logs set seq = 9, mac = 'x', key_version = 1, action = 'other' where seq is null",
    "update public.audit_logs set sealed_at = now() where seq is null",
    "delete from public.audit_logs",
    "truncate public.audit_logs",
    "truncate public.audit_logs cascade",
    "update app.audit_chains set seq = seq - 1",
    "update app.audit_chains set mac = 'x'",
    "update app.audit_chains set chain_id = gen_random_uuid(), seq = seq + 1",
    "delete from app.audit_chains",
    "truncate app.audit_chains",
    "update app.audit_checkpoints set document = 'x'",
    "update app.audit_checkpoints set stored_at = null",
    "delete from app.audit_checkpoints",
    "truncate app.audit_checkpoints",
]


@pytest.fixture
def recorded_trail(db_clean):
    """Record a sealed and an unsealed entry, and store a checkpoint."""
    from models.audit import checkpoints

    with transaction(BRAND):
        trail.record("sealed.act")
    with transaction(context.for_sealer()):
        chain.seal(BRAND.brand_id)
        checkpoints.mark_stored(checkpoints.create().number)
    with transaction(BRAND):
        trail.record("unsealed.act")


@pytest.mark.parametrize("posing", ["origin", "replica"])
@pytest.mark.parametrize("statement", FORBIDDEN)
def test_superuser_can_not_change_entries_with_triggers(recorded_trail, superuser, always_triggers, statement, posing):
    with superuser.cursor() as cursor:
        cursor.execute(f"set session_replication_role = {posing}")
        try:
            with pytest.raises(psycopg2.Error, match="audit_is_append_only"):
                cursor.execute(statement)
        finally:
            cursor.execute("set session_replication_role = origin")


def test_trail_belongs_to_a_role_without_members_and_rights(database, superuser):
    with superuser.cursor() as cursor:
        cursor.execute(
            """select distinct c.relowner::regrole::text from pg_class c
            where c.oid = any (array['public.audit_logs', 'app.audit_chains', 'app.audit_checkpoints']::regclass[])"""
        )
        assert cursor.fetchall() == [("app_audit_owner",)]
        cursor.execute("select rolcanlogin or rolsuper from pg_roles where rolname = 'app_audit_owner'")
        assert cursor.fetchone() == (False,)
        cursor.execute("select member::regrole::text from pg_auth_members where roleid = 'app_audit_owner'::regrole")
        assert cursor.fetchall() == []
        cursor.execute(
            """select table_name, privilege_type from information_schema.role_table_grants
            where grantee = 'app_audit_owner' and privilege_type <> 'SELECT'"""
        )
        assert cursor.fetchall() == []


def test_migrating_role_can_not_disable_the_triggers(database, superuser):
    with superuser.cursor() as cursor:
        cursor.execute("create role migrating nosuperuser createrole bypassrls")
        try:
            for statement in (
                "alter table public.audit_logs disable trigger append_only_update",
                "drop trigger append_only_update on public.audit_logs",
                "drop table public.audit_logs",
                "alter table public.audit_logs owner to migrating",
                "set session_replication_role = replica",
            ):
                cursor.execute("set role migrating")
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute(statement)
        finally:
            cursor.execute("reset role")
            cursor.execute("drop role migrating")


def record_and_break():
    trail.record("lost.act")
    raise RuntimeError


def entries():
    with transaction(context.for_system_job()):
        return value("SELECT count(*) FROM public.audit_logs")


def test_entry_commits_and_rolls_back_with_its_act(db_clean):
    with pytest.raises(RuntimeError), transaction(BRAND):
        record_and_break()
    assert entries() == 0

    with transaction(BRAND):
        trail.record("done.act")
    assert entries() == 1


def test_rolled_back_savepoint_takes_its_entries_with_it(db_clean):
    with transaction(BRAND):
        trail.record("kept.act")
        with pytest.raises(RuntimeError), db.atomic():
            record_and_break()
        with db.atomic():
            trail.record("kept.too")

    with transaction(context.for_system_job()):
        assert value("SELECT array_agg(action ORDER BY timestamp) FROM public.audit_logs") == ["kept.act", "kept.too"]


def test_failed_entry_rolls_back_its_act(db_clean):
    def act():
        with transaction(context.for_sealer()):
            chain.get_head_for_update(new_id())
            trail.record("odd.act", outcome="no such outcome")

    with pytest.raises(peewee.IntegrityError, match="audit_logs_outcome_check"):
        act()

    with transaction(context.for_system_job()):
        assert value("SELECT count(*) FROM app.audit_chains") == 0


@pytest.mark.parametrize(
    "details", ["[" * 1000 + "]" * 1000, '"' + "x" * 5_000_000 + '"'], ids=["nested without end", "without measure"]
)
def test_details_that_can_not_be_sealed_are_refused(db_clean, details):
    with pytest.raises(peewee.IntegrityError, match="audit_logs_details_bounded"), transaction(BRAND):
        value(
            "select app.record_audit(%s, 'x.y', null, null, null, %s, 'ok', null, null, '', '', '')",
            (new_id(), f'{{"after": {details}}}'),
        )


def test_entry_is_sent_in_one_message_with_the_commit(db_clean, monkeypatch):
    sent = []
    send = db._send
    monkeypatch.setattr(db, "_send", lambda sql, params: (sent.append(sql), send(sql, params))[1])

    with transaction(BRAND):
        execute("SELECT 1")
        trail.record("one.act")
        trail.record("other.act")

    assert len(sent) == 2
    assert (sent[1].count("app.record_audit"), sent[1].endswith("; COMMIT")) == (2, True)


def test_member_writes_into_the_own_chain_only(db_clean):
    other = new_id()

    with transaction(BRAND):
        trail.record("own.act", brand_id=other)

    with transaction(context.for_system_job()):
        assert value("SELECT brand_id FROM public.audit_logs") == BRAND.brand_id


def recorded():
    with transaction(context.for_system_job()):
        return row("SELECT user_id, session_id, actor_role, brand_id, job_id FROM public.audit_logs")


def test_entry_of_a_member_has_person_session_role_and_brand(db_clean):
    person, session = new_id(), new_id()
    claims = {**BRAND.claims, "sub": str(person), "session_id": str(session)}

    with transaction(replace(BRAND, claims=claims)):
        trail.record("own.act")

    assert recorded() == {
        "user_id": person,
        "session_id": session,
        "actor_role": "Brand Admin",
        "brand_id": BRAND.brand_id,
        "job_id": None,
    }


def test_system_admin_writes_into_the_chain_of_any_brand(db_clean):
    with transaction(writer(None)):
        trail.record("own.act", brand_id=BRAND.brand_id)

    assert recorded()["brand_id"] == BRAND.brand_id


@pytest.mark.parametrize("person", [None, new_id()], ids=["of the claims", "of the argument"])
def test_entry_of_a_definer_function_has_its_person(db_clean, superuser, person):
    caller, session, job = new_id(), new_id(), new_id()
    claims = {"sub": caller, "session_id": session, "job_id": job, "app_metadata": {"user_role": "System Admin"}}
    with superuser.cursor() as cursor:
        cursor.execute("select set_config('request.jwt.claims', %s, false)", (json.dumps(claims, default=str),))
        try:
            cursor.execute(
                "select app.add_audit(null, 'x.y', null, null, null, null, p_brand_id => %s, p_user_id => %s)",
                (BRAND.brand_id, person),
            )
        finally:
            cursor.execute("select set_config('request.jwt.claims', '', false)")

    assert recorded() == {
        "user_id": person or caller,
        "session_id": session,
        "actor_role": "System Admin",
        "brand_id": BRAND.brand_id,
        "job_id": job,
    }
