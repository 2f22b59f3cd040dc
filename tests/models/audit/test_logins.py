"""Tests of the logins of workers and of the seal process: what each can and can't change in the trail."""

from contextlib import contextmanager

import peewee
import pytest

from models.audit import chain, checkpoints, retention, trail
from models.core import context
from models.core.context import Identity
from models.core.database import execute, new_id, row, transaction, value
from models.core.errors import Problem
from models.jobs.ledger import enqueue
from tests.fixtures.audit import seal, writer

BRAND_ID, OTHER, ADMIN = new_id(), new_id(), new_id()
ROLES = ("app_system", "app_job", "app_fan")
FORGED = {
    "sub": str(ADMIN),
    "session_id": str(new_id()),
    "app_metadata": {"brand_id": str(BRAND_ID), "user_role": "Brand Admin"},
}


@contextmanager
def refused(code):
    """Expect a refusal whose code begins with this."""
    with pytest.raises(Problem) as refusal:
        yield
    assert refusal.value.code.startswith(code)


@pytest.fixture
def recorded_trail(db_clean):
    """Record a sealed and an unsealed entry of a brand."""
    with transaction(writer(BRAND_ID)):
        trail.record("sealed.act")
    seal(BRAND_ID)
    with transaction(writer(BRAND_ID)):
        trail.record("unsealed.act")


CHANGES = [
    "update public.audit_logs set seq = 99999, key_version = 1, mac = '\\x00' where seq is null",
    "update app.audit_chains set seq = 100000",
    "insert into app.audit_chains (chain_id, seq) values (gen_random_uuid(), 5)",
    "insert into app.audit_checkpoints (number, at, sha256, document, stored_at) values (9, now(), '', '{}', now())",
    "update app.audit_checkpoints set stored_at = now()",
    "insert into app.audit_starts (chain_id, seq, mac, checkpoint) values (gen_random_uuid(), 1, '', 9)",
    "delete from public.audit_logs",
    "update app.audit_personal_values set contents = '{}'",
    "delete from app.audit_personal_values",
    "insert into public.audit_logs (action) values ('forged.act')",
    "select * from app.get_chain_head_for_update(gen_random_uuid())",
    "select app.seal_entries(gen_random_uuid(), 0, '', 1, now(), '{}', '{}')",
    "select app.add_checkpoint(1, now(), '{}')",
    "select app.mark_checkpoint_stored(1)",
    "select app.begin_chain_after(gen_random_uuid(), 1, '', 1)",
    "select app.delete_expired_entries(gen_random_uuid(), 1)",
    "select app.erase_audit_values(gen_random_uuid())",
]


@pytest.mark.parametrize("statement", CHANGES)
def test_worker_login_changes_nothing_of_the_trail(recorded_trail, statement):
    for role in ROLES:
        with pytest.raises(peewee.ProgrammingError, match="permission denied"), transaction(Identity("worker", role)):
            execute(statement.replace("%", "%%"))


@pytest.mark.parametrize("role", ["app_sealer", "app_admin", "app_audit_definer", "app_audit_owner", "app_definer"])
def test_worker_login_can_not_take_a_sealing_role(recorded_trail, role):
    with pytest.raises(peewee.ProgrammingError, match="permission denied"), transaction(Identity("worker", role)):
        execute("SELECT 1")


def test_only_the_definer_role_updates_seals_and_heads(database, superuser):
    with superuser.cursor() as cursor:
        cursor.execute(
            """
            select distinct r.rolname::text from pg_roles r,
                (values ('public.audit_logs', array['seq', 'key_version', 'mac', 'sealed_at']),
                    ('app.audit_chains', array['seq', 'mac'])) as guarded (relation, columns),
                unnest(columns) as name
            where not r.rolsuper and r.rolname !~ '^pg_' and has_column_privilege(r.oid, relation, name, 'update')
            """
        )
        assert cursor.fetchall() == [("app_audit_definer",)]
        cursor.execute("select member::regrole::text from pg_auth_members where roleid = 'app_audit_definer'::regrole")
        assert cursor.fetchall() == []


def record_as(identity, **options):
    with transaction(identity):
        trail.record("forged.act", **options)


@pytest.mark.parametrize("role", ["app_system", "app_fan"])
def test_worker_login_writes_no_entry_of_a_person_or_of_another_brand(db_clean, role):
    with refused("forbidden"):
        record_as(Identity("worker", role, FORGED), brand_id=OTHER)


