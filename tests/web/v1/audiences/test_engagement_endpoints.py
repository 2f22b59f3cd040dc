"""Endpoints of engagement events, conversions and own engagements."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from models.audiences import contacts
from models.core import context
from models.core.database import new_id, now, transaction

EVENTS, OWN = "/api/v1/engagement-events", "/api/v1/users/me/engagements"


@pytest.fixture
def participant(fan, campaign, put_scan):
    """Return a fan who is a contact of the brand."""
    person = fan("essential")
    made = campaign("Entry")
    put_scan(made, person.user_id)
    with transaction(context.for_brand_job(made.brand_id)):
        contacts.upsert(person.user_id)
    return person


def order(person, number=1, **changes):
    at = (now() - timedelta(hours=1)).isoformat()
    paid = {"value_minor": 1990, "currency": "EUR"}
    return {"external_id": f"order-{number}", "occurred_at": at, "user_id": str(person.user_id)} | paid | changes


@pytest.fixture
def report(client, manager):
    """`report(campaign, *conversions)`: the answer to a manager."""

    def send(campaign, *reported, by=manager, **options):
        url = f"/api/v1/campaigns/{campaign.id}/conversions"
        return client.post(url, token=by.token, json={"conversions": reported}, **options)

    return send


def errors(answer):
    return {error["field"]: error["reason"] for error in answer.json["errors"]}


def test_conversions_are_events_and_part_of_own_engagements(client, campaign, participant, manager, report, drain):
    summer = campaign()
    first, second = order(participant), order(participant, 2, value_minor=None, currency=None)

    answer = report(summer, first, second)
    drain()

    listed = client.get(EVENTS, params={"campaign_id": str(summer.id)}, token=manager.token).json["items"]
    own = client.get(OWN, token=participant.token).json["items"]
    assert [item["outcome"] for item in answer.json["items"]] == ["recorded", "recorded"]
    assert {event["source_id"] for event in listed} == {item["id"] for item in answer.json["items"]}
    assert {(event["kind"], event["user_id"]) for event in listed} == {("conversion", str(participant.user_id))}
    assert [(one["campaign_id"], one["conversions"], one["scans"]) for one in own] == [(str(summer.id), 2, 0)]


def test_repeated_conversion_is_known_and_another_is_refused(campaign, participant, report, query):
    summer, sold = campaign(), order(participant)
    report(summer, sold)

    again = report(summer, sold, order(participant, 2))
    other = report(summer, order(participant, 3), sold | {"value_minor": 5})

    assert [item["outcome"] for item in again.json["items"]] == ["known", "recorded"]
    assert (other.status_code, other.json["code"], other.json["external_id"]) == (409, "conversion_reused", "order-1")
    assert query("select count(*) from conversions") == query("select count(*) from engagement_events") == [(2,)]


def test_concurrent_reports_in_opposite_order_are_stored_once(campaign, participant, report, query):
    summer, sold = campaign(), [order(participant, number) for number in range(100)]

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda batch: report(summer, *batch), (sold, sold[::-1])))

    assert [answer.status_code for answer in answers] == [200, 200]
    outcomes = Counter(item["outcome"] for answer in answers for item in answer.json["items"])
    assert outcomes == {"recorded": 100, "known": 100}
    assert query("select count(*) from engagement_events") == [(100,)]


def test_contact_without_account_converts_without_an_engagement(campaign, participant, report, drain, query):
    summer, contact = campaign(), new_id()
    query("insert into contacts (id, brand_id) values (%s, %s)", contact, summer.brand_id)

    answer = report(summer, order(participant, user_id=None, contact_id=str(contact)))
    drain()

    assert answer.status_code == 200
    assert query("select user_id, contact_id from engagement_events") == [(None, contact)]
    assert query("select count(*) from engagements where conversions > 0") == [(0,)]


def test_conversion_of_wrong_person_time_or_value_is_invalid(campaign, participant, report, fan, make_brand, query):
    summer, foreign = campaign(), new_id()
    query("insert into contacts (id, brand_id) values (%s, %s)", foreign, make_brand("Other")["id"])
    old = (now() - timedelta(days=401)).isoformat()
    ahead = (now() + timedelta(minutes=6)).isoformat()

    unknown = report(
        summer, order(fan()), order(participant, 2), order(fan(), 3, user_id=None, contact_id=str(foreign))
    )
    faulty = report(
        summer,
        order(participant, occurred_at=old),
        order(participant, 2, occurred_at=ahead),
        order(participant, 3, contact_id=str(new_id())),
        order(participant, 4, currency=None),
    )

    assert unknown.status_code == faulty.status_code == 422
    assert set(errors(unknown)) == {"conversions[0].user_id", "conversions[2].contact_id"}
    assert set(errors(faulty)) == {
        "conversions[0].occurred_at",
        "conversions[1].occurred_at",
        "conversions[2].contact_id",
        "conversions[3].currency",
    }
    no_money = report(summer, order(participant, currency="XXX"))
    assert errors(no_money) == {"conversions[0].currency": "must be a currency of ISO 4217, such as EUR"}
    assert query("select count(*) from conversions") == [(0,)]


def test_conversion_of_another_brands_campaign_is_not_found(campaign, participant, report, make_brand, member):
    other = campaign(by=member("Campaign Manager", brand=make_brand("Other")))

    assert report(other, order(participant)).status_code == 404


def test_creator_reports_no_conversions_and_lists_assigned_events_only(
    client, campaign, participant, report, member, assign, drain
):
    summer, winter, creator = campaign("Summer"), campaign("Winter"), member("Creator")
    assign(summer, creator)
    for number, one in enumerate((summer, winter)):
        report(one, order(participant, number))

    def listed(one):
        return client.get(EVENTS, params={"campaign_id": str(one.id)}, token=creator.token).json["items"]

    assert report(summer, order(participant, 9), by=creator).status_code == 403
    assert (len(listed(summer)), len(listed(winter))) == (1, 0)


def test_events_are_listed_in_pages_with_filters(client, campaign, participant, manager, report):
    summer = campaign()
    times = [(now() - timedelta(hours=n)).isoformat() for n in range(4)]
    report(summer, *(order(participant, n, occurred_at=at) for n, at in enumerate(times)))
    params = {"campaign_id": str(summer.id), "kind": "conversion", "from": times[2], "to": times[0], "limit": 1}

    first = client.get(EVENTS, params=params, token=manager.token).json
    rest = client.get(EVENTS, params=params | {"cursor": first["next_cursor"]}, token=manager.token).json
    scans = client.get(EVENTS, params={"campaign_id": str(summer.id), "kind": "scan"}, token=manager.token).json

    found = [item["occurred_at"].replace("Z", "+00:00") for item in first["items"] + rest["items"]]
    assert found == times[1:3]
    assert (rest["next_cursor"], scans["items"]) == (None, [])
    assert len(client.get(EVENTS, token=manager.token).json["items"]) == 4


def test_own_engagements_are_those_of_the_caller(client, campaign, participant, fan, report, drain):
    report(campaign(), order(participant))
    drain()

    assert client.get(OWN, token=fan().token).json["items"] == []
