"""Test users over HTTP: system admins list, suspend and move accounts."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.core.database import close_thread_connections
from models.core.errors import Problem
from models.identity import sessions, system_admin, users
from tests.fixtures.accounts import PASSWORD, TOTP_SECRET, sign_in_admin
from tests.fixtures.audit import entries
from tests.support.blocked import until_blocked

URL = "/api/v1/users"

pytestmark = pytest.mark.usefixtures("fresh_limits")


def found(client, admin, **query):
    return [one["id"] for one in client.get(URL, params=query, token=admin.token).json["items"]]


def test_accounts_are_filtered_by_address_role_brand_and_status(client, admin, brand, member, fan, make_brand):
    creator, stranger = member("Creator"), member("Creator", make_brand("Other"))
    anonymous = fan()

    assert found(client, admin, role="Creator") == [str(stranger.user_id), str(creator.user_id)]
    assert found(client, admin, brand_id=str(brand["id"])) == [str(creator.user_id)]
    assert found(client, admin, email=creator.email.upper()) == [str(creator.user_id)]
    assert found(client, admin, email="%") == found(client, admin, email="_") == []
    assert found(client, admin, role="Fan") == [str(anonymous.user_id)]
    client.put(f"{URL}/{creator.user_id}/suspension", json={"reason": "lost phone"}, token=admin.token)
    assert found(client, admin, status="suspended") == [str(creator.user_id)]
    assert str(creator.user_id) not in found(client, admin, status="active")


def test_accounts_are_listed_newest_first_page_by_page(client, admin, member):
    people = [str(member("Creator").user_id) for _ in range(3)]

    first = client.get(URL, params={"limit": 2}, token=admin.token).json
    second = client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]}, token=admin.token).json

    assert [one["id"] for one in first["items"] + second["items"]] == [*people[::-1], str(admin.user_id)]


def test_suspended_account_is_refused_until_reinstated(client, admin, member):
    creator = member("Creator")
    login = {"email": creator.email, "password": creator.password}

    suspended = client.put(f"{URL}/{creator.user_id}/suspension", json={"reason": "lost phone"}, token=admin.token)

    assert (suspended.status_code, suspended.json["suspended_at"] is not None) == (200, True)
    assert client.get("/api/v1/users/me", token=creator.token).json["code"] == "session_ended"
    assert client.post("/api/v1/auth/login", json=login).json["code"] == "invalid_credentials"
    assert client.delete(f"{URL}/{creator.user_id}/suspension", token=admin.token).json["suspended_at"] is None
    assert client.post("/api/v1/auth/login", json=login).status_code == 200


@pytest.mark.parametrize("was_suspended", [True, False])
def test_reinstatement_deletes_counters_of_attempts(client, admin, member, was_suspended):
    creator = member("Creator")
    login = {"email": creator.email, "password": creator.password}
    if was_suspended:
        client.put(f"{URL}/{creator.user_id}/suspension", json={"reason": "lost phone"}, token=admin.token)
    for _ in range(sessions.MAX_ATTEMPTS_PER_NETWORK + 1):
        answer = client.post("/api/v1/auth/login", json={**login, "password": "not the password"})
    assert answer.status_code == 429

    client.delete(f"{URL}/{creator.user_id}/suspension", token=admin.token)

    assert client.post("/api/v1/auth/login", json=login).status_code == 200


def test_suspension_of_own_account_is_refused(client, admin):
    refused = client.put(f"{URL}/{admin.user_id}/suspension", json={"reason": "x"}, token=admin.token)

    assert (refused.status_code, refused.json["code"]) == (409, "own_account")


def test_system_admin_moves_a_user_into_another_brand(client, admin, member, make_brand, superuser):
    creator, other = member("Creator"), make_brand("Other")
    body = {"role": "Brand Admin", "brand_id": str(other["id"])}

    moved = client.patch(f"{URL}/{creator.user_id}", json=body, token=admin.token)

    assert (moved.status_code, moved.json["role"], moved.json["brand_id"]) == (200, "Brand Admin", str(other["id"]))
    assert client.get("/api/v1/users/me", token=creator.token).status_code == 401
    with superuser.cursor() as cursor:
        cursor.execute(
            "select brand_id, details -> 'before' ->> 'role' from audit_logs where action = 'user.change_role'"
        )
        assert cursor.fetchall() == [(other["id"], "Creator")]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"role": "Creator"}, "brand_by_role"),
        ({"role": "Fan", "brand_id": "0198a3f0-0000-7000-8000-0000000000b0"}, "brand_by_role"),
        ({"role": "Creator", "brand_id": "0198a3f0-0000-7000-8000-0000000000b0"}, "unknown_brand"),
        ({"role": "System Admin"}, "invalid"),
    ],
)
def test_impossible_role_change_is_refused(client, admin, member, body, code):
    refused = client.patch(f"{URL}/{member('Creator').user_id}", json=body, token=admin.token)

    assert (refused.status_code, refused.json["code"]) == (422, code)


def test_role_of_system_admin_or_anonymous_fan_is_not_changed(client, admin, fan, brand):
    member = {"role": "Creator", "brand_id": str(brand["id"])}
    unmade = client.patch(f"{URL}/{admin.user_id}", json={"role": "Fan"}, token=admin.token)
    made = client.patch(f"{URL}/{fan().user_id}", json=member, token=admin.token)

    assert (unmade.status_code, unmade.json["code"]) == (403, "role_not_grantable")
    assert (made.status_code, made.json["code"]) == (409, "anonymous_account")


def test_role_change_with_outdated_etag_returns_412(client, admin, member):
    url = f"{URL}/{member('Creator').user_id}"
    seen = client.get(url, token=admin.token).headers["ETag"]
    client.put(f"{url}/suspension", json={"reason": "x"}, token=admin.token)

    late = client.patch(url, json={"role": "Fan"}, token=admin.token, headers={"If-Match": seen})

    assert late.status_code == 412


def test_token_of_former_brand_is_refused(client, admin, member, make_brand):
    manager, other = member("Campaign Manager"), make_brand("Other")
    body = {"role": "Campaign Manager", "brand_id": str(other["id"])}

    moved = client.patch(f"{URL}/{manager.user_id}", json=body, token=admin.token)

    assert (moved.status_code, moved.json["brand_id"]) == (200, body["brand_id"])
    assert client.get("/api/v1/campaigns", token=manager.token).json["code"] == "session_ended"


def test_concurrent_mutual_suspensions_leave_one_admin(admin, superuser):
    system_admin.ensure_system_admin("second@companon.example", PASSWORD, TOTP_SECRET)
    second = sign_in_admin(superuser, "second@companon.example")

    def suspend_first():
        try:
            with second.acting():
                users.suspend(admin.user_id)
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as aside:
        with admin.acting():
            users.suspend(second.user_id)
            pending = aside.submit(suspend_first)
            until_blocked(superuser)
        with pytest.raises(Problem) as refused:
            pending.result(60)

    assert (refused.value.status, refused.value.code) == (401, "session_ended")
    with admin.acting():
        assert users.get(admin.user_id).suspended_at is None


def test_reads_of_accounts_are_audited_without_the_address(client, admin, member):
    creator = member("Creator")
    client.get(URL, params={"email": creator.email}, token=admin.token)
    client.get(f"{URL}/{creator.user_id}", token=admin.token)

    read, searched = entries("user.*")
    assert (searched.action, read.action, read.record_id) == ("user.search", "user.read", creator.user_id)
    assert searched.details["after"]["email"].startswith("hmac:")
    assert creator.email not in str(searched)


def test_other_roles_reading_accounts_get_403(client, member, fan):
    for account in (member("Brand Admin"), fan()):
        assert client.get(URL, token=account.token).status_code == 403
        assert client.get(f"{URL}/{account.user_id}", token=account.token).status_code == 403