def test_brand_job_is_recorded_as_a_job_despite_its_claims(db_clean):
    record_as(Identity("worker", "app_job", FORGED), brand_id=OTHER)

    with transaction(context.for_system_job()):
        entry = row("SELECT brand_id, user_id, session_id, actor_role FROM public.audit_logs")
    assert entry == {"brand_id": BRAND_ID, "user_id": None, "session_id": None, "actor_role": "app_job"}


@pytest.fixture
def running(db_clean, superuser):
    """Start a job of the brand. Return its id."""
    with transaction(context.for_system_job()):
        id = enqueue("test.act", brand_id=BRAND_ID).id
    with superuser.cursor() as cursor:
        cursor.execute(
            "update app.jobs set state = 'running', published_at = now(), worker_id = 1, fence = 1 where id = %s", (id,)
        )
    return id


def test_running_job_of_a_fan_is_recorded_as_a_job(running, superuser):
    with superuser.cursor() as cursor:
        cursor.execute("update app.jobs set user_id = %s, brand_id = null where id = %s", (ADMIN, running))

    record_as(context.for_fan_job(ADMIN, running))

    with transaction(context.for_system_job()):
        entry = row("SELECT brand_id, user_id, job_id, actor_role FROM public.audit_logs")
    assert entry == {"brand_id": None, "user_id": None, "job_id": running, "actor_role": "app_fan"}


def test_running_job_writes_into_the_chain_of_its_brand_only(running):
    record_as(context.for_brand_job(BRAND_ID, running))
    record_as(context.for_system_job(running), brand_id=BRAND_ID)
    for identity in (context.for_brand_job(OTHER, running), context.for_fan_job(ADMIN, running)):
        with refused("forbidden"):
            record_as(identity)
    with refused("forbidden"):
        record_as(context.for_system_job(running), brand_id=OTHER)

    with transaction(context.for_system_job()):
        assert value("SELECT array_agg(DISTINCT brand_id) FROM public.audit_logs WHERE job_id = %s", (running,)) == [
            BRAND_ID
        ]


def test_job_that_is_not_running_writes_no_entry(running, superuser):
    with superuser.cursor() as cursor:
        cursor.execute("update app.jobs set state = 'published', worker_id = null, user_id = %s", (ADMIN,))

    for identity in (context.for_brand_job(BRAND_ID, running), context.for_fan_job(ADMIN, running)):
        with refused("forbidden"):
            record_as(identity)
    with refused("forbidden"):
        record_as(context.for_system_job(running), brand_id=BRAND_ID)


def test_job_of_a_fan_writes_no_entry_for_another_fan(running, superuser):
    with superuser.cursor() as cursor:
        cursor.execute("update app.jobs set user_id = %s, brand_id = null where id = %s", (ADMIN, running))

    with refused("forbidden"):
        record_as(context.for_fan_job(OTHER, running))


MAC = b"m" * 32


def seal_as_sealer(*, after=1, previous=None, chain_id=BRAND_ID, macs=(MAC,), sealed=False):
    with transaction(context.for_sealer()):
        head = chain.get_head_for_update(BRAND_ID)
        ids = [
            value("SELECT id FROM public.audit_logs WHERE seq IS NULL"),
            value("SELECT id FROM public.audit_logs WHERE seq = 1"),
        ]
        chain.get_head_for_update(chain_id)
        execute(
            "SELECT app.seal_entries(%s, %s, %s, 1, now(), %s::uuid[], %s::bytea[])",
            (chain_id, after, head.mac if previous is None else previous, [ids[sealed]], list(macs)),
        )


WRONG = {
    "a gap": ("audit_chain_has_moved", {"after": 9}),
    "another predecessor": ("audit_chain_has_moved", {"previous": b"another"}),
    "another chain": ("audit_entries_differ", {"chain_id": OTHER, "after": 0, "previous": b""}),
    "a short MAC": ("audit_seal_invalid", {"macs": (b"\0",)}),
    "no MAC": ("audit_seal_invalid", {"macs": ()}),
    "a null MAC": ("audit_seal_invalid", {"macs": (None,)}),
    "a sealed entry": ("audit_entries_differ", {"sealed": True}),
}


