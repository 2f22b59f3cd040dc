"""Test the transitions of a campaign's status over HTTP."""

from datetime import timedelta

from models.core.database import now

URL = "/api/v1/campaigns"


def test_launch_runs_as_a_job(client, create, manager, drain, put):
    made = create()

    first = client.post(f"{URL}/{made['id']}/launch", token=manager.token)
    again = client.post(f"{URL}/{made['id']}/launch", token=manager.token)
    during = put(made, name="Other")
    drain()
    job = client.get(first.headers["location"], token=manager.token).json
    live = client.get(f"{URL}/{made['id']}", token=manager.token).json
    once_more = client.post(f"{URL}/{made['id']}/launch", token=manager.token)

    assert first.status_code == again.status_code == 202
    assert first.json["id"] == again.json["id"]
    assert first.headers["location"] == again.headers["location"] == f"/api/v1/jobs/{first.json['id']}"
    assert (during.status_code, during.json["code"]) == (409, "launch_in_progress")
    assert (job["state"], job["progress"]) == ("done", {"done": 5, "total": 5, "message": "active"})
    assert (live["status"], live["launch_job_id"]) == ("Active", None)
    assert (once_more.status_code, once_more.json["code"]) == (409, "illegal_transition")
    assert (once_more.json["current"], once_more.json["allowed"]) == ("Active", ["pause", "complete"])


def test_launch_of_incomplete_campaign_names_missing_fields(client, create, manager):
    made = create(type="Event")

    response = client.post(f"{URL}/{made['id']}/launch", token=manager.token)

    assert (response.status_code, response.json["code"]) == (422, "not_ready")
    assert response.json["errors"] == [{"field": "config.ends_at", "reason": "must be set for an event"}]


def test_event_with_end_is_launched(client, create, manager):
    made = create(type="Event", config={"ends_at": (now() + timedelta(days=1)).isoformat()})

    assert client.post(f"{URL}/{made['id']}/launch", token=manager.token).status_code == 202
