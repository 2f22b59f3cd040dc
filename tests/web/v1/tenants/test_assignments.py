"""Test assignments over HTTP and in the row policies: a Creator sees assigned campaigns only."""

import pytest

from models.core.database import value

URL = "/api/v1/campaigns"


@pytest.fixture
def creator(member):
    return member("Creator")


def seen(client, creator):
    return [one["name"] for one in client.get(URL, token=creator.token).json["items"]]


def test_creator_sees_a_campaign_while_assigned(client, campaign, manager, creator):
    own, other = campaign("Own"), campaign("Other")
    path = f"{URL}/{own.id}/assignments/{creator.user_id}"
    before = seen(client, creator)

    given = [client.put(path, token=manager.token).status_code for _ in range(2)]
    during = seen(client, creator)
    other_reads = [client.get(f"{URL}/{other.id}{part}", token=creator.token).status_code for part in ("", "/codes/x")]
    codes = [
        len(client.get(f"{URL}/{one.id}/codes", token=creator.token).json.get("items", [])) for one in (own, other)
    ]
    taken = [client.delete(path, token=manager.token).status_code for _ in range(2)]

    assert (before, during, seen(client, creator)) == ([], ["Own"], [])
    assert (given, taken, other_reads, codes) == ([204, 204], [204, 404], [404, 404], [1, 0])


def test_creator_reads_no_jobs(client, campaign, manager, creator, superuser):
    other = campaign("Other", launched=False)
    job = client.post(f"/api/v1/campaigns/{other.id}/launch", token=manager.token).json["id"]

    assert client.get(f"/api/v1/jobs/{job}", token=manager.token).status_code == 200
    assert client.get(f"/api/v1/jobs/{job}", token=creator.token).status_code == 404
    with superuser.cursor() as cursor:
        cursor.execute(
            "select role from role_permissions where permission = 'jobs:read'"
            " except select role from role_permissions where permission = 'campaigns:all'"
        )
        assert cursor.fetchall() == []


TABLES = {"campaigns": 1, "qr_codes": 1, "engagements": 1, "scan_rollups": 1, "campaign_audience": 1}
TABLES |= {"qr_scans": 0, "campaign_assignments": 0}
"""Tables with one row for each campaign → number of rows that a Creator with one campaign sees."""


def test_row_policies_hide_other_campaigns_from_creator(campaign, creator, assign, put_scan, fan, query):
    own, other = campaign("Own"), campaign("Other")
    assign(own, creator)
    for one in (own, other):
        put_scan(one, user := fan().user_id)
        query("insert into engagements values (%s, %s, %s, now(), now(), 1)", one.brand_id, one.id, user)
        query("insert into scan_rollups values (%s, %s, now(), 'decision', 'accepted', 1, now())", one.brand_id, one.id)
        query(
            "with s as (insert into audience_segments (brand_id, name) values (%s, %s) returning id, brand_id)"
            " insert into campaign_audience select brand_id, %s, id from s",
            *(one.brand_id, one.name, one.id),
        )

    seen = {}
    with creator.acting():
        for table in TABLES:
            column = "id" if table == "campaigns" else "campaign_id"
            assert value(f"SELECT count(*) FROM public.{table} WHERE {column} <> %s", (own.id,)) == 0
            seen[table] = value(f"SELECT count(*) FROM public.{table}")

    assert seen == TABLES


def test_assignments_are_listed_with_their_author(client, campaign, manager, creator, assign, member):
    summer, second = campaign(), member("Creator")
    for one in (creator, second):
        assign(summer, one)
    assign(campaign("Other"), second)

    first = client.get(f"{URL}/{summer.id}/assignments", params={"limit": 1}, token=manager.token).json
    query = {"limit": 1, "cursor": first["next_cursor"]}
    rest = client.get(f"{URL}/{summer.id}/assignments", params=query, token=manager.token).json

    found = first["items"] + rest["items"]
    assert [one["email"] for one in found] == [creator.email, second.email]
    assert {one["assigned_by"] for one in found} == {str(manager.user_id)}
    assert rest["next_cursor"] is None


