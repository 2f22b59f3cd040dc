"""Webhook endpoints over HTTP: definition, secrets, test events, replay and the log of deliveries."""

from uuid import uuid4

import pytest

from models.core.database import now
from models.webhooks.endpoints import MAX_ENDPOINTS

ENDPOINTS = "/api/v1/webhooks/endpoints"


@pytest.fixture
def endpoint(client, member, receiver):
    """Create an endpoint at `receiver`; return its member's token, its path, and the answer."""
    token = member().token
    made = client.post(ENDPOINTS, token=token, json={"url": receiver.url, "event_types": ["reward.granted"]})
    assert made.status_code == 201
    return token, made.headers["location"], made.json


def test_created_endpoint_shows_its_secret_once(client, endpoint):
    token, path, made = endpoint

    read = client.get(path, token=token).json

    assert made["secret"].startswith("whsec_")
    assert {name: value for name, value in made.items() if name != "secret"} == read
    assert (read["enabled"], read["event_types"], read["pending"], read["dropped"]) == (True, ["reward.granted"], 0, 0)
    assert client.get(ENDPOINTS, token=token).json == {"items": [read]}


def test_stored_secret_is_not_readable(endpoint, superuser):
    _, _, made = endpoint
    with superuser.cursor() as cursor:
        cursor.execute("select secret from app.webhook_endpoints")
        ((stored,),) = cursor.fetchall()

    assert made["secret"].encode() not in bytes(stored)


def test_eleventh_endpoint_of_a_brand_is_refused(client, member, receiver):
    token = member().token
    for _ in range(MAX_ENDPOINTS):
        assert client.post(ENDPOINTS, token=token, json={"url": receiver.url}).status_code == 201

    refused = client.post(ENDPOINTS, token=token, json={"url": receiver.url})

    assert (refused.status_code, refused.json["code"]) == (409, "too_many_webhook_endpoints")


def test_endpoint_with_inner_address_is_refused(client, endpoint):
    token, path, _ = endpoint
    for url, code in (
        ("https://169.254.169.254/latest/meta-data", "webhook_url_refused"),
        ("http://10.0.0.1/", "webhook_url_refused"),
        ("https://[::ffff:10.0.0.1]/", "invalid"),
        ("https://a@hooks.brand.example/", "invalid"),
    ):
        refused = [
            client.post(ENDPOINTS, token=token, json={"url": url}),
            client.patch(path, token=token, json={"url": url}),
        ]

        assert {(answer.status_code, answer.json["code"]) for answer in refused} == {(422, code)}


def test_change_with_outdated_etag_is_refused(client, endpoint):
    token, path, _ = endpoint
    tag = client.get(path, token=token).headers["etag"]
    changed = client.patch(path, token=token, json={"description": "Till"}, headers={"If-Match": tag})

    refused = client.patch(path, token=token, json={"description": "Shop"}, headers={"If-Match": tag})

    assert (changed.json["description"], changed.json["event_types"]) == ("Till", ["reward.granted"])
    assert refused.status_code == 412


def test_endpoint_of_another_brand_is_unknown(client, endpoint, member, make_brand):
    _, path, _ = endpoint
    token = member(brand=make_brand("Other")).token

    answers = [
        client.get(path, token=token),
        client.patch(path, token=token, json={"enabled": False}),
        client.delete(path, token=token),
        client.post(f"{path}/secret", token=token),
        client.post(f"{path}/test", token=token),
        client.get(f"{path}/deliveries", token=token),
    ]

    assert [answer.status_code for answer in answers] == [404] * 6


def test_test_event_is_delivered_and_logged(client, endpoint, receiver, drain):
    token, path, made = endpoint

    accepted = client.post(f"{path}/test", token=token)
    drain()

    (request,) = receiver.requests
    assert request.verify(made["secret"])["data"] == {"endpoint_id": made["id"]}
    assert client.get(accepted.headers["location"], token=token).json["state"] == "done"
    (logged,) = client.get(f"{path}/deliveries", token=token).json["items"]
    assert (logged["event_id"], logged["type"], logged["status"]) == (request.id, "webhook.test", 200)
    assert (logged["error"], logged["response"]) == (None, "ok")


