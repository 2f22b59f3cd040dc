"""Events with their fans, and a worker that runs while requests wait."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg2.extensions import connection

from models.campaigns.campaigns import Campaign
from models.consents import notices
from models.core import context, signed_links
from models.core.database import new_id, now, transaction
from models.identity import accounts, signups
from models.passport import concierto
from models.passport.concierto import Plan
from tests.fixtures.accounts import PASSWORD, Account, _leaving_no_jobs, sign_in
from tests.fixtures.campaigns import MakeCampaign

MakeEvent = Callable[..., Campaign]


@pytest.fixture
def event(campaign: MakeCampaign, superuser: connection) -> MakeEvent:
    """`event(admission="open", capacity=None)`: an event, launched 3 hours ago, and open at Concierto for 1."""

    def make(admission: str = "open", capacity: int | None = None) -> Campaign:
        doors, ends_at = now() - timedelta(hours=1), now() + timedelta(hours=1)
        made = campaign("Night", "Event", age=timedelta(hours=3), ends_at=ends_at.isoformat())
        plan = {"event": {"admission": admission, "capacity": capacity, "doors_open_at": doors.isoformat()}}
        with superuser.cursor() as cursor:
            cursor.execute(
                "update public.campaigns set config = config || %s where id = %s", (json.dumps(plan), made.id)
            )
        with transaction(context.for_brand_job(made.brand_id)):
            concierto.publish(made.id, 1, Plan("Night", None, admission, capacity, doors, ends_at))
        return made

    return make


@pytest.fixture
def account_of(superuser: connection, db_clean: str) -> Callable[[], Account]:
    """`account_of()`: a fan with an account."""

    def make() -> Account:
        email = f"{new_id().hex}@fans.example"
        with _leaving_no_jobs(superuser):
            with transaction(context.unauthenticated().on_credentials()):
                signups.sign_up(email, "en")
            with transaction(context.unauthenticated()):
                notice_id = notices.default("en").id
            with superuser.cursor() as cursor:
                cursor.execute("select id from app.signups where email = %s", (email,))
                token = signed_links.make(accounts.SIGNUP, (cursor.fetchone() or (None,))[0])
            caller = context.unauthenticated().on_credentials()
            signups.verify(caller, token, PASSWORD, consent_tiers=["essential"], notice_id=notice_id)
            return sign_in(email)

    return make


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Callable[[], None]:
    """`serve()`: start a worker. Before it, fixtures create people and events, and delete the jobs of that."""
    return lambda: request.getfixturevalue("worker")


@pytest.fixture
def gate(client: Any, manager: Any) -> Callable[..., Any]:
    """`gate(campaign, **arrival)`: report an arrival as a member."""

    def arrive(campaign: Campaign, **arrival: Any) -> Any:
        return client.post(f"/api/v1/campaigns/{campaign.id}/check-ins", token=manager.token, json=arrival)

    return arrive
