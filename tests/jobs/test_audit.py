"""Sealing the audit trail and checkpointing it, as jobs."""

import json
import logging
from dataclasses import replace
from functools import partial

import pytest

import jobs.audit
from jobs.checkpoint_stores import CheckpointConflict, store_at
from models import audit, checkpoints, context, seals
from models.db import new_id, transaction
from models.jobs import enqueue
from settings import settings


def record(brand_id, times=1):
    with transaction(context.for_brand_job(brand_id) if brand_id else context.for_system_job()):
        for _ in range(times):
            audit.record("test.act")


def trail(brand_id):
    with transaction(context.for_system_job()):
        return seals.sealed(brand_id), seals.lock_head(brand_id or seals.PLATFORM)


@pytest.fixture
def seal(drain, ledger):
    """What the clock does four times a second, and what comes of it."""

    def run():
        ledger.enqueue_seals()
        return drain()

    return run


@pytest.mark.parametrize("tenant", [new_id(), None], ids=["a brand", "the platform"])
def test_what_is_recorded_is_sealed_when_the_clock_looks(seal, tenant):
    record(tenant, times=3)

    assert seal() == ["audit.seal"]

    entries, head = trail(tenant)
    assert len(entries) == 3
    assert seals.verify(entries, head=head) is None


def test_every_tenant_with_new_entries_is_sealed_by_a_job_of_its_own(seal, ledger):
    tenants = [new_id(), None, new_id(), new_id()]
    for tenant in tenants:
        record(tenant, times=2)

    assert ledger.enqueue_seals() == 4
    assert seal() == ["audit.seal"] * 4

    assert [len(trail(tenant)[0]) for tenant in tenants] == [2] * 4


def test_one_job_at_a_time_seals_a_tenant(ledger):
    record(new_id())

    assert [ledger.enqueue_seals(), ledger.enqueue_seals()] == [1, 0]


def test_nothing_is_asked_for_where_everything_is_sealed(seal, ledger):
    record(new_id())
    seal()

    assert ledger.enqueue_seals() == 0


def test_a_trail_longer_than_one_job_takes_is_sealed_by_the_next(seal, monkeypatch):
    monkeypatch.setattr(seals, "BATCH", 2)
    monkeypatch.setattr(seals, "seal", partial(seals.seal, limit=2))
    monkeypatch.setattr(jobs.audit, "BATCHES", 2)
    brand_id = new_id()
    record(brand_id, times=9)

    assert [seal(), seal(), seal()] == [["audit.seal"]] * 3

    entries, head = trail(brand_id)
    assert len(entries) == 9
    assert seals.verify(entries, head=head) is None


def sweep():
    with transaction(context.for_system_job()):
        enqueue("audit.sweep")


def test_the_sweep_raises_the_alarm_about_what_lies_unsealed(drain, monkeypatch, caplog):
    brand_id = new_id()
    record(brand_id)
    record(None)
    monkeypatch.setattr(seals, "OVERDUE", 0.0)
    sweep()

    with caplog.at_level(logging.ERROR, "jobs.audit"):
        assert sorted(drain()) == ["audit.seal", "audit.seal", "audit.sweep"]

    assert {said.args[0] for said in caplog.records} == {brand_id, "the platform"}
    assert [len(trail(tenant)[0]) for tenant in (brand_id, None)] == [1, 1]


