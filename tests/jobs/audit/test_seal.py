"""Tests of sealing, of maintenance with checkpoints, and of the sweep that reports overdue entries."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from jobs.audit import maintenance
from jobs.audit.seal import Maintenance, Sealer
from jobs.audit.stores.base import CheckpointConflict
from jobs.audit.stores.by_url import store_at
from models.audit import chain, checkpoints, trail
from models.core import context
from models.core.database import new_id, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.audit import seal, writer


def record(brand_id, times=1):
    with transaction(writer(brand_id)):
        for _ in range(times):
            trail.record("test.act")


def test_unsealed_chains_are_those_with_unsealed_entries(db_clean):
    brand_ids = sorted(new_id() for _ in range(4))
    for brand_id in [*brand_ids, None]:
        record(brand_id)
    seal(brand_ids[1], brand_ids[3], None)

    with transaction(context.for_sealer()):
        assert chain.unsealed_chains() == [brand_ids[0], brand_ids[2]]


def read_trail_and_head(brand_id):
    with transaction(context.for_sealer()):
        return chain.sealed_entries(brand_id), chain.get_head_for_update(brand_id or chain.PLATFORM)


def test_sealer_seals_the_entries_of_every_tenant(db_clean):
    tenants = [new_id(), None, new_id(), new_id()]
    for tenant in tenants:
        record(tenant, times=2)

    assert not Sealer().step()

    for tenant in tenants:
        entries, head = read_trail_and_head(tenant)
        assert len(entries) == 2
        assert chain.verify(entries, head=head) is None


def test_sealer_seals_many_entries_in_batches(db_clean, monkeypatch):
    monkeypatch.setattr(chain, "BATCH", 2)
    monkeypatch.setattr(chain, "seal", partial(chain.seal, limit=2))
    brand_id, sealer = new_id(), Sealer()
    record(brand_id, times=5)

    assert [sealer.step(), sealer.step(), sealer.step()] == [True, True, False]

    entries, head = read_trail_and_head(brand_id)
    assert len(entries) == 5
    assert chain.verify(entries, head=head) is None


def test_locked_chain_is_left_to_its_sealer(db_clean):
    brand_id = new_id()
    record(brand_id)
    seal(brand_id)
    record(brand_id)

    def seal_beside():
        with transaction(context.for_sealer()):
            return chain.seal(brand_id)

    with ThreadPoolExecutor(1) as pool, transaction(context.for_sealer()):
        assert chain.get_head_for_update(brand_id).seq == 1
        assert pool.submit(seal_beside).result() == 0

    assert seal_beside() == 1


def test_failing_chain_does_not_block_the_others(db_clean, monkeypatch, caplog):
    broken, whole = sorted([new_id(), new_id()])
    record(broken)
    record(whole)
    chained = chain.link

    def fail_for_one(entries, head, at):
        if entries[0]["brand_id"] == broken:
            raise TypeError
        return chained(entries, head, at)

    monkeypatch.setattr(chain, "link", fail_for_one)
    sealer = Sealer()
    sealer.step()
    sealer.step()

    assert [len(read_trail_and_head(tenant)[0]) for tenant in (broken, whole)] == [0, 1]
    assert [said.args for said in caplog.records] == [(broken,)]


def test_failed_maintenance_is_retried_after_a_minute(monkeypatch, caplog):
    asked = []

    def fail(*_):
        asked.append("checkpoint")
        raise OSError("no store")

    monkeypatch.setattr(maintenance, "store_checkpoint", fail)
    monkeypatch.setattr(maintenance, "delete_expired", lambda *_: asked.append("drop"))
    periodic = Maintenance()
    for moment in (1.0, 30.0, 62.0):
        periodic.step(moment)

    assert asked == ["checkpoint", "drop", "checkpoint"]
    assert "no store" in caplog.text


def sweep():
    with transaction(context.for_system_job()):
        enqueue("audit.sweep")


def test_sweep_logs_overdue_entries(drain, monkeypatch, caplog):
    brand_id = new_id()
    record(brand_id)
    record(None)
    monkeypatch.setattr(chain, "OVERDUE", 0.0)
    sweep()

    with caplog.at_level(logging.ERROR, "jobs.audit.actors"):
        assert drain() == ["audit.sweep"]

    assert {said.args[0] for said in caplog.records} == {brand_id, "the platform"}


def test_sweep_does_not_log_new_entries(drain, caplog):
    record(new_id())
    sweep()

    with caplog.at_level(logging.ERROR, "jobs.audit.actors"):
        drain()

    assert caplog.records == []


@pytest.fixture
def store(db_clean, tmp_path, monkeypatch):
    """Return the folder of the checkpoints."""
    url = f"file://{tmp_path / 'checkpoints'}"
    monkeypatch.setattr(checkpoints, "MIN_INTERVAL", checkpoints.MIN_INTERVAL * 0)
    monkeypatch.setattr(checkpoints, "create", partial(checkpoints.create, min_age=checkpoints.MIN_INTERVAL))
    return store_at(url)


@pytest.fixture
def checkpoint(store, tmp_path):
    return partial(maintenance.store_checkpoint, f"file://{tmp_path / 'checkpoints'}")


def opened(store, number):
    return checkpoints.verify_document(store.get(number), checkpoints.public_keys(checkpoints.public_key_set()))


def test_checkpoint_contains_the_heads_of_all_chains(checkpoint, store):
    tenants = [new_id(), new_id(), None]
    for tenant in tenants:
        record(tenant, times=2)
    seal(*tenants)
    record(tenants[0])

    checkpoint()

    (number,) = store.numbers()
    said = opened(store, number)
    heads = {tenant or chain.PLATFORM: read_trail_and_head(tenant)[1] for tenant in tenants}
    assert checkpoints.heads_of(said) == heads
    assert (said["number"], said["previous"], said["unsealed"]) == (1, None, 1)


def test_checkpoint_names_the_one_before_by_its_hash(checkpoint, store):
    for _ in range(3):
        checkpoint()

    assert list(store.numbers()) == [1, 2, 3]
    for number in (2, 3):
        assert opened(store, number)["previous"] == checkpoints.digest(store.get(number - 1)).hex()


def test_unstored_checkpoint_is_stored_with_the_next(checkpoint, store, monkeypatch, tmp_path):
    blocked = tmp_path / "checkpoints"
    blocked.write_text("no folder")
    with pytest.raises(OSError):
        store.put(1, "{}")
    with transaction(context.for_sealer()):
        checkpoints.create()
    blocked.unlink()

    checkpoint()

    assert list(store.numbers()) == [1, 2]


def test_retried_maintenance_creates_no_second_checkpoint(db_clean):
    with transaction(context.for_sealer()):
        assert checkpoints.create() is not None
        assert checkpoints.create() is None


def test_folder_stores_a_checkpoint_once(tmp_path):
    store = store_at(f"file://{tmp_path}")
    store.put(1, '{"a":1}')
    store.put(1, '{"a":1}')

    with pytest.raises(CheckpointConflict):
        store.put(1, '{"a":2}')

    assert store.get(1) == '{"a":1}'
    assert (tmp_path / "checkpoint-0000000001.json").stat().st_mode & 0o222 == 0


def test_database_that_was_set_back_gets_a_conflict(checkpoint, store, superuser):
    checkpoint()
    with superuser.cursor() as cursor:
        cursor.execute("alter table app.audit_checkpoints disable trigger all")
        cursor.execute("delete from app.audit_checkpoints")
        cursor.execute("alter table app.audit_checkpoints enable trigger all")
    first = store.get(1)

    with pytest.raises(CheckpointConflict):
        checkpoint()

    assert store.get(1) == first


@pytest.mark.parametrize("change", ["number", "chains", "signature", "key", "spelling"])
def test_changed_checkpoint_is_refused(db_clean, change):
    public = checkpoints.public_keys(checkpoints.public_key_set())
    document = checkpoints.sign({"number": 1, "chains": []})
    said = json.loads(document)
    if change == "spelling":
        changed = json.dumps(said)
    else:
        said[change] = {"number": 2, "chains": [{"seq": 1}], "signature": "A" * 86, "key": "0" * 16}[change]
        changed = chain.canonical(said)

    assert checkpoints.verify_document(document, public)["number"] == 1
    with pytest.raises(checkpoints.InvalidSignedDocument):
        checkpoints.verify_document(changed, public)
