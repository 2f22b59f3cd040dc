"""`/api/v1/jobs/{id}`: the progress of a job, for its owner."""

import dataclasses
from uuid import uuid4

import pytest

from models.jobs import groups, ledger
from settings import settings
from tests.web.conftest import serving
from web.app import create_app
from web.http.endpoint import accept, endpoint


@pytest.fixture
def manager(member):
    return member("Campaign Manager")


@pytest.fixture
def job_id(manager):
    with manager.acting():
        return ledger.enqueue("test.anything", "an-argument").id


def test_member_sees_a_job_of_the_brand(client, manager, job_id):
    answer = client.get(f"/api/v1/jobs/{job_id}", token=manager.token)

    assert answer.status_code == 200
    job = answer.json
    assert (job["id"], job["actor"], job["state"], job["attempts"]) == (str(job_id), "test.anything", "waiting", 0)
    assert job["progress"] == {"done": 0, "total": None, "message": None}
    assert job["created_at"].endswith("Z")
    assert job["started_at"] is job["finished_at"] is job["error"] is None
    assert "an-argument" not in answer.text


def test_progress_and_error_are_shown(client, manager, job_id, superuser):
    superuser.cursor().execute(
        """
        update app.jobs set progress_done = 2, progress_total = 5, progress_message = 'codes printed', attempts = 3,
            error = '{"code": "printer_on_fire", "message": "It burns.", "traceback": "File ..."}' where id = %s
        """,
        [job_id],
    )

    job = client.get(f"/api/v1/jobs/{job_id}", token=manager.token).json

    assert job["progress"] == {"done": 2, "total": 5, "message": "codes printed"}
    assert job["error"] == {"code": "printer_on_fire", "message": "It burns."}
    assert job["attempts"] == 3


def test_message_of_an_unexpected_error_is_not_shown(client, manager, job_id, superuser):
    error = '{"kind": "KeyError", "message": "a-secret", "where": ["vendors.py:12 call"]}'
    superuser.cursor().execute("update app.jobs set error = %s where id = %s", [error, job_id])

    answer = client.get(f"/api/v1/jobs/{job_id}", token=manager.token)

    assert answer.json["error"]["code"] == "failed"
    assert "a-secret" not in answer.text


def test_callback_shows_the_counts_of_its_children(client, manager, superuser, job_id):
    with manager.acting():
        group = groups.batch([groups.Call("test.anything", n) for n in range(3)], then=groups.Call("test.report"))
    superuser.cursor().execute(
        "select app.cancel_job(id) from app.jobs where group_id = %s and subject_id = '0'", [group.id]
    )

    job = client.get(f"/api/v1/jobs/{group.then_id}", token=manager.token).json

    assert (job["state"], job["children"]) == ("waiting", {"total": 3, "done": 0, "dead": 0, "cancelled": 1})
    assert client.get(f"/api/v1/jobs/{job_id}", token=manager.token).json["children"] is None


def test_job_of_another_brand_returns_404(client, job_id, fan, make_brand, member):
    rival = member("Brand Admin", make_brand("Rival"))

    for stranger in (rival, fan()):
        answer = client.get(f"/api/v1/jobs/{job_id}", token=stranger.token)
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_unknown_job_returns_404(client, manager):
    assert client.get(f"/api/v1/jobs/{uuid4()}", token=manager.token).status_code == 404


def test_request_without_token_sees_no_jobs(client, job_id):
    assert client.get(f"/api/v1/jobs/{job_id}").status_code == 401


def test_accepted_request_returns_202_with_its_job(manager):
    class Launch:
        @endpoint(permission="authenticated", status=202)
        def on_post(self, req, resp):
            accept(resp, ledger.enqueue("test.anything", unique="until_done"))

    config = dataclasses.replace(settings, log_level="WARNING")
    with serving(create_app(config, routes=[("/launch", Launch())])) as api:
        first, second = (api.post("/launch", token=manager.token) for _ in range(2))

    assert first.status_code == second.status_code == 202
    assert first.headers["location"] == second.headers["location"] == f"/api/v1/jobs/{first.json['id']}"
    assert first.headers["retry-after"] == "1"
    assert first.json["state"] == "waiting"
