"""Test the upsert of contacts, as a job."""

from models.audiences.contacts import Contact
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue


def test_job_creates_the_contact(campaign, put_scan, fan, member, drain):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    put_scan(summer, fan().user_id)
    with transaction(context.for_brand_job(summer.brand_id)):
        enqueue("contact.upsert", user, unique="while_waiting")

    assert drain() == ["contact.upsert", "segments.apply"]

    with member().acting():
        assert [contact.user_id for contact in Contact.select()] == [user]
