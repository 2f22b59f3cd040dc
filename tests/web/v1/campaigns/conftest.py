"""Campaigns over HTTP, their audit entries, and events with their fans."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from psycopg2.extensions import connection

from models.campaigns.campaigns import Campaign
from models.consents import notices
from models.core import context, signed_links
from models.core.database import new_id, now, rows, transaction
from models.identity import accounts, signups
from models.passport import concierto
from models.passport.concierto import Plan
from tests.fixtures.accounts import PASSWORD, Account, _leaving_no_jobs, sign_in
from tests.fixtures.campaigns import MakeCampaign

URL = "/api/v1/campaigns"

MakeEvent = Callable[..., Campaign]


@pytest.fixture
def create(client, manager):
    """`create(**body)`: create a campaign over HTTP. Return the response's JSON."""

    def post(**body):
        response = client.post(URL, json={"name": "Summer", "type": "QR"} | body, token=manager.token)
        assert response.status_code == 201, response.text
        return response.json

    return post


@pytest.fixture
def put(client, manager):
    """`put(campaign, headers, **changes)`: replace a campaign with its own fields and these changes."""

    def send(campaign, headers=None, **changes):
        body = {name: campaign[name] for name in ("name", "type", "config")} | changes
        return client.put(f"{URL}/{campaign['id']}", json=body, token=manager.token, headers=headers)

    return send


@pytest.fixture
def entries(database):
    """`entries(action, record_id=None)`: the audit entries of an act, oldest first."""

    def find(action, record_id=None):
        with transaction(context.for_system_job()):
            return rows(
                "SELECT outcome, reason, user_id, record_id, details FROM public.audit_logs WHERE action = %s"
                " AND coalesce(record_id = %s, true) ORDER BY timestamp",
                (action, record_id),
            )

    return find


@pytest.fixture
def patch(client, manager):
    """`patch(campaign, body, headers)`: change single fields of a campaign."""

    def send(campaign, body, headers=None):
        return client.request("PATCH", f"{URL}/{campaign['id']}", json=body, token=manager.token, headers=headers)

    return send


@pytest.fixture
def act(client, manager):
    """`act(campaign, path, method="POST", **json)`: send a request about a campaign."""

    def send(campaign, path, method="POST", headers=None, **body):
        return client.request(
            method, f"{URL}/{campaign['id']}/{path}", token=manager.token, headers=headers, json=body or None
        )

    return send


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
