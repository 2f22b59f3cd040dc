"""Test the expiry of consents, as a job."""

import jobs.consents
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue


def test_expiry_closes_one_batch_for_each_job(drain, fan, monkeypatch, query):
    monkeypatch.setattr(jobs.consents, "BATCH", 2)
    fan("essential", "analytics", "marketing")
    query("update consents set expires_at = now()")
    with transaction(context.for_system_job()):
        enqueue("consents.expire")

    ran = drain()

    assert query("select count(*) from consents where revoked_at is null") == [(0,)]
    assert ran.count("consents.expire") == 2
