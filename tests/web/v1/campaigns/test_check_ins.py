"""Test check-ins over HTTP: at gates, by a fan's own scan, undone, and while Concierto is down."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from models.core.database import now
from tests.fixtures.campaigns import NOON


def _ticket(client, event, person):
    return client.post("/api/v1/tickets", token=person.token, json={"campaign_id": str(event.id)}).json


def _attendance(client, event, manager):
    found = client.get(f"/api/v1/campaigns/{event.id}/attendance", token=manager.token).json
    return {name: found[name] for name in ("tickets", "invited", "inside", "pending", "refused", "late")}


def test_ticket_at_two_gates_is_admitted_once(client, event, account_of, gate, manager, serve, query):
    night, ana = event("tickets"), account_of()
    serve()
    code = _ticket(client, night, ana)["code"]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: gate(night, ticket=code, gate=name), ["North", "South"]))
    admitted, refused = sorted(answers, key=lambda answer: answer.status_code)

    assert (admitted.status_code, admitted.json["state"]) == (200, "accepted")
    assert (refused.status_code, refused.json["code"]) == (409, "already_checked_in")
    assert refused.json["gate"] == admitted.json["gate"]
    assert refused.json["checked_in_at"] == admitted.json["scanned_at"]
    assert _attendance(client, night, manager) == {
        "tickets": 1, "invited": 0, "inside": 1, "pending": 0, "refused": 1, "late": 0,
    }  # fmt: skip
    events = "select kind, user_id, source_id::text, reversal_of is null from engagement_events"
    assert query(events) == [("check_in", ana.user_id, admitted.json["id"], True)]


def test_undone_check_in_frees_the_place_and_the_ticket(client, event, account_of, gate, manager, serve, query):
    night, ana = event("tickets", capacity=1), account_of()
    serve()
    code = _ticket(client, night, ana)["code"]
    first = gate(night, ticket=code).json
    url = f"/api/v1/campaigns/{night.id}/check-ins/{first['id']}"

    undone = [client.post(f"{url}/undo", token=manager.token).json["state"] for _ in range(2)]
    again = gate(night, ticket=code)

    assert (undone, again.status_code) == (["undone", "undone"], 200)
    assert _attendance(client, night, manager)["inside"] == 1
    reversals = "select count(*) filter (where reversal_of is null), count(reversal_of) from engagement_events"
    assert query(reversals) == [(2, 1)]


def test_party_of_guest_arrives_in_two_groups(client, event, gate, manager, serve):
    night = event("guest_list", capacity=10)
    serve()
    guests = f"/api/v1/campaigns/{night.id}/guests"
    body = {"guests": [{"name": "Ana Peña", "party": 4, "email": "ana@guests.example"}, {"name": "Eva"}]}
    added = client.post(guests, token=manager.token, json=body)
    ana = added.json["items"][0]["id"]
    client.delete(f"{guests}/{added.json['items'][1]['id']}", token=manager.token)

    groups = [gate(night, guest_id=ana, people=people) for people in (3, 2, 1, 1)]
    found = client.get(guests, token=manager.token, params={"q": "PEÑA"}).json["items"]
    others = client.get(guests, token=manager.token, params={"q": "eva"}).json["items"]

    assert [answer.json.get("code", answer.json.get("state")) for answer in groups] == [
        "accepted", "party_exceeded", "accepted", "already_checked_in",
    ]  # fmt: skip
    assert ([one["state"] for one in found], others) == (["listed"], [])
    assert gate(night).json["code"] == "not_on_guest_list"
    for act, code in (("complete", "campaign_completed"), ("archive", "campaign_archived")):
        client.request("PUT" if act == "archive" else "POST", f"{guests[:-7]}/{act}", token=manager.token)
        late = client.post(guests, token=manager.token, json={"guests": [{"name": "Eva"}]})
        assert (late.status_code, late.json["code"]) == (409, code)


def test_120_people_at_100_places_leave_20_outside(client, event, gate, manager, drain):
    night = event("open", capacity=100)
    for _ in range(12):
        gate(night, people=10)

    drain()

    assert _attendance(client, night, manager) | {"late": 0} == {
        "tickets": 0, "invited": 0, "inside": 100, "pending": 0, "refused": 2, "late": 0,
    }  # fmt: skip


def test_late_report_is_decided_by_the_time_of_the_arrival(client, event, gate, manager, drain):
    night = event("open")

    def outcome(minutes):
        answer = gate(night, scanned_at=(now() - timedelta(minutes=minutes)).isoformat())
        drain()
        return client.get(answer.headers["location"], token=manager.token).json

    assert outcome(20)["state"] == "accepted"
    assert outcome(90)["refusal"] == "event_not_open"
    before_launch = gate(night, scanned_at=(now() - timedelta(hours=3, minutes=6)).isoformat())
    assert (before_launch.status_code, before_launch.json["code"]) == (409, "event_not_open")
    assert _attendance(client, night, manager)["late"] == 1
    for wrong in (-6, 24 * 60 + 6):
        answer = gate(night, scanned_at=(now() - timedelta(minutes=wrong)).isoformat())
        assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "scanned_at")


def test_repeated_report_with_idempotency_key_counts_once(client, event, manager, drain):
    night, headers = event("open"), {"Idempotency-Key": "gate-7-0001"}
    url = f"/api/v1/campaigns/{night.id}/check-ins"

    answers = [client.post(url, token=manager.token, json={}, headers=headers) for _ in range(2)]
    drain()

    assert [answer.status_code for answer in answers] == [202, 202]
    assert _attendance(client, night, manager)["inside"] == 1


def test_fan_checks_in_by_a_fresh_scan_of_the_event(client, event, account_of, put_scan, serve):
    night, other, ana, eva = event("open"), event("open"), account_of(), account_of()
    serve()
    scan = put_scan(night, ana.user_id, scan_time=now())

    def check_in(person, campaign, scan_id):
        body = {"campaign_id": str(campaign.id), "scan_id": str(scan_id)}
        return client.post("/api/v1/check-ins", token=person.token, json=body)

    first, again = check_in(ana, night, scan), check_in(ana, night, scan)
    second_scan = check_in(ana, night, put_scan(night, ana.user_id, scan_time=now()))

    assert (first.status_code, first.json["state"], again.json) == (200, "accepted", first.json)
    assert second_scan.json["code"] == "already_checked_in"
    assert client.get(f"/api/v1/check-ins/{first.json['id']}", token=eva.token).status_code == 404
    for person, campaign, scan_id in (
        (eva, night, scan),
        (ana, other, scan),
        (ana, night, put_scan(night, ana.user_id, scan_time=NOON)),
        (ana, night, put_scan(night, ana.user_id, scan_time=now(), decision="rejected", reason="cap_exhausted")),
        (ana, night, put_scan(night, ana.user_id, scan_time=now(), is_test=True)),
    ):
        assert check_in(person, campaign, scan_id).json["code"] == "scan_required"


def test_wrong_ticket_or_contradicting_arrival_is_refused(client, event, campaign, account_of, gate, serve):
    night, other, ana = event("tickets"), event("tickets"), account_of()
    serve()
    code = _ticket(client, other, ana)["code"]

    assert gate(night, ticket=code).json["code"] == "unknown_ticket"
    assert gate(night, ticket="nonsense").json["code"] == "unknown_ticket"
    assert gate(night).json["code"] == "ticket_required"
    assert gate(campaign("Shop")).json["code"] == "not_an_event"
    assert gate(campaign("Draft", "Event", launched=False)).json["code"] == "event_not_open"
    errors = gate(night, ticket=code, guest_id=str(night.id), people=2).json["errors"]
    assert [error["field"] for error in errors] == ["guest_id", "people"]


def test_creator_without_right_to_read_jobs_checks_in(client, event, member, assign, serve):
    night = event("open")
    serve()
    creator = assign(night, member("Creator"))

    answer = client.post(f"/api/v1/campaigns/{night.id}/check-ins", token=creator.token, json={})

    assert (answer.status_code, answer.json["state"]) == (200, "accepted")
