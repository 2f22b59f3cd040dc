"""Test the transitions of a campaign's status over HTTP."""

from datetime import timedelta

import pytest

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
    assert (job["state"], job["progress"]) == ("done", {"done": 7, "total": 7, "message": "active"})
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


def test_transitions_follow_the_status(client, campaign, manager, act, entries):
    live = client.get(f"{URL}/{campaign().id}", token=manager.token).json

    def answer(name):
        response = act(live, name)
        return response.status_code, response.json.get("status"), response.json.get("allowed")

    assert answer("resume")[::2] == (409, ["pause", "complete"])
    assert answer("pause")[:2] == (200, "Paused")
    assert answer("pause")[::2] == (409, ["resume", "complete"])
    assert answer("resume")[:2] == (200, "Active")
    assert answer("complete")[:2] == (200, "Completed")
    assert answer("complete")[::2] == (409, [])
    done = client.get(f"{URL}/{live['id']}", token=manager.token).json
    assert (done["version"], done["completed_at"] is not None) == (live["version"] + 3, True)
    (entry,) = [one for one in entries("campaign.pause") if one["outcome"] == "ok"]
    assert entry["details"] == {"before": {"status": "Active"}, "after": {"status": "Paused"}}
    assert entry["user_id"] == manager.user_id


def test_campaign_whose_end_has_passed_is_not_resumed(client, campaign, manager, act, query):
    live = client.get(f"{URL}/{campaign().id}", token=manager.token).json
    act(live, "pause")
    query("""update public.campaigns set config = config || '{"ends_at": "2026-01-01T00:00:00Z"}'""")

    response = act(live, "resume")

    assert (response.status_code, response.json["code"]) == (422, "not_ready")
    assert [error["field"] for error in response.json["errors"]] == ["config.ends_at"]


def test_failed_launch_shows_its_step_and_can_be_repeated(client, create, manager, drain, act, query):
    made = create(config={"ends_at": (now() + timedelta(days=1)).isoformat()})

    def launch_of():
        return client.get(f"{URL}/{made['id']}", token=manager.token).json["launch"]

    def end_at(at):
        sql = "update public.campaigns set config = config || jsonb_build_object('ends_at', %s::text)"
        query(sql, at.isoformat())

    job_id = act(made, "launch").json["id"]
    running = launch_of()
    end_at(now() - timedelta(days=1))
    drain(allow_dead=True)
    failed = launch_of()
    end_at(now() + timedelta(days=1))
    act(made, "launch")
    drain()

    steps = ["readiness", "device_key", "audience", "service", "codes", "activation", "overview"]
    assert running == {"job_id": job_id, "state": "running", "step": "readiness", "steps": steps, "error": None}
    assert (failed["job_id"], failed["state"], failed["step"]) == (job_id, "failed", "readiness")
    assert failed["error"]["code"] == "not_ready"
    live = client.get(f"{URL}/{made['id']}", token=manager.token).json
    assert (live["status"], live["launch"], live["launch_job_id"]) == ("Active", None, None)


def test_launch_is_scheduled_and_unscheduled(create, act, entries):
    made, at = create(), (now() + timedelta(days=1)).isoformat()

    scheduled = act(made, "schedule", "PUT", launch_at=at)
    refused = act(made, "schedule", "PUT", launch_at=now().isoformat())
    removed = act(made, "schedule", "DELETE")

    assert (scheduled.status_code, scheduled.json["launch_at"] is not None) == (200, True)
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "launch_at")
    assert (removed.status_code, removed.json["launch_at"]) == (200, None)
    assert len(entries("campaign.schedule")) == len(entries("campaign.unschedule")) == 1


def test_campaign_is_archived_and_brought_back(client, create, manager, act, put, entries):
    made = create()

    archived = act(made, "archive", "PUT")
    refused = [act(made, "launch"), put(made, name="Other"), act(made, "codes", label="Late")]
    restored = act(made, "archive", "DELETE")

    assert (archived.status_code, archived.json["archived_at"] is not None) == (200, True)
    assert {(answer.status_code, answer.json["code"]) for answer in refused} == {(409, "campaign_archived")}
    assert (restored.status_code, restored.json["archived_at"]) == (200, None)
    assert len(entries("campaign.archive")) == len(entries("campaign.unarchive")) == 1


@pytest.mark.parametrize("path", ["pause", "resume", "complete", "launch"])
def test_creator_may_not_change_the_status(client, campaign, member, path):
    response = client.post(f"{URL}/{campaign().id}/{path}", token=member("Creator").token)

    assert (response.status_code, response.json["permission"]) == (403, "campaigns:launch")
