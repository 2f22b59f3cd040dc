"""What an act changed stands in its entry, as it was and as it is; of addresses only that they differ."""

import pytest

from models.identity import accounts, system_admin
from tests.fixtures.accounts import PASSWORD
from tests.fixtures.audit import entries

pytestmark = pytest.mark.usefixtures("fresh_limits")


@pytest.fixture
def told(superuser):
    """Of the newest entry of an action, what was before and after; nothing in it is an address.

    What is sealed has no keyed hash either: those are personal values.
    """

    def told(action):
        entry = next(entry for entry in entries(action) if entry.outcome == "ok")
        with superuser.cursor() as cursor:
            cursor.execute("select details::text from audit_logs where id = %s", (entry.id,))
            assert "hmac:" not in cursor.fetchone()[0]
        assert "@" not in str(entry.details)
        return entry.details.get("before"), entry.details.get("after")

    return told


def email(address):
    return {"email": accounts.protect("email", address)}


def test_another_address_of_an_account_and_the_way_back(client, drain, mailbox, member, told):
    manager = member()
    for address in ("first@example.com", "second@example.com"):
        client.post("/api/v1/users/me/email", json={"email": address}, token=manager.token)
        drain()
        asked = told("email.ask")
        client.post("/api/v1/auth/email/confirm", json={"token": mailbox.token(address)})
        drain()
        assert asked == told("email.change")
    assert asked == (email("first@example.com"), email("second@example.com"))

    undone = client.post("/api/v1/auth/email/undo", json={"token": mailbox.token(manager.email)})

    assert undone.status_code == 200
    assert told("email.undo") == (email("second@example.com"), email(manager.email))


def test_a_fan_who_signs_up_and_becomes_a_member(client, drain, mailbox, fan, member, brand, told):
    boss, phone = member("Brand Admin"), fan()
    client.post("/api/v1/auth/signup", json={"email": "new@example.com"})
    drain()
    notice = client.get("/api/v1/consent-notices/default").json["id"]
    chosen = {"password": PASSWORD, "consent_tiers": ["analytics"], "notice_id": notice}
    verified = {"token": mailbox.token("new@example.com"), **chosen}
    client.post("/api/v1/auth/verify", json=verified, token=phone.token)
    anonymous = {"role": "Fan", "brand_id": None, "is_anonymous": True}
    person = anonymous | {"is_anonymous": False}
    assert told("account.verify") == (anonymous, person | {"consent_tiers": ["analytics"], "notice": notice})

    invited = {"email": "new@example.com", "role": "Creator"}
    client.post(f"/api/v1/brands/{brand['id']}/invitations", json=invited, token=boss.token)
    drain()
    client.post(
        "/api/v1/auth/accept-invitation", json={"token": mailbox.token("new@example.com"), "password": PASSWORD}
    )

    assert told("invitation.accept") == (person, person | {"role": "Creator", "brand_id": str(brand["id"])})


def test_an_invitation_that_is_taken_up_or_taken_back(client, drain, mailbox, fan, member, brand, told, superuser):
    boss, person = member("Brand Admin"), fan()
    superuser.cursor().execute(
        "update users set email = 'fan@example.com', is_anonymous = false, password_hash = 'x' where id = %s",
        (person.user_id,),
    )
    url = f"/api/v1/brands/{brand['id']}/invitations"
    client.post(url, json={"email": "fan@example.com", "role": "Creator"}, token=boss.token)
    drain()
    client.post("/api/v1/users/me/invitation", json={"token": mailbox.token("fan@example.com")}, token=person.token)
    assert [place["role"] for place in told("invitation.accept")] == ["Fan", "Creator"]

    made = client.post(url, json={"email": "other@example.com", "role": "Creator"}, token=boss.token).json
    client.delete(f"{url}/{made['id']}", token=boss.token)

    assert told("invitation.revoke") == ({**email("other@example.com"), "role": "Creator"}, None)


def test_a_member_who_leaves(client, member, brand, told):
    boss, creator = member("Brand Admin"), member("Creator")

    client.delete(f"/api/v1/brands/{brand['id']}/members/{creator.user_id}", token=boss.token)

    assert told("member.remove") == (
        {"role": "Creator", "brand_id": str(brand["id"])},
        {"role": "Fan", "brand_id": None},
    )


def test_an_account_that_is_suspended_and_a_brand_that_is_archived(client, admin, member, make_brand, told):
    somebody, acme = member(), make_brand("Acme")
    suspension, archive = f"/api/v1/users/{somebody.user_id}/suspension", f"/api/v1/brands/{acme['id']}/archive"

    suspended = client.put(suspension, json={"reason": "stolen"}, token=admin.token).json["suspended_at"]
    archived = client.put(archive, token=admin.token).json["archived_at"]
    assert moments(told("user.suspend"), "suspended_at") == [None, suspended]
    assert moments(told("brand.archive"), "archived_at") == [None, archived]

    client.delete(suspension, token=admin.token)
    client.delete(archive, token=admin.token)
    assert moments(told("user.reinstate"), "suspended_at") == [suspended, None]
    assert moments(told("brand.restore"), "archived_at") == [archived, None]


def moments(told, field):
    return [content[field] for content in told]


def test_a_key_that_is_revoked(client, member, told):
    boss = member("Brand Admin")
    made = client.post("/api/v1/api-keys", json={"name": "till", "scopes": ["jobs:read"]}, token=boss.token).json

    client.delete(f"/api/v1/api-keys/{made['id']}", token=boss.token)

    before, after = told("api_key.revoke")
    assert (before["name"], before["scopes"], before["revoked_at"]) == ("till", ["jobs:read"], None)
    assert after["revoked_at"] is not None


def test_a_consent_that_is_given_to_a_brand_and_taken_back(client, fan, brand, told):
    phone = fan()
    body = {"tier": "marketing", "brand_id": str(brand["id"])}

    given = client.post("/api/v1/consents", json=body, token=phone.token).json
    consent = body | {"notice": given["notice"]["id"]}
    assert told("consent.grant") == (None, consent | {"new": True})
    client.delete(f"/api/v1/consents/{given['id']}", token=phone.token)

    assert told("consent.revoke") == (consent, {"changed": True})


def test_a_system_admin_who_is_made_by_whoever_runs_the_system(db_clean, told, superuser):
    system_admin.ensure_system_admin("root@example.com", "correct horse battery", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    made = {"role": "System Admin", **email("root@example.com")}
    assert told("account.ensure_admin") == (None, made | {"made": ["account", "password", "authenticator"]})

    system_admin.ensure_system_admin("root@example.com", "another horse entirely")
    assert told("account.ensure_admin") == (None, made | {"made": ["password"]})
    system_admin.ensure_system_admin("root@example.com", "another horse entirely")

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from audit_logs where action = 'account.ensure_admin'")
        assert cursor.fetchone() == (2,)
