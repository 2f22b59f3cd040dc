"""Test the old and new values in audit entries. Of addresses, an entry shows only that they differ."""

import pytest

from models.identity import accounts, system_admin
from tests.fixtures.accounts import PASSWORD
from tests.fixtures.audit import entries

pytestmark = pytest.mark.usefixtures("fresh_limits")


@pytest.fixture
def values_of(superuser):
    """Return a function: read the values before and after in the newest entry of an action.

    No value is an address. Sealed details contain no keyed hash: keyed hashes are personal values.
    """

    def values_of(action):
        entry = next(entry for entry in entries(action) if entry.outcome == "ok")
        with superuser.cursor() as cursor:
            cursor.execute("select details::text from audit_logs where id = %s", (entry.id,))
            assert "hmac:" not in cursor.fetchone()[0]
        assert "@" not in str(entry.details)
        return entry.details.get("before"), entry.details.get("after")

    return values_of


def email(address):
    return {"email": accounts.protect("email", address)}


def test_email_change_and_undo_record_both_values(client, drain, mailbox, member, values_of):
    manager = member()
    for address in ("first@example.com", "second@example.com"):
        client.post("/api/v1/users/me/email", json={"email": address}, token=manager.token)
        drain()
        asked = values_of("email.ask")
        client.post("/api/v1/auth/email/confirm", json={"token": mailbox.token(address)})
        drain()
        assert asked == values_of("email.change")
    assert asked == (email("first@example.com"), email("second@example.com"))

    undone = client.post("/api/v1/auth/email/undo", json={"token": mailbox.token(manager.email)})

    assert undone.status_code == 200
    assert values_of("email.undo") == (email("second@example.com"), email(manager.email))


def test_sign_up_and_new_role_record_both_values(client, drain, mailbox, fan, member, brand, values_of):
    boss, phone = member("Brand Admin"), fan()
    client.post("/api/v1/auth/signup", json={"email": "new@example.com"})
    drain()
    notice = client.get("/api/v1/consent-notices/default").json["id"]
    chosen = {"password": PASSWORD, "consent_tiers": ["analytics"], "notice_id": notice}
    verified = {"token": mailbox.token("new@example.com"), **chosen}
    client.post("/api/v1/auth/verify", json=verified, token=phone.token)
    anonymous = {"role": "Fan", "brand_id": None, "is_anonymous": True}
    person = anonymous | {"is_anonymous": False}
    assert values_of("account.verify") == (anonymous, person | {"consent_tiers": ["analytics"], "notice": notice})

    invited = {"email": "new@example.com", "role": "Creator"}
    client.post(f"/api/v1/brands/{brand['id']}/invitations", json=invited, token=boss.token)
    drain()
    client.post(
        "/api/v1/auth/accept-invitation", json={"token": mailbox.token("new@example.com"), "password": PASSWORD}
    )

    assert values_of("invitation.accept") == (person, person | {"role": "Creator", "brand_id": str(brand["id"])})


def test_accepted_or_revoked_invitation_records_both_values(
    client, drain, mailbox, fan, member, brand, values_of, superuser
):
    boss, person = member("Brand Admin"), fan()
    superuser.cursor().execute(
        "update users set email = 'fan@example.com', is_anonymous = false, password_hash = 'x' where id = %s",
        (person.user_id,),
    )
    url = f"/api/v1/brands/{brand['id']}/invitations"
    client.post(url, json={"email": "fan@example.com", "role": "Creator"}, token=boss.token)
    drain()
    client.post("/api/v1/users/me/invitation", json={"token": mailbox.token("fan@example.com")}, token=person.token)
    assert [place["role"] for place in values_of("invitation.accept")] == ["Fan", "Creator"]

    made = client.post(url, json={"email": "other@example.com", "role": "Creator"}, token=boss.token).json
    client.delete(f"{url}/{made['id']}", token=boss.token)

    assert values_of("invitation.revoke") == ({**email("other@example.com"), "role": "Creator"}, None)


def test_removed_member_records_both_values(client, member, brand, values_of):
    boss, creator = member("Brand Admin"), member("Creator")

    client.delete(f"/api/v1/brands/{brand['id']}/members/{creator.user_id}", token=boss.token)

    assert values_of("member.remove") == (
        {"role": "Creator", "brand_id": str(brand["id"])},
        {"role": "Fan", "brand_id": None},
    )


def test_suspension_and_archiving_record_both_values(client, admin, member, make_brand, values_of):
    account, acme = member(), make_brand("Acme")
    suspension, archive = f"/api/v1/users/{account.user_id}/suspension", f"/api/v1/brands/{acme['id']}/archive"

    suspended = client.put(suspension, json={"reason": "stolen"}, token=admin.token).json["suspended_at"]
    archived = client.put(archive, token=admin.token).json["archived_at"]
    assert moments(values_of("user.suspend"), "suspended_at") == [None, suspended]
    assert moments(values_of("brand.archive"), "archived_at") == [None, archived]

    client.delete(suspension, token=admin.token)
    client.delete(archive, token=admin.token)
    assert moments(values_of("user.reinstate"), "suspended_at") == [suspended, None]
    assert moments(values_of("brand.restore"), "archived_at") == [archived, None]


def moments(values_of, field):
    return [content[field] for content in values_of]


def test_revoked_api_key_records_both_values(client, member, values_of):
    boss = member("Brand Admin")
    made = client.post("/api/v1/api-keys", json={"name": "till", "scopes": ["jobs:read"]}, token=boss.token).json

    client.delete(f"/api/v1/api-keys/{made['id']}", token=boss.token)

    before, after = values_of("api_key.revoke")
    assert (before["name"], before["scopes"], before["revoked_at"]) == ("till", ["jobs:read"], None)
    assert after["revoked_at"] is not None


def test_given_and_withdrawn_consent_record_both_values(client, fan, brand, values_of):
    phone = fan()
    body = {"tier": "marketing", "brand_id": str(brand["id"])}

    given = client.post("/api/v1/consents", json=body, token=phone.token).json
    consent = body | {"notice": given["notice"]["id"]}
    assert values_of("consent.grant") == (None, consent | {"new": True})
    client.delete(f"/api/v1/consents/{given['id']}", token=phone.token)

    assert values_of("consent.revoke") == (consent, {"changed": True})


def test_system_admin_made_by_operator_records_both_values(db_clean, values_of, superuser):
    system_admin.ensure_system_admin("root@example.com", "correct horse battery", "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    made = {"role": "System Admin", **email("root@example.com")}
    assert values_of("account.ensure_admin") == (None, made | {"made": ["account", "password", "authenticator"]})

    system_admin.ensure_system_admin("root@example.com", "another horse entirely")
    assert values_of("account.ensure_admin") == (None, made | {"made": ["password"]})
    system_admin.ensure_system_admin("root@example.com", "another horse entirely")

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from audit_logs where action = 'account.ensure_admin'")
        assert cursor.fetchone() == (2,)
