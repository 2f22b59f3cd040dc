"""Sealing the audit trail, as a job."""

from functools import partial

import pytest

import jobs.audit
from models import audit, context, seals
from models.db import new_id, transaction
from models.jobs import enqueue


def record(brand_id, times=1):
    with transaction(context.for_brand_job(brand_id) if brand_id else context.for_system_job()):
        for _ in range(times):
            audit.record("test.act")


def trail(brand_id):
    with transaction(context.for_system_job()):
        return seals.sealed(brand_id), seals.lock_head(brand_id or seals.PLATFORM)


@pytest.mark.parametrize("tenant", [new_id(), None], ids=["a brand", "the platform"])
def test_what_is_recorded_is_sealed_by_the_job_that_comes_with_it(drain, tenant):
    record(tenant, times=3)

    assert drain() == ["audit.seal"]

    entries, head = trail(tenant)
    assert len(entries) == 3
    assert seals.verify(entries, head=head) is None


def test_a_trail_longer_than_one_job_takes_is_sealed_by_the_next(drain, monkeypatch):
    monkeypatch.setattr(seals, "BATCH", 2)
    monkeypatch.setattr(seals, "seal", partial(seals.seal, limit=2))
    monkeypatch.setattr(jobs.audit, "BATCHES", 2)
    brand_id = new_id()
    record(brand_id, times=9)

    assert drain() == ["audit.seal"] * 3

    entries, head = trail(brand_id)
    assert len(entries) == 9
    assert seals.verify(entries, head=head) is None


def test_the_sweep_asks_again_for_what_lies_unsealed(drain, superuser, monkeypatch):
    brand_id = new_id()
    record(brand_id)
    record(None)
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")
    monkeypatch.setattr(jobs.audit, "OVERDUE", 0.0)
    with transaction(context.for_system_job()):
        enqueue("audit.sweep")

    assert sorted(drain()) == ["audit.seal", "audit.seal", "audit.sweep"]

    assert [len(trail(tenant)[0]) for tenant in (brand_id, None)] == [1, 1]


def test_the_sweep_leaves_alone_what_has_just_been_written(drain, superuser):
    record(new_id())
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")
    with transaction(context.for_system_job()):
        enqueue("audit.sweep")

    assert drain() == ["audit.sweep"]


def test_a_seal_that_is_asked_for_joins_the_one_that_waits(drain):
    brand_id = new_id()
    record(brand_id)
    with transaction(context.for_system_job()):
        jobs.audit.ask_for_seal(brand_id)

    assert drain() == ["audit.seal"]