def test_the_sweep_is_quiet_about_what_has_just_been_written(drain, caplog):
    record(new_id())
    sweep()

    with caplog.at_level(logging.ERROR, "jobs.audit"):
        drain()

    assert caplog.records == []


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A folder that checkpoints go to."""
    url = f"file://{tmp_path / 'checkpoints'}"
    monkeypatch.setattr(jobs.audit, "settings", replace(settings, audit_checkpoint_url=url))
    monkeypatch.setattr(checkpoints, "AT_MOST_EVERY", checkpoints.AT_MOST_EVERY * 0)
    monkeypatch.setattr(checkpoints, "take", partial(checkpoints.take, unless_younger_than=checkpoints.AT_MOST_EVERY))
    return store_at(url)


@pytest.fixture
def checkpoint(drain):
    def run(**options):
        with transaction(context.for_system_job()):
            enqueue("audit.checkpoint")
        return drain(**options)

    return run


def opened(store, number):
    return checkpoints.opened(store.get(number), checkpoints.public_keys(checkpoints.public_key_set()))


def test_a_checkpoint_says_what_every_chains_head_is(seal, checkpoint, store):
    tenants = [new_id(), new_id(), None]
    for tenant in tenants:
        record(tenant, times=2)
    seal()
    record(tenants[0])

    checkpoint()

    (number,) = store.numbers()
    said = opened(store, number)
    heads = {tenant or seals.PLATFORM: trail(tenant)[1] for tenant in tenants}
    assert checkpoints.heads_of(said) == heads
    assert (said["number"], said["previous"], said["unsealed"]) == (1, None, 1)


def test_each_checkpoint_names_the_one_before_by_its_hash(checkpoint, store):
    for _ in range(3):
        checkpoint()

    assert list(store.numbers()) == [1, 2, 3]
    for number in (2, 3):
        assert opened(store, number)["previous"] == checkpoints.digest(store.get(number - 1)).hex()


def test_what_could_not_be_stored_is_stored_by_the_next(checkpoint, store, monkeypatch, tmp_path):
    blocked = tmp_path / "checkpoints"
    blocked.write_text("no folder")
    with pytest.raises(OSError):
        store.put(1, "{}")
    with transaction(context.for_system_job()):
        checkpoints.take()
    blocked.unlink()

    checkpoint()

    assert list(store.numbers()) == [1, 2]


def test_a_checkpoint_is_not_made_twice_by_a_job_that_is_tried_again(db_clean):
    with transaction(context.for_system_job()):
        assert checkpoints.take() is not None
        assert checkpoints.take() is None


def test_a_folder_takes_a_checkpoint_once_and_never_another_in_its_place(tmp_path):
    store = store_at(f"file://{tmp_path}")
    store.put(1, '{"a":1}')
    store.put(1, '{"a":1}')

    with pytest.raises(CheckpointConflict):
        store.put(1, '{"a":2}')

    assert store.get(1) == '{"a":1}'
    assert (tmp_path / "checkpoint-0000000001.json").stat().st_mode & 0o222 == 0


def test_what_a_power_cut_left_half_written_is_completed(tmp_path):
    (tmp_path / "checkpoint-0000000001.json").write_text('{"a"')

    store_at(f"file://{tmp_path}").put(1, '{"a":1}')

    assert store_at(f"file://{tmp_path}").get(1) == '{"a":1}'


def test_a_database_that_was_set_back_can_not_write_over_what_is_stored(checkpoint, store, superuser):
    checkpoint()
    with superuser.cursor() as cursor:
        cursor.execute("alter table app.audit_checkpoints disable trigger all")
        cursor.execute("delete from app.audit_checkpoints")
        cursor.execute("alter table app.audit_checkpoints enable always trigger append_only_delete")
    first = store.get(1)

    assert checkpoint(allow_dead=True)

    assert store.get(1) == first
    with superuser.cursor() as cursor:
        cursor.execute("select error ->> 'kind' from app.dead_jobs union all select error ->> 'kind' from app.jobs")
        assert cursor.fetchall() == [("CheckpointConflict",)]


@pytest.mark.parametrize("change", ["number", "chains", "signature", "key", "spelling"])
def test_a_changed_checkpoint_is_found(db_clean, change):
    public = checkpoints.public_keys(checkpoints.public_key_set())
    document = checkpoints.signed({"number": 1, "chains": []})
    said = json.loads(document)
    if change == "spelling":
        changed = json.dumps(said)
    else:
        said[change] = {"number": 2, "chains": [{"seq": 1}], "signature": "A" * 86, "key": "0" * 16}[change]
        changed = seals.canonical(said)

    assert checkpoints.opened(document, public)["number"] == 1
    with pytest.raises(checkpoints.Unsigned):
        checkpoints.opened(changed, public)
