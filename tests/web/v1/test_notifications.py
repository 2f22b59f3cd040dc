"""Test the notifications of members: who gets them, their list, preferences and mails."""

from datetime import timedelta
from uuid import uuid4

import pytest

from models.core import context
from models.core.database import now, transaction
from models.jobs.ledger import enqueue
from models.notifications import notifications
from models.notifications.kinds import KINDS, WORDINGS
from models.notifications.notifications import notify

LIST = "/api/v1/notifications"
NEAR = {"campaign": "Plaza", "used": 90, "limit": 100}


@pytest.fixture
def happen(drain, mailbox):
    """`happen(brand_id, kind, values)`: notify of an event in a job of the brand, and run what follows."""

    def happen(brand_id, kind="limit_near", values=NEAR, subject=("report", "1"), permission="campaigns:launch"):
        identity = context.for_brand_job(brand_id) if brand_id else context.for_system_job()
        with transaction(identity):
            notify(kind, brand_id=brand_id, subject=subject, values=values, permission=permission)
        return drain()

    return happen


def listed(client, person, query="", **headers):
    return client.get(f"{LIST}{query}", token=person.token, headers=headers).json


def titles(client, person):
    return [item["title"] for item in listed(client, person)["items"]]


def test_event_reaches_members_with_the_permission_only(client, member, make_brand, admin, happen, mailbox):
    boss, manager, creator = member("Brand Admin"), member("Campaign Manager"), member("Creator")
    stranger = member("Brand Admin", make_brand("Other"))

    happen(boss.brand_id)

    assert [titles(client, one) for one in (boss, manager, creator, stranger, admin)] == [
        ["Plaza is near its limit"],
        ["Plaza is near its limit"],
        [],
        [],
        [],
    ]
    assert sorted(message["To"] for message in mailbox.messages) == sorted([boss.email, manager.email])
    assert {message["Subject"] for message in mailbox.messages} == {"Plaza is near its limit"}


def test_fan_and_api_key_have_no_notifications(client, fan, member):
    key = client.post(
        "/api/v1/api-keys", token=member("Brand Admin").token, json={"name": "x", "scopes": ["brand:read"]}
    )

    answers = [client.get(LIST, token=token) for token in (fan().token, key.json["key"])]

    assert [answer.status_code for answer in answers] == [403, 403]


def test_creator_is_notified_of_assigned_campaigns_only(client, member, campaign, happen, query):
    plaza, creator = campaign(), member("Creator")
    event = {"subject": ("campaign", plaza.id), "permission": "campaigns:read"}

    happen(plaza.brand_id, **event)
    before = titles(client, creator)
    query(
        "insert into campaign_assignments (brand_id, campaign_id, user_id) values (%s, %s, %s)",
        *(plaza.brand_id, plaza.id, creator.user_id),
    )
    query("update notifications set created_at = created_at - interval '2 hours'")
    happen(plaza.brand_id, **event)

    assert (before, titles(client, creator)) == ([], ["Plaza is near its limit"])


def test_events_of_an_hour_are_one_notification_and_one_mail(client, member, happen, mailbox, query):
    boss = member("Brand Admin")
    happen(boss.brand_id)
    client.put(f"{LIST}/{listed(client, boss)['items'][0]['id']}/read", token=boss.token)

    happen(boss.brand_id, values={**NEAR, "used": 95})
    happen(boss.brand_id, subject=("report", "2"))

    first, second = reversed(listed(client, boss)["items"])
    assert (first["occurrences"], first["read_at"]) == (2, None)
    assert first["text"] == "The campaign Plaza has used 95 of 100 scans."
    assert (second["occurrences"], second["subject_id"]) == (1, "2")
    assert len(mailbox.messages) == 2
    query("update notifications set created_at = created_at - interval '61 minutes'")
    happen(boss.brand_id)
    assert [item["occurrences"] for item in listed(client, boss)["items"]] == [1, 1, 2]
    assert len(mailbox.messages) == 3


def test_notification_is_read_once_and_counted(client, member, happen):
    boss, other = member("Brand Admin"), member("Brand Admin")
    for number in range(3):
        happen(boss.brand_id, subject=("report", str(number)))
    newest, middle, oldest = listed(client, boss)["items"]

    one = client.put(f"{LIST}/{middle['id']}/read", token=boss.token).json
    again = client.put(f"{LIST}/{middle['id']}/read", token=boss.token).json
    foreign = client.put(f"{LIST}/{middle['id']}/read", token=other.token)
    rest = client.post(f"{LIST}/read", token=boss.token, json={"up_to": middle["id"]})

    assert one["read_at"] is not None
    assert again == one
    assert foreign.status_code == 404
    assert rest.json == {"marked": 1}
    assert listed(client, boss)["unread"] == 1
    assert [item["id"] for item in listed(client, boss, "?unread=true")["items"]] == [newest["id"]]
    assert listed(client, other)["unread"] == 3
    assert oldest["read_at"] is None


def test_list_of_notifications_has_pages(client, member, happen):
    boss = member("Brand Admin")
    for number in range(3):
        happen(boss.brand_id, subject=("report", str(number)))

    first = listed(client, boss, "?limit=2")
    second = listed(client, boss, f"?limit=2&cursor={first['next_cursor']}")

    assert [item["subject_id"] for item in first["items"] + second["items"]] == ["2", "1", "0"]
    assert second["next_cursor"] is None


def test_text_of_notification_is_in_the_language_of_the_request(client, member, happen):
    boss = member("Brand Admin")
    happen(boss.brand_id)

    answer = client.get(LIST, token=boss.token, headers={"Accept-Language": "es-MX"})

    assert answer.json["items"][0]["title"] == "Plaza se acerca a su límite"
    assert answer.headers["content-language"] == "es"