def test_only_creators_of_the_own_brand_are_assigned(client, campaign, manager, member, make_brand, fan):
    summer = campaign()
    stranger = member("Creator", make_brand("Other"))

    def put(account):
        answer = client.put(f"{URL}/{summer.id}/assignments/{account.user_id}", token=manager.token)
        return answer.status_code, answer.json["code"]

    assert put(member("Brand Admin")) == (409, "not_a_creator")
    assert put(stranger) == (404, "not_found")
    assert put(fan()) == (404, "not_found")


def test_another_brand_does_not_assign_to_a_campaign(client, campaign, creator, member, make_brand):
    summer, stranger = campaign(), member("Brand Admin", make_brand("Other"))
    path = f"{URL}/{summer.id}/assignments"

    answers = [
        client.get(path, token=stranger.token),
        client.put(f"{path}/{creator.user_id}", token=stranger.token),
        client.delete(f"{path}/{creator.user_id}", token=stranger.token),
    ]

    assert [answer.status_code for answer in answers] == [404] * 3


def test_creator_does_not_assign(client, campaign, creator):
    path = f"{URL}/{campaign().id}/assignments"

    assert client.get(path, token=creator.token).status_code == 403
    assert client.put(f"{path}/{creator.user_id}", token=creator.token).status_code == 403


def test_unassignment_keeps_other_creators_and_other_campaigns(
    client, campaign, manager, creator, assign, member, superuser
):
    summer, winter, second = campaign(), campaign("Winter"), member("Creator")
    for one in (creator, second):
        assign(summer, one)
        assign(winter, one)

    client.delete(f"{URL}/{summer.id}/assignments/{creator.user_id}", token=manager.token)

    assert assigned(superuser) == {
        (summer.id, second.user_id),
        (winter.id, creator.user_id),
        (winter.id, second.user_id),
    }


def test_assignments_end_with_the_role_creator(client, campaign, creator, assign, member, superuser):
    boss, second, third = member("Brand Admin"), member("Creator"), member("Creator")
    summer = campaign()
    for one in (creator, second, third):
        assign(summer, one)
    url = f"/api/v1/brands/{summer.brand_id}/members"

    promoted = client.patch(f"{url}/{creator.user_id}", json={"role": "Campaign Manager"}, token=boss.token)
    removed = client.delete(f"{url}/{second.user_id}", token=boss.token)
    unchanged = client.patch(f"{url}/{third.user_id}", json={"role": "Creator"}, token=boss.token)

    assert (promoted.status_code, removed.status_code, unchanged.status_code) == (200, 204, 200)
    assert assigned(superuser) == {(summer.id, third.user_id)}


def test_assignments_end_when_creator_moves_to_another_brand(
    client, campaign, creator, assign, admin, make_brand, superuser
):
    assign(campaign(), creator)
    move = {"role": "Creator", "brand_id": str(make_brand("Other")["id"])}

    moved = client.patch(f"/api/v1/users/{creator.user_id}", json=move, token=admin.token)

    assert moved.status_code == 200
    assert assigned(superuser) == set()


def assigned(superuser):
    with superuser.cursor() as cursor:
        cursor.execute("select campaign_id, user_id from campaign_assignments")
        return set(cursor.fetchall())


def test_assignment_has_an_audit_entry(client, campaign, manager, creator, superuser):
    summer = campaign()
    client.put(f"{URL}/{summer.id}/assignments/{creator.user_id}", token=manager.token)

    with superuser.cursor() as cursor:
        cursor.execute("select record_id, details from audit_logs where action = 'campaign.assign'")
        assert cursor.fetchall() == [(summer.id, {"after": {"creator": str(creator.user_id)}})]
