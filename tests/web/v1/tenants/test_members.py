"""Test members and invitations over HTTP."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.core.database import close_thread_connections
from models.tenants import invitations
from tests.support.blocked import until_blocked

pytestmark = pytest.mark.usefixtures("fresh_limits")

ROLES = ["Brand Admin", "Campaign Manager", "Creator"]


@pytest.fixture
def url(brand):
    return f"/api/v1/brands/{brand['id']}"


@pytest.fixture
def boss(member):
    return member("Brand Admin")


def trail(superuser, action):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select user_id, record_id, outcome, details from audit_logs where action = %s order by timestamp",
            (action,),
        )
        return cursor.fetchall()


def test_members_are_listed_page_by_page_and_by_role(client, url, boss, member):
    creators = [member("Creator") for _ in range(3)]

    first = client.get(f"{url}/members", params={"role": "Creator", "limit": 2}, token=boss.token).json
    query = {"role": "Creator", "limit": 2, "cursor": first["next_cursor"]}
    second = client.get(f"{url}/members", params=query, token=boss.token).json

    assert [one["email"] for one in first["items"] + second["items"]] == [one.email for one in creators]
    assert len(client.get(f"{url}/members", token=boss.token).json["items"]) == 4


def test_change_of_role_ends_tokens_with_the_old_role(client, url, boss, member, superuser):
    creator = member("Creator")

    changed = client.patch(f"{url}/members/{creator.user_id}", json={"role": "Campaign Manager"}, token=boss.token)

    assert (changed.status_code, changed.json["role"]) == (200, "Campaign Manager")
    assert client.get("/api/v1/campaigns", token=creator.token).json["code"] == "session_ended"
    ((user_id, record_id, outcome, details),) = trail(superuser, "member.change_role")
    assert (user_id, record_id, outcome) == (boss.user_id, creator.user_id, "ok")
    assert details == {"before": {"role": "Creator"}, "after": {"role": "Campaign Manager"}}


def test_removed_member_loses_access_and_keeps_the_account(client, url, boss, member):
    manager = member("Campaign Manager")

    removed = client.delete(f"{url}/members/{manager.user_id}", token=boss.token)

    assert removed.status_code == 204
    assert client.get("/api/v1/campaigns", token=manager.token).json["code"] == "session_ended"
    login = {"email": manager.email, "password": manager.password}
    user = client.post("/api/v1/auth/login", json=login).json["user"]
    assert (user["id"], user["role"], user["brand_id"]) == (str(manager.user_id), "Fan", None)


def test_removed_member_can_be_invited_again(client, url, boss, member, drain, mailbox):
    manager = member("Campaign Manager")
    client.delete(f"{url}/members/{manager.user_id}", token=boss.token)

    client.post(f"{url}/invitations", json={"email": manager.email, "role": "Creator"}, token=boss.token)
    drain()
    body = {"token": mailbox.token(manager.email), "password": "back in the brand"}
    client.post("/api/v1/auth/accept-invitation", json=body)

    assert client.get(f"{url}/members/{manager.user_id}", token=boss.token).json["role"] == "Creator"


def test_last_brand_admin_is_neither_demoted_nor_removed(client, url, boss, member, admin):
    member("Campaign Manager")
    own = f"{url}/members/{boss.user_id}"

    for token in (boss.token, admin.token):
        for answer in (
            client.patch(own, json={"role": "Creator"}, token=token),
            client.delete(own, token=token),
        ):
            assert (answer.status_code, answer.json["code"]) == (409, "last_brand_admin")

    assert client.patch(own, json={"role": "Brand Admin"}, token=boss.token).status_code == 200


def test_one_of_two_admins_may_be_demoted(client, url, boss, member):
    member("Brand Admin")

    assert client.patch(f"{url}/members/{boss.user_id}", json={"role": "Creator"}, token=boss.token).status_code == 200


def test_suspended_admin_does_not_count_as_other_brand_admin(client, url, boss, member, admin):
    suspended = member("Brand Admin")
    client.put(f"/api/v1/users/{suspended.user_id}/suspension", json={"reason": "lost phone"}, token=admin.token)

    answer = client.patch(f"{url}/members/{boss.user_id}", json={"role": "Creator"}, token=boss.token)

    assert answer.json["code"] == "last_brand_admin"


def test_concurrent_removals_leave_one_admin(client, url, boss, member):
    other = member("Brand Admin")

    with ThreadPoolExecutor(2) as pool:
        calls = [(boss, other), (other, boss)]
        answers = list(pool.map(lambda c: client.delete(f"{url}/members/{c[1].user_id}", token=c[0].token), calls))

    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])


@pytest.mark.parametrize("role", ["System Admin", "Fan", "Owner", ""])
def test_role_outside_of_brands_is_refused_by_field(client, url, boss, member, role, admin):
    creator = member("Creator")
    for token in (boss.token, admin.token):
        changed = client.patch(f"{url}/members/{creator.user_id}", json={"role": role}, token=token)
        invited = client.post(f"{url}/invitations", json={"email": "a@b.example", "role": role}, token=token)

        assert (changed.status_code, changed.json["errors"][0]["field"]) == (422, "role")
        assert (invited.status_code, invited.json["errors"][0]["field"]) == (422, "role")


@pytest.mark.parametrize("role", ROLES[1:])
def test_only_brand_admins_change_members(client, url, member, role, superuser, boss):
    account, creator = member(role), member("Creator")
    answers = [
        client.patch(f"{url}/members/{account.user_id}", json={"role": "Brand Admin"}, token=account.token),
        client.delete(f"{url}/members/{creator.user_id}", token=account.token),
        client.post(f"{url}/invitations", json={"email": "a@b.example", "role": "Creator"}, token=account.token),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
    assert [outcome for *_, outcome, _ in trail(superuser, "member.change_role")] == ["refused"]


def test_members_of_another_brand_are_not_found(client, url, boss, make_brand, member):
    other = make_brand("Other")
    stranger, theirs = member("Brand Admin", other), f"/api/v1/brands/{other['id']}"
    for brand_url in (url, theirs):
        path = f"{brand_url}/members/{stranger.user_id}"
        answers = [
            client.get(path, token=boss.token),
            client.patch(path, json={"role": "Creator"}, token=boss.token),
            client.delete(path, token=boss.token),
        ]
        assert [answer.status_code for answer in answers] == [404] * 3
    assert client.get(f"{theirs}/members", token=boss.token).status_code == 404
    invite = {"json": {"email": "a@b.example", "role": "Creator"}, "token": boss.token}
    assert client.post(f"{theirs}/invitations", **invite).status_code == 404


def test_invitation_is_sent_listed_and_accepted(client, url, boss, drain, mailbox):
    made = client.post(f"{url}/invitations", json={"email": "New@Acme.example", "role": "Creator"}, token=boss.token)
    drain()
    opened = client.get(made.headers["Location"], token=boss.token).json
    body = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}
    accepted = client.post("/api/v1/auth/accept-invitation", json=body)

    assert (made.status_code, accepted.status_code) == (201, 200)
    assert (opened["email"], opened["role"], opened["status"]) == ("new@acme.example", "Creator", "open")
    found = client.get(f"{url}/invitations", token=boss.token).json["items"]
    assert {one["email"]: one["status"] for one in found}["new@acme.example"] == "accepted"


def test_mail_is_written_in_the_language_of_the_brand(client, url, boss, drain, mailbox):
    client.patch(url, json={"settings": {"locale": "es"}}, token=boss.token)
    client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=boss.token)
    drain()

    assert mailbox.to("new@acme.example")[0]["Subject"].startswith("Te invitan")


def test_revoked_invitation_is_invalid(client, url, boss, drain, mailbox):
    made = client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=boss.token)
    drain()

    revoked = client.delete(made.headers["Location"], token=boss.token)

    assert revoked.status_code == 204
    body = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}
    assert client.post("/api/v1/auth/accept-invitation", json=body).json["code"] == "link_invalid"
    assert client.delete(made.headers["Location"], token=boss.token).json["code"] == "invitation_closed"
    resent = client.post(made.headers["Location"] + "/resend", token=boss.token)
    assert resent.json["code"] == "invitation_closed"
    assert client.get(made.headers["Location"], token=boss.token).json["status"] == "revoked"


ENDS = {
    "member.remove": lambda client, url, one, boss, admin: client.delete(f"{url}/members/{one}", token=boss.token),
    "member.change_role": lambda client, url, one, boss, admin: client.patch(
        f"{url}/members/{one}", json={"role": "Campaign Manager"}, token=boss.token
    ),
    "user.change_role": lambda client, url, one, boss, admin: client.patch(
        f"/api/v1/users/{one}", json={"role": "Fan", "brand_id": None}, token=admin.token
    ),
    "user.suspend": lambda client, url, one, boss, admin: client.put(
        f"/api/v1/users/{one}/suspension", json={"reason": "stolen"}, token=admin.token
    ),
}
"""Requests after which a member may no longer invite, by their audit action."""


@pytest.mark.parametrize("action", ENDS)
def test_invitation_of_sender_who_may_no_longer_invite_is_revoked(
    client, url, boss, member, admin, drain, mailbox, superuser, action
):
    sender = member("Brand Admin")
    body = {"email": "new@acme.example", "role": "Brand Admin"}
    made = client.post(f"{url}/invitations", json=body, token=sender.token)
    kept = client.post(f"{url}/invitations", json={**body, "email": "kept@acme.example"}, token=boss.token)
    drain()

    ended = ENDS[action](client, url, sender.user_id, boss, admin)

    assert ended.status_code in (200, 204)
    assert client.get(made.headers["Location"], token=boss.token).json["status"] == "revoked"
    assert client.get(kept.headers["Location"], token=boss.token).json["status"] == "open"
    accepted = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}
    assert client.post("/api/v1/auth/accept-invitation", json=accepted).json["code"] == "link_invalid"
    ((_, _, _, details),) = trail(superuser, action)
    assert details["after"]["revoked_invitations"] == [made.json["id"]]


def test_invitation_whose_sender_lost_the_permission_is_not_accepted(
    client, url, boss, member, drain, mailbox, superuser
):
    sender = member("Brand Admin")
    body = {"email": "new@acme.example", "role": "Brand Admin"}
    client.post(f"{url}/invitations", json=body, token=sender.token)
    drain()
    with superuser.cursor() as cursor:  # as if the role changed while the invitation was being sent
        cursor.execute("update users set role_id = 3 where id = %s", (sender.user_id,))

    accepted = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}

    assert client.post("/api/v1/auth/accept-invitation", json=accepted).json["code"] == "link_invalid"


@pytest.mark.parametrize(
    "change",
    [
        "update brands set archived_at = now() where id = %(brand)s",
        "update users set suspended_at = now() where id = %(sender)s",
        "update users set brand_id = %(other)s where id = %(sender)s",
        "update app.invitations set expires_at = now()",
    ],
)
def test_invitation_voided_after_it_was_sent_is_not_accepted(
    client, url, brand, make_brand, boss, admin, member, drain, mailbox, superuser, change
):
    sender = admin if "brands" in change else member("Brand Admin")
    client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=sender.token)
    drain()
    with superuser.cursor() as cursor:
        cursor.execute(change, {"brand": brand["id"], "other": make_brand()["id"], "sender": sender.user_id})

    accepted = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}

    assert client.post("/api/v1/auth/accept-invitation", json=accepted).json["code"] == "link_invalid"


def test_invitations_whose_sender_was_deleted_are_listed_and_void(client, url, boss, member, drain, mailbox, superuser):
    sender = member("Brand Admin")
    made = client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=sender.token)
    drain()
    superuser.cursor().execute("delete from public.users where id = %s", (sender.user_id,))

    accepted = {"token": mailbox.token("new@acme.example"), "password": "a new colleague"}

    assert client.post("/api/v1/auth/accept-invitation", json=accepted).json["code"] == "link_invalid"
    listed = client.get(f"{url}/invitations", token=boss.token).json["items"]
    assert {one["id"]: one["invited_by"] for one in listed}[made.json["id"]] is None


def test_invitation_sent_again_is_valid_for_another_week(client, url, boss, drain, mailbox, superuser):
    made = client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=boss.token)
    resend = made.headers["Location"] + "/resend"
    at_once = client.post(resend, token=boss.token)
    superuser.cursor().execute(
        "update app.invitations set sent_at = sent_at - interval '2 minutes', expires_at = now()"
    )

    later = client.post(resend, token=boss.token)
    drain()

    assert (at_once.status_code, at_once.json["code"]) == (429, "sent_just_now")
    assert int(at_once.headers["Retry-After"]) > 0
    assert (later.status_code, later.json["status"]) == (200, "open")
    assert len(mailbox.to("new@acme.example")) == 2


def test_invitation_into_archived_brand_is_not_sent_again(client, url, boss, admin, superuser):
    made = client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=boss.token)
    superuser.cursor().execute("update app.invitations set sent_at = sent_at - interval '2 minutes'")
    client.put(f"{url}/archive", token=admin.token)

    refused = client.post(made.headers["Location"] + "/resend", token=admin.token)

    assert (refused.status_code, refused.json["code"]) == (409, "brand_archived")


def test_address_has_one_open_invitation_of_a_brand(client, url, boss, superuser):
    body = {"email": "new@acme.example", "role": "Creator"}
    answers = [client.post(f"{url}/invitations", json=body, token=boss.token) for _ in range(2)]
    superuser.cursor().execute("update app.invitations set expires_at = now()")
    answers.append(client.post(f"{url}/invitations", json=body, token=boss.token))

    assert [answer.status_code for answer in answers] == [201, 409, 201]
    assert answers[1].json["code"] == "already_invited"
    found = client.get(f"{url}/invitations", token=boss.token).json["items"]
    states = [one["status"] for one in found if one["email"] == "new@acme.example"]
    assert states == ["open", "expired"]


def test_answer_to_brand_admin_hides_whether_an_account_exists(client, url, boss, admin, make_brand, member):
    stranger = member("Creator", make_brand("Other"))
    answers = [
        client.post(f"{url}/invitations", json={"email": email, "role": "Creator"}, token=boss.token)
        for email in ("nobody@at.all.example", stranger.email, admin.email)
    ]

    assert [answer.status_code for answer in answers] == [201] * 3


def test_concurrent_invitations_of_brands_keep_the_limit_of_mails(member, make_brand, superuser, monkeypatch):
    monkeypatch.setattr(invitations, "MAX_MAILS_PER_HOUR", 1)
    first, second = (member(brand=make_brand(name)) for name in ("First", "Second"))

    def invite(boss):
        invitations.invite(boss.brand_id, "victim@example.com", "Creator")

    def invite_aside():
        try:
            with second.acting():
                invite(second)
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as aside:
        with first.acting():
            invite(first)
            other = aside.submit(invite_aside)
            until_blocked(superuser)
        other.result(60)

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from app.jobs where actor = 'mail.invitation'")
        assert cursor.fetchone() == (1,)


def test_member_of_another_brand_does_not_accept_an_invitation(client, url, boss, make_brand, member, drain, mailbox):
    stranger = member("Brand Admin", make_brand("Other"))
    client.post(f"{url}/invitations", json={"email": stranger.email, "role": "Creator"}, token=boss.token)
    drain()

    body = {"token": mailbox.token(stranger.email), "password": "a new colleague"}
    refused = client.post("/api/v1/auth/accept-invitation", json=body)

    assert (refused.status_code, refused.json["code"]) == (409, "email_in_use")
    assert client.get("/api/v1/users/me", token=stranger.token).json["role"] == "Brand Admin"


def test_brand_has_a_daily_limit_of_invitations(client, url, boss, brand, superuser):
    superuser.cursor().execute(
        "insert into app.invitations (id, brand_id, email, role_id, expires_at)"
        " select gen_random_uuid(), %s, n || '@many.example', 3, now() + interval '7 days'"
        " from generate_series(1, 200) n",
        (brand["id"],),
    )

    refused = client.post(f"{url}/invitations", json={"email": "a@b.example", "role": "Creator"}, token=boss.token)

    assert (refused.status_code, refused.json["code"]) == (429, "too_many_invitations")


def test_audit_entry_of_invitation_hides_the_address(client, url, boss, superuser):
    client.post(f"{url}/invitations", json={"email": "new@acme.example", "role": "Creator"}, token=boss.token)

    ((user_id, _, outcome, details),) = trail(superuser, "invitation.create")
    assert (user_id, outcome, details["after"]["role"]) == (boss.user_id, "ok", "Creator")
    assert "new@" not in str(details)
