"""What of consents runs out, through the ledger."""

import jobs.consents
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue


def test_consents_are_expired_a_batch_a_job(drain, fan, monkeypatch, superuser):
    monkeypatch.setattr(jobs.consents, "BATCH", 2)
    fan("essential", "analytics", "marketing")
    superuser.cursor().execute("update consents set expires_at = now()")
    with transaction(context.for_system_job()):
        enqueue("consents.expire")

    ran = drain()

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from consents where revoked_at is null")
        assert cursor.fetchone() == (0,)
    assert ran == ["consents.expire", "consents.expire"]