def test_preferences_choose_list_and_mail_of_a_kind(client, member, happen, mailbox):
    boss = member("Brand Admin")

    def choose(in_app, mail):
        chosen = [{"kind": "limit_near", "in_app": in_app, "mail": mail}]
        return client.put(f"{LIST}/preferences", token=boss.token, json={"preferences": chosen}).json["preferences"]

    found = []
    for number, (in_app, mail) in enumerate([(True, False), (False, True), (False, False)]):
        kept = choose(in_app, mail)
        assert [one["kind"] for one in kept] == list(KINDS)
        assert {"kind": "limit_near", "in_app": in_app, "mail": mail} in kept
        happen(boss.brand_id, subject=("report", str(number)))
        found.append((len(listed(client, boss)["items"]), len(mailbox.messages)))

    assert found == [(1, 0), (1, 1), (1, 1)]
    assert listed(client, boss)["unread"] == 1


def test_stale_change_of_preferences_is_refused(client, member):
    boss, path = member("Brand Admin"), f"{LIST}/preferences"
    known = client.get(path, token=boss.token).headers["etag"]
    chosen = {"preferences": [{"kind": "limit_near", "in_app": False, "mail": False}]}

    first = client.put(path, token=boss.token, json=chosen, headers={"If-Match": known})
    stale = client.put(path, token=boss.token, json={"preferences": []}, headers={"If-Match": known})

    assert (first.status_code, stale.status_code) == (200, 412)
    assert client.get(path, token=boss.token).headers["etag"] == first.headers["etag"] != known


def test_preferences_left_out_are_defaults(client, member):
    boss, path = member("Brand Admin"), f"{LIST}/preferences"
    chosen = {"kind": "limit_near", "in_app": False, "mail": False}
    client.put(path, token=boss.token, json={"preferences": [chosen]})

    twice = client.put(path, token=boss.token, json={"preferences": [chosen, chosen]})
    reset = client.put(path, token=boss.token, json={"preferences": []})

    assert twice.status_code == 422
    assert reset.json == client.get(path, token=member("Brand Admin").token).json
    assert {one["kind"]: one["mail"] for one in reset.json["preferences"]} == {
        kind: wording.mail for kind, wording in WORDINGS.items()
    }


def test_mail_is_not_sent_to_people_who_may_no_longer_read_it(client, member, drain, mailbox, query):
    people = [member("Brand Admin") for _ in range(5)]
    stays, left, suspended, demoted, unwilling = people
    with transaction(context.for_brand_job(stays.brand_id)):
        notifications.create("limit_near", ("report", "1"), NEAR, "campaigns:launch")

    query("update users set role_id = 4, brand_id = null where id = %s", left.user_id)
    query("update users set suspended_at = now() where id = %s", suspended.user_id)
    query("update users set role_id = 3 where id = %s", demoted.user_id)
    chosen = [{"kind": "limit_near", "in_app": True, "mail": False}]
    client.put(f"{LIST}/preferences", token=unwilling.token, json={"preferences": chosen})
    ran = drain()

    assert ran.count("mail.notification") == 5
    assert [message["To"] for message in mailbox.messages] == [stays.email]


def test_mail_of_a_notification_that_was_read_is_not_sent(client, member, drain, mailbox):
    boss = member("Brand Admin")
    with transaction(context.for_brand_job(boss.brand_id)):
        notifications.create("limit_near", ("report", "1"), NEAR, "campaigns:launch")

    client.post(f"{LIST}/read", token=boss.token, json={"up_to": listed(client, boss)["items"][0]["id"]})
    drain()

    assert mailbox.messages == []


def test_notifications_of_a_member_who_leaves_are_deleted(client, member, happen, query):
    boss, leaver = member("Brand Admin"), member("Brand Admin")
    happen(boss.brand_id)

    removed = client.delete(f"/api/v1/brands/{boss.brand_id}/members/{leaver.user_id}", token=boss.token)

    assert removed.status_code == 204
    assert query("select user_id from notifications") == [(boss.user_id,)]


def test_system_admins_are_notified_without_a_brand(client, member, admin, happen, mailbox):
    boss = member("Brand Admin")

    happen(None, "service_down", {"service": "locker"}, ("service", "locker"), "brands:read")

    assert titles(client, admin) == ["locker does not respond"]
    assert titles(client, boss) == []
    assert [message["To"] for message in mailbox.messages] == [admin.email]


def test_notify_with_other_values_than_the_text_is_refused(member):
    boss = member("Brand Admin")

    with boss.acting(), pytest.raises(ValueError, match="limit_near needs the values campaign, limit, used"):
        notify(
            "limit_near",
            brand_id=boss.brand_id,
            subject=("campaign", uuid4()),
            values={"campaign": "Plaza"},
            permission="campaigns:read",
        )


def test_texts_of_a_kind_use_the_same_values_in_each_language():
    from string import Template

    for kind, wording in WORDINGS.items():
        values = [set(Template(f"{text.title} {text.body}").get_identifiers()) for text in (wording.en, wording.es)]
        assert values[0] == values[1], kind


def test_old_notifications_are_deleted_by_the_scheduled_job(client, member, happen, drain, query):
    boss = member("Brand Admin")
    happen(boss.brand_id)
    happen(boss.brand_id, subject=("report", "2"))
    query(
        "update notifications set created_at = %s where subject_id = '1'",
        now() - notifications.RETENTION - timedelta(days=1),
    )

    with transaction(context.for_system_job()):
        enqueue("notifications.expire")
    drain()

    assert [item["subject_id"] for item in listed(client, boss)["items"]] == ["2"]
