"""Test brands over HTTP."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from models.campaigns import campaigns, launch
from models.campaigns.launch import NotReady
from models.core import context
from models.core.database import close_thread_connections, transaction
from models.tenants import brands
from models.tenants.brands import BrandArchived
from tests.support.blocked import until_blocked

BRAND = {"name": "Acme", "admin_email": "Boss@Acme.example"}

pytestmark = pytest.mark.usefixtures("fresh_limits")


@pytest.fixture
def invited(client, admin, drain, mailbox):
    """Create a brand and return it with the token in the mail to its first admin."""
    made = client.post("/api/v1/brands", json=BRAND, token=admin.token)
    drain()
    return made.json, mailbox.token("boss@acme.example")


def accept(client, token, **fields):
    body = {"token": token, "password": "the boss himself", "name": "Boss", **fields}
    return client.post("/api/v1/auth/accept-invitation", json=body)


def test_first_admin_of_new_brand_accepts_and_signs_in(client, invited):
    brand, token = invited

    accepted = accept(client, token)

    assert (accepted.status_code, accepted.json) == (200, {"status": "accepted", "email": "boss@acme.example"})
    login = {"email": "boss@acme.example", "password": "the boss himself"}
    session = client.post("/api/v1/auth/login", json=login).json
    user = session["user"]
    assert (user["role"], user["brand_id"], user["name"]) == ("Brand Admin", brand["id"], "Boss")
    assert client.get(f"/api/v1/brands/{brand['id']}", token=session["access_token"]).json == brand


UNSET_SETTINGS = dict.fromkeys(("locale", "timezone", "website", "support_email", "color"))


def test_new_brand_has_a_location(client, admin):
    made = client.post("/api/v1/brands", json={**BRAND, "settings": {"locale": "es"}}, token=admin.token)

    assert made.status_code == 201
    assert made.json["settings"] == {**UNSET_SETTINGS, "locale": "es"}
    assert made.headers["Location"] == f"/api/v1/brands/{made.json['id']}"
    assert client.get(made.headers["Location"], token=admin.token).json == made.json


def test_idempotency_key_creates_one_brand(client, admin, drain, mailbox):
    headers = {"Idempotency-Key": "one"}

    answers = [client.post("/api/v1/brands", json=BRAND, token=admin.token, headers=headers) for _ in range(2)]
    drain()

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert len(client.get("/api/v1/brands", token=admin.token).json["items"]) == 1
    assert len(mailbox.to("boss@acme.example")) == 1


def test_invitation_is_accepted_once(client, invited):
    _, token = invited
    accept(client, token)

    again = accept(client, token)

    assert (again.status_code, again.json["code"]) == (404, "link_invalid")


def test_expired_invitation_is_refused(client, invited, superuser):
    _, token = invited
    superuser.cursor().execute("update app.invitations set expires_at = now()")

    late = accept(client, token)

    assert (late.status_code, late.json["code"]) == (404, "link_invalid")


def test_refused_password_leaves_the_invitation_open(client, invited):
    _, token = invited

    refused = accept(client, token, password="boss@acme.example")

    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "password")
    assert accept(client, token).status_code == 200


def test_link_of_sign_up_is_refused_as_invitation(client, drain, mailbox, db_clean):
    client.post("/api/v1/auth/signup", json={"email": "ana@example.com", "password": "una clave muy larga"})
    drain()

    refused = accept(client, mailbox.token("ana@example.com"))

    assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")


def test_fan_who_accepts_becomes_member_with_new_password(client, drain, mailbox, invited):
    brand, token = invited
    client.post("/api/v1/auth/signup", json={"email": "boss@acme.example", "password": "una clave muy larga"})
    drain()
    verified = {"token": mailbox.token("boss@acme.example"), "password": "una clave muy larga"}
    client.post("/api/v1/auth/verify", json=verified)
    fan = client.post("/api/v1/auth/login", json={"email": "boss@acme.example", "password": "una clave muy larga"}).json

    accepted = accept(client, token)

    assert accepted.status_code == 200
    login = {"email": "boss@acme.example", "password": "the boss himself"}
    user = client.post("/api/v1/auth/login", json=login).json["user"]
    assert (user["id"], user["role"], user["brand_id"]) == (fan["user"]["id"], "Brand Admin", brand["id"])
    assert client.get("/api/v1/users/me", token=fan["access_token"]).status_code == 401


def test_brand_for_address_with_account_is_not_created(client, admin):
    refused = client.post("/api/v1/brands", json={**BRAND, "admin_email": admin.email}, token=admin.token)

    assert (refused.status_code, refused.json["code"]) == (409, "email_in_use")
    assert client.get("/api/v1/brands", token=admin.token).json["items"] == []


INVALID = [
    ("name", {**BRAND, "name": ""}),
    ("name", {**BRAND, "name": "x" * 201}),
    ("admin_email", {**BRAND, "admin_email": "boss"}),
    ("admin_email", {"name": "Acme"}),
    ("settings", {**BRAND, "settings": []}),
    ("settings.timezone", {**BRAND, "settings": {"timezone": "Mars/Olympus"}}),
    ("settings.website", {**BRAND, "settings": {"website": "http://acme.example"}}),
    ("settings.logo", {**BRAND, "settings": {"logo": "x"}}),
    ("id", {**BRAND, "id": "01a2031c-841c-7709-875d-666ded17ceb1"}),
]
"""Fields that are wrong, and bodies."""


def test_invalid_brand_is_refused_by_field(client, admin):
    for field, body in INVALID:
        refused = client.post("/api/v1/brands", json=body, token=admin.token)

        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field), body


def test_brands_are_listed_newest_first_page_by_page(client, admin, make_brand):
    names = [make_brand(f"Brand {number}")["name"] for number in range(5)]

    listed, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = client.get("/api/v1/brands", params=params, token=admin.token).json
        listed += [brand["name"] for brand in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert listed == names[::-1]


def test_member_reads_the_own_brand_only(client, make_brand, member):
    own, other = make_brand("Own"), make_brand("Other")
    for role in ("Brand Admin", "Campaign Manager", "Creator"):
        token = member(role, own).token
        assert client.get(f"/api/v1/brands/{own['id']}", token=token).json["name"] == "Own"
        refused = client.get(f"/api/v1/brands/{other['id']}", token=token)
        assert (refused.status_code, refused.json["code"]) == (404, "not_found")


def test_only_system_admins_list_and_create_brands(client, brand, fan, member, superuser):
    for account in (member(), fan()):
        assert client.get("/api/v1/brands", token=account.token).status_code == 403
        assert client.post("/api/v1/brands", json=BRAND, token=account.token).status_code == 403
    assert client.get("/api/v1/brands").status_code == 401
    assert client.get(f"/api/v1/brands/{brand['id']}", token=fan().token).status_code == 403

    with superuser.cursor() as cursor:
        cursor.execute("select outcome, reason from audit_logs where action = 'brand.create' order by timestamp")
        assert cursor.fetchall() == [("refused", "forbidden")] * 2


def test_audit_entry_of_new_brand_hides_the_address(client, admin, superuser):
    made = client.post("/api/v1/brands", json=BRAND, token=admin.token).json

    with superuser.cursor() as cursor:
        cursor.execute(
            "select user_id, record_id, details from audit_logs where action = 'brand.create' and brand_id = %s",
            (made["id"],),
        )
        ((user_id, record_id, details),) = cursor.fetchall()
    assert (user_id, str(record_id), details["after"]["name"]) == (admin.user_id, made["id"], "Acme")
    assert "boss" not in str(details).lower()


def test_brands_are_found_by_part_of_their_name(client, admin, make_brand):
    for name in ("Acme Shoes", "100% Acme", "Other"):
        make_brand(name)

    def found(**params):
        return [brand["name"] for brand in client.get("/api/v1/brands", params=params, token=admin.token).json["items"]]

    assert found(name="acme") == ["100% Acme", "Acme Shoes"]
    assert found(name="%") == ["100% Acme"]
    assert found(name="acme", status="archived") == []


def test_brand_admin_changes_name_and_settings(client, brand, member, superuser):
    boss, url = member(), f"/api/v1/brands/{brand['id']}"
    client.patch(url, json={"settings": {"locale": "es", "color": "#ff8800"}}, token=boss.token)

    settings = {"timezone": "Europe/Madrid", "support_email": "Help@Acme.example", "color": None}
    body = {"name": "Acme 2", "settings": settings}
    changed = client.patch(url, json=body, token=boss.token)

    assert changed.status_code == 200
    wanted = {"locale": "es", "timezone": "Europe/Madrid", "support_email": "help@acme.example"}
    assert (changed.json["name"], changed.json["settings"]) == ("Acme 2", UNSET_SETTINGS | wanted)
    assert client.get(url, token=boss.token).json == changed.json
    with superuser.cursor() as cursor:
        cursor.execute("select details from audit_logs where action = 'brand.update' order by timestamp desc limit 1")
        ((details,),) = cursor.fetchall()
    assert details["before"] == {"name": "Acme", "settings.color": "#ff8800", **dict.fromkeys(NEW)}
    assert "help@" not in str(details)


NEW = ("settings.timezone", "settings.support_email")


def test_change_of_outdated_brand_is_refused(client, brand, member):
    boss, url = member(), f"/api/v1/brands/{brand['id']}"
    seen = client.get(url, token=boss.token).headers["ETag"]
    client.patch(url, json={"name": "Meanwhile"}, token=boss.token)

    late = client.patch(url, json={"name": "Late"}, token=boss.token, headers={"If-Match": seen})

    assert (late.status_code, client.get(url, token=boss.token).json["name"]) == (412, "Meanwhile")


def test_only_admins_change_their_own_brand(client, make_brand, member, admin):
    own, other = make_brand("Own"), make_brand("Other")
    url = f"/api/v1/brands/{own['id']}"
    change = {"json": {"name": "x"}}

    assert client.patch(url, token=member("Campaign Manager", own).token, **change).status_code == 403
    assert client.patch(url, token=member("Brand Admin", other).token, **change).status_code == 404
    assert client.patch(url, token=admin.token, **change).status_code == 200


def test_archived_brand_has_no_sessions_and_no_active_campaigns(client, admin, brand, member, campaign):
    boss, live = member(), campaign()
    url = f"/api/v1/brands/{brand['id']}"

    archived = client.put(f"{url}/archive", token=admin.token)

    assert (archived.status_code, archived.json["archived_at"] is not None) == (200, True)
    assert client.get(url, token=boss.token).json["code"] == "session_ended"
    login = {"email": boss.email, "password": boss.password}
    assert client.post("/api/v1/auth/login", json=login).json["code"] == "invalid_credentials"
    invite = {"email": "new@acme.example", "role": "Creator"}
    assert client.post(f"{url}/invitations", json=invite, token=admin.token).json["code"] == "brand_archived"
    restored = client.delete(f"{url}/archive", token=admin.token)
    assert restored.json["archived_at"] is None
    token = client.post("/api/v1/auth/login", json=login).json["access_token"]
    assert client.get(f"/api/v1/campaigns/{live.id}", token=token).json["status"] == "Active"


def test_second_archiving_changes_nothing(client, admin, brand):
    url = f"/api/v1/brands/{brand['id']}/archive"

    first, second = (client.put(url, token=admin.token).json for _ in range(2))

    assert first == second


def test_archiving_waits_for_an_activation_and_pauses_it(client, admin, brand, campaign, manager, superuser):
    draft = campaign(launched=False)
    url = f"/api/v1/brands/{brand['id']}/archive"

    with ThreadPoolExecutor(1) as aside:
        with transaction(context.for_brand_job(brand["id"])):
            launch.activate(draft.id)
            archiving = aside.submit(client.put, url, token=admin.token)
            until_blocked(superuser)
        assert archiving.result(60).status_code == 200

    assert status_of(superuser, draft.id) == "Paused"


@pytest.mark.parametrize("move", ["launch", "resume"])
def test_transition_to_active_waits_for_archiving_and_is_refused(admin, brand, campaign, manager, superuser, move):
    one = campaign(launched=move == "resume")
    if move == "resume":
        with manager.acting():
            campaigns.transition(one.id, "pause")

    def activate_campaign():
        try:
            with manager.acting():
                if move == "resume":
                    campaigns.transition(one.id, "resume")
                else:
                    launch.start(one.id)
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as aside:
        with admin.acting():
            brands.archive(brand["id"])
            activation = aside.submit(activate_campaign)
            until_blocked(superuser)
        with pytest.raises(BrandArchived):
            activation.result(60)

    assert status_of(superuser, one.id) == ("Paused" if move == "resume" else "Draft")


def status_of(superuser, campaign_id):
    with superuser.cursor() as cursor:
        cursor.execute("select status from campaigns where id = %s", (campaign_id,))
        return cursor.fetchone()[0]


def test_launch_of_archived_brand_does_not_activate(client, admin, brand, campaign, manager):
    draft = campaign(launched=False)
    client.put(f"/api/v1/brands/{brand['id']}/archive", token=admin.token)

    with pytest.raises(NotReady), transaction(context.for_brand_job(brand["id"])):
        launch.activate(draft.id)


def test_locked_brand_does_not_block_rows_that_refer_to_it(admin, brand, superuser):
    with admin.acting(), closing(psycopg2.connect(superuser.dsn)) as other, other.cursor() as cursor:
        brands.get_for_update(brand["id"])
        cursor.execute("select from public.brands where id = %s for key share nowait", (brand["id"],))

        assert cursor.rowcount == 1
