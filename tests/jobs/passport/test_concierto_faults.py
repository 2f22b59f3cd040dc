"""Jobs of events over HTTP while Concierto fails: nothing is lost, and each effect happens once."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection

from models.campaigns import campaigns, check_ins, guests, launch
from models.campaigns.campaigns import Campaign
from models.campaigns.guests import Invitation
from models.core import context
from models.core.database import now, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.accounts import Account
from tests.fixtures.campaigns import MakeCampaign
from tests.fixtures.jobs import Drain
from tests.fixtures.queries import Query
from tests.support.counterparts import Counterpart

COUNTERPART = "concierto"


@pytest.fixture
def night(campaign: MakeCampaign, superuser: connection) -> Campaign:
    """Return an active event with two places, which Concierto does not know yet."""
    made = campaign("Night", "Event", ends_at=(now() + timedelta(hours=1)).isoformat())
    plan = {"event": {"admission": "open", "capacity": 2, "doors_open_at": None}}
    with superuser.cursor() as cursor:
        cursor.execute("update public.campaigns set config = config || %s where id = %s", (json.dumps(plan), made.id))
    return made


@pytest.fixture
def publish(night: Campaign, drain: Drain) -> Callable[[], None]:
    """`publish()`: publish the event."""

    def run() -> None:
        with transaction(context.for_brand_job(night.brand_id)):
            enqueue("event.publish", night.id)
        drain()

    return run


def _arrive(night: Campaign, manager: Account, **arrival: Any) -> UUID:
    with manager.acting():
        usual: dict[str, Any] = {"ticket": None, "guest_id": None, "people": 1, "gate": None, "scanned_at": None}
        id: UUID = check_ins.request(night.id, **{**usual, **arrival})[0].id
        return id


def test_check_in_while_concierto_fails_counts_later_and_once(
    over_http: Counterpart, night: Campaign, publish: Any, manager: Account, drain: Drain, query: Query
) -> None:
    publish()
    over_http.fail("drop_after", times=2)
    _arrive(night, manager)

    ran = drain()

    assert ran.count("check_in.decide") == 3
    assert over_http.counts()["effects"] == {"publish": 1, "check_in": 1}
    assert query("select state from check_ins") == [("accepted",)]
    # The check-in stays one if its job runs again.
    with transaction(context.for_brand_job(night.brand_id)):
        enqueue("check_in.decide", query("select id from check_ins")[0][0])
    drain()
    assert over_http.counts()["effects"]["check_in"] == 1


def test_refusal_is_final_and_not_retried(
    over_http: Counterpart, night: Campaign, publish: Any, manager: Account, drain: Drain, query: Query
) -> None:
    publish()
    for people in (2, 1):
        _arrive(night, manager, people=people)
        drain()

    assert query("select state, refusal from check_ins order by id") == [("accepted", None), ("refused", "at_capacity")]
    assert over_http.counts()["calls"]["check_in"] == 2


def test_guest_list_of_a_draft_is_sent_by_the_publication(
    over_http: Counterpart, night: Campaign, publish: Any, manager: Account, drain: Drain, query: Query
) -> None:
    with manager.acting():
        (ana, eva), _ = guests.add(night.id, [Invitation("Ana", 2, None, None), Invitation("Eva", 1, None, None)])
        guests.remove(night.id, eva.id)
    drain()
    before = query("select id::text, state from guests")

    publish()

    assert before == [(str(ana.id), "pending")]
    assert query("select id::text, state from guests") == [(str(ana.id), "listed")]
    assert over_http.counts()["effects"]["invite"] == 1


def test_launch_publishes_an_event_and_its_end_closes_it(
    over_http: Counterpart, campaign: MakeCampaign, manager: Account, drain: Drain, query: Query
) -> None:
    draft = campaign("Night", "Event", launched=False, ends_at=(now() + timedelta(hours=1)).isoformat())
    over_http.fail("drop_after")
    with manager.acting():
        launch.start(draft.id)
    drain()
    with manager.acting():
        changed = campaigns.get_for_update(draft.id)
        campaigns.replace(changed, name="Long night", kind="Event", config=campaigns.config_of(changed))
    drain()

    assert query("select status from campaigns") == [("Active",)]
    # One for the launch, although its answer was lost, and one for the new name.
    assert over_http.counts()["effects"] == {"publish": 2}
    with manager.acting():
        campaigns.transition(draft.id, "complete")
    drain()
    assert over_http.counts()["effects"] == {"publish": 2, "close": 1}


def test_cancellation_waits_longer_with_each_attempt_for_the_issue(world: Any, drain: Drain, query: Query) -> None:
    night = world.event("tickets")
    with transaction(context.for_brand_job(night.brand_id)):
        enqueue("ticket.cancel", world.ticket(night))  # The job that issues the ticket has not ended.

    drain(rounds=3)

    assert query("select attempts, due_at > now() + interval '2 seconds' from app.jobs") == [(3, True)]
