"""Test the deletion of expired rows of accounts, as a job."""

from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue


def test_expired_rows_are_deleted_by_a_job(client, drain, mailbox, superuser, query):
    client.post("/api/v1/auth/signup", json={"email": "ana@example.com", "password": "una clave muy larga"})
    superuser.cursor().execute("update app.signups set expires_at = now()")
    with transaction(context.for_system_job()):
        enqueue("accounts.expire")

    assert "accounts.expire" in drain()

    assert query("select count(*) from app.signups") == [(0,)]
    assert mailbox.messages == []
