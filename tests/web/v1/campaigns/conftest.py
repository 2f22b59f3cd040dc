"""Campaigns over HTTP: requests, and the audit entries of their acts."""

import pytest

from models.core import context
from models.core.database import rows, transaction

URL = "/api/v1/campaigns"


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