def test_test_event_ends_the_back_off(client, endpoint, receiver, publish, drain):
    token, path, _ = endpoint
    receiver.answer(500)
    publish()
    drain()

    client.post(f"{path}/test", token=token)
    drain()

    failed, again, tested = receiver.ids
    assert failed == again != tested
    assert client.get(path, token=token).json["failures"] == 0


def test_replaced_secret_is_shown_once_with_the_end_of_the_old_one(client, endpoint, receiver, drain):
    token, path, made = endpoint

    replaced = client.post(f"{path}/secret", token=token).json
    client.post(f"{path}/test", token=token)
    drain()

    (request,) = receiver.requests
    assert replaced["secret"] != made["secret"]
    assert request.verify(replaced["secret"]) == request.verify(made["secret"])
    assert client.get(path, token=token).json["previous_secret_until"] == replaced["previous_secret_until"]


def test_disabled_endpoint_refuses_test_and_replay_until_enabled(client, endpoint, receiver, publish, drain):
    token, path, _ = endpoint
    publish()
    off = client.patch(path, token=token, json={"enabled": False}).json
    drain()

    refused = [client.post(f"{path}/test", token=token)]
    refused += [client.post(f"{path}/replay", token=token, json={"since": "2026-01-01T00:00:00Z"})]
    sent = list(receiver.ids)
    on = client.patch(path, token=token, json={"enabled": True}).json
    drain()

    assert (off["enabled"], off["disabled_reason"], on["enabled"], on["disabled_at"]) == (False, "member", True, None)
    assert {(answer.status_code, answer.json["code"]) for answer in refused} == {(409, "webhook_endpoint_disabled")}
    assert (sent, len(receiver.ids)) == ([], 1)


def test_replayed_events_are_delivered_again_in_order(client, endpoint, receiver, publish, drain):
    token, path, _ = endpoint
    publish()
    drain()
    since = now().isoformat()
    publish(2)
    drain()
    first, second, third = receiver.ids

    one = client.post(f"{path}/replay", token=token, json={"event_id": first})
    drain()
    some = client.post(f"{path}/replay", token=token, json={"since": since})
    drain()

    assert (one.status_code, some.status_code) == (202, 202)
    assert receiver.ids[3:] == [first, second, third]


def test_replay_of_unknown_event_or_without_one_is_refused(client, endpoint):
    token, path, _ = endpoint

    unknown = client.post(f"{path}/replay", token=token, json={"event_id": str(uuid4())})
    neither = client.post(f"{path}/replay", token=token, json={})

    assert (unknown.status_code, neither.status_code) == (404, 422)


def test_deliveries_are_filtered_and_paged(client, endpoint, receiver, publish, drain):
    token, path, _ = endpoint
    publish(3)
    receiver.answer(500)
    drain()
    client.post(f"{path}/test", token=token)
    drain()
    log = f"{path}/deliveries"

    failed = client.get(log, token=token, params={"failed": "true"}).json["items"]
    of_event = client.get(log, token=token, params={"event_id": receiver.ids[0]}).json["items"]
    page = client.get(log, token=token, params={"limit": 3}).json
    rest = client.get(log, token=token, params={"limit": 3, "cursor": page["next_cursor"]}).json["items"]

    assert [one["error"] for one in failed] == ["status_500"]
    assert [one["status"] for one in of_event] == [200, 500]
    assert [one["event_id"] for one in page["items"] + rest] == receiver.ids[::-1]


def test_deleted_endpoint_receives_nothing(client, endpoint, receiver, publish, drain):
    token, path, _ = endpoint
    publish()

    deleted = client.delete(path, token=token)
    drain()

    assert (deleted.status_code, client.get(path, token=token).status_code, receiver.requests) == (204, 404, [])
