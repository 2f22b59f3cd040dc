"""Test the states of check-ins: each decision is stored once, and an undone check-in stays undone."""

from datetime import timedelta

import pytest

from models.campaigns import check_ins
from models.core import context
from models.core.database import now, transaction


@pytest.fixture
def arrived(campaign, manager):
    """Return a pending check-in at an event."""
    night = campaign("Night", "Event", ends_at=(now() + timedelta(hours=1)).isoformat())
    with manager.acting():
        return check_ins.request(night.id, ticket=None, guest_id=None, people=2, gate=None, scanned_at=None)[0]


def test_late_decision_does_not_change_an_earlier_one(arrived, query):
    states = []
    for change in (check_ins.accept, check_ins.undo, check_ins.accept, lambda id: check_ins.refuse(id, "at_capacity")):
        with transaction(context.for_brand_job(arrived.brand_id)):
            change(arrived.id)
        states += query("select state, refusal from check_ins")

    assert states == [("accepted", None), ("undone", None), ("undone", None), ("undone", None)]