@pytest.mark.parametrize("how", WRONG)
def test_seal_that_does_not_follow_the_head_is_refused(recorded_trail, how):
    code, arguments = WRONG[how]
    with refused(code):
        seal_as_sealer(**arguments)

    seal_as_sealer()
    with transaction(context.for_sealer()):
        assert chain.get_head_for_update(BRAND_ID) == chain.Head(2, MAC)


def test_checkpoint_out_of_order_is_not_marked_as_stored(recorded_trail):
    with transaction(context.for_sealer()):
        for _ in range(2):
            checkpoints.create(min_age=checkpoints.MIN_INTERVAL * 0)

    def mark(number):
        with transaction(context.for_sealer()):
            checkpoints.mark_stored(number)

    for number in (2, 3, 99999):
        with refused("audit_checkpoint_not_next"):
            mark(number)
    mark(1)
    mark(1)
    mark(2)
    with transaction(context.for_sealer()):
        assert checkpoints.unstored() == []


def test_several_entries_with_a_missing_one_are_not_sealed(recorded_trail):
    with transaction(writer(BRAND_ID)):
        trail.record("unsealed.act")
    with transaction(context.for_sealer()):
        head = chain.get_head_for_update(BRAND_ID)
        ids = value("SELECT array_agg(id) FROM public.audit_logs WHERE seq IS NULL")
    call = "SELECT app.seal_entries(%s, 1, %s, 1, now(), %s::uuid[], %s::bytea[])"

    for wrong, macs, code in (
        ([*ids, new_id()], [MAC] * 3, "audit_entries_differ"),
        ([], [], "audit_seal_invalid"),
        (ids, [MAC], "audit_seal_invalid"),
    ):
        with refused(code), transaction(context.for_sealer()):
            execute(call, (BRAND_ID, head.mac, wrong, macs))
    with transaction(context.for_sealer()):
        execute(call, (BRAND_ID, head.mac, ids, [MAC, MAC]))
        assert chain.get_head_for_update(BRAND_ID) == chain.Head(3, MAC)


def test_checkpoint_names_entries_by_chain_number_and_mac(recorded_trail):
    seal(BRAND_ID)
    with transaction(writer(OTHER)):
        trail.record("other.act")
    seal(OTHER)
    with transaction(context.for_system_job()):
        heads = {entry["seq"]: entry["mac"].hex() for entry in chain.sealed_entries(BRAND_ID)}
    named = {"number": 1, "previous": None, "chains": [], "starts": []}

    for part in ("chains", "starts"):
        for chain_id, seq, mac in ((BRAND_ID, 1, heads[2]), (BRAND_ID, 3, heads[2]), (OTHER, 1, heads[1])):
            document = chain.canonical({**named, part: [{"chain": str(chain_id), "seq": seq, "mac": mac}]})
            with refused("audit_checkpoint_invalid"), transaction(context.for_sealer()):
                value("SELECT app.add_checkpoint(1, now(), %s)", (document,))
    right = chain.canonical({**named, "chains": [{"chain": str(BRAND_ID), "seq": 1, "mac": heads[1]}]})
    with transaction(context.for_sealer()):
        assert not value("SELECT app.add_checkpoint(2, now(), %s)", (right.replace('"number":1', '"number":2'),))
        assert value("SELECT app.add_checkpoint(1, now(), %s)", (right,))
        assert not value("SELECT app.add_checkpoint(1, now(), %s)", (right,))


@pytest.mark.parametrize("change", [{"number": 2}, {"previous": "00"}, {"chains": None}, {"chains": 7}, {"starts": 7}])
def test_checkpoint_that_differs_from_the_chains_is_refused(recorded_trail, change):
    forged = {"chain": str(BRAND_ID), "seq": change.get("chains", change.get("starts")), "mac": "00"}
    said = {"number": 1, "previous": None, "chains": [], "starts": []} | {
        name: [forged] if part == 7 else part for name, part in change.items()
    }

    with refused("audit_checkpoint_invalid"), transaction(context.for_sealer()):
        execute("SELECT app.add_checkpoint(1, now(), %s)", (chain.canonical(said),))


def test_chain_start_after_an_unknown_entry_is_refused(recorded_trail):
    with refused("audit_start_invalid"), transaction(context.for_sealer()):
        retention.begin_chain_after(BRAND_ID, chain.Head(7, MAC), 1)
