"""Test the API with a Supabase project over HTTP. A real server publishes the project's keys."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from models.core import signed_links
from models.core.database import new_id
from models.identity import jwks
from models.tenants import invitations
from tests.fixtures.supabase import SECRET, SupabaseClient
from tests.fixtures.web import running
from web.app import application, create_app
from web.http import authentication
from web.openapi.document import document

PATHS_IN_BOTH_MODES = {"/api/v1/auth/logout"}
"""Paths under /api/v1/auth in both modes: they act on an existing session."""

SIGN_IN = [
    ("POST", "/api/v1/auth/signup"),
    ("POST", "/api/v1/auth/verify"),
    ("POST", "/api/v1/auth/accept-invitation"),
    ("POST", "/api/v1/auth/login"),
    ("POST", "/api/v1/auth/anonymous"),
    ("POST", "/api/v1/auth/refresh"),
    ("POST", "/api/v1/auth/step-up"),
    ("GET", "/.well-known/jwks.json"),
]


@pytest.mark.parametrize(("method", "path"), SIGN_IN)
def test_sign_in_endpoints_are_absent_with_supabase(supabase_client, supabase, method, path):
    for token in (None, supabase.token()):
        answer = supabase_client.request(method, path, json={} if method == "POST" else None, token=token)

        assert (answer.status_code, answer.json["code"]) == (404, "sign_in_is_elsewhere")


def test_sign_in_endpoints_document_their_absence_with_supabase():
    own = {
        path
        for path, operations in document(application)["paths"].items()
        for operation in operations.values()
        if "sign_in_is_elsewhere" in operation["description"]
    }

    assert {
        path for path in document(application)["paths"] if path.startswith("/api/v1/auth/")
    } - own == PATHS_IN_BOTH_MODES


def test_valid_supabase_token_is_accepted(supabase_client, supabase):
    sub = uuid4()

    me = supabase_client.me(supabase.token(sub=sub, email="Ana@people.example"))

    assert me.status_code == 200
    assert (me.json["id"], me.json["email"], me.json["role"]) == (str(sub), "ana@people.example", "Fan")


def test_other_endpoints_accept_supabase_tokens(supabase_client, supabase):
    admin = supabase.token(app_metadata={"user_role": "System Admin"}, aal="aal2")
    made = supabase_client.post(
        "/api/v1/brands", json={"name": "Acme", "admin_email": "ana@people.example"}, token=admin
    )
    assert made.status_code == 201

    member = supabase.token(email="ana@people.example")
    campaign = supabase_client.post(
        "/api/v1/campaigns", json={"name": "Summer", "type": "QR", "config": {}}, token=member
    )
    fan = supabase.token()
    consent = supabase_client.post("/api/v1/consents", json={"tier": "essential"}, token=fan)

    assert supabase_client.me(member).json["role"] == "Brand Admin"
    assert (campaign.status_code, consent.status_code) == (201, 201)
    assert supabase_client.get("/api/v1/campaigns", token=fan).status_code == 403


def test_sensitive_acts_need_recent_sign_in_at_supabase(supabase_client, supabase, brand):
    now = int(time.time())
    early = [{"method": "password", "timestamp": now - 7200}]
    metadata = {"user_role": "Brand Admin", "brand_id": str(brand["id"])}
    claims = supabase.claims(app_metadata=metadata, amr=early)
    wanted = {"name": "till", "scopes": ["campaigns:read"]}

    refused = supabase_client.post("/api/v1/api-keys", json=wanted, token=supabase.sign(claims))
    claims |= {"amr": [*early, {"method": "totp", "timestamp": now}]}
    made = supabase_client.post("/api/v1/api-keys", json=wanted, token=supabase.sign(claims))

    assert (refused.status_code, refused.json["code"]) == (403, "recent_authentication_required")
    assert made.status_code == 201
    assert supabase_client.get("/api/v1/campaigns", token=made.json["key"]).status_code == 200


def test_supabase_system_admin_needs_aal2(supabase_client, supabase):
    claims = supabase.claims(app_metadata={"user_role": "System Admin"})

    refused = supabase_client.get("/api/v1/brands", token=supabase.sign(claims))
    let_in = supabase_client.get("/api/v1/brands", token=supabase.sign(claims | {"aal": "aal2"}))

    assert (refused.status_code, refused.json["code"], let_in.status_code) == (403, "mfa_required", 200)


def test_brand_demanding_mfa_needs_aal2_of_supabase(supabase_client, supabase, brand, superuser):
    claims = supabase.claims(app_metadata={"user_role": "Creator", "brand_id": str(brand["id"])})
    token, url = supabase.sign(claims), f"/api/v1/brands/{brand['id']}"
    assert supabase_client.get(url, token=token).status_code == 200
    with superuser.cursor() as cursor:
        cursor.execute("update brands set mfa_required_from = now() where id = %s", (brand["id"],))

    assert supabase_client.get(url, token=token).json["code"] == "session_ended"

    renewed = supabase.sign(claims | {"iat": claims["iat"] - 1})
    assert supabase_client.get(url, token=renewed).json["code"] == "mfa_required"
    assert supabase_client.me(renewed).json["code"] == "mfa_required"
    assert supabase_client.get(url, token=supabase.sign(claims | {"aal": "aal2"})).status_code == 200


def test_address_with_encoded_word_in_a_token_is_dropped(supabase_client, supabase):
    me = supabase_client.me(supabase.token(email="=?utf-8?q?=66oo?=@people.example"))

    assert (me.status_code, me.json["email"]) == (200, None)


def test_members_without_address_are_listed_and_assigned(supabase_client, supabase, brand, campaign):
    def sign_in(role):
        metadata = {"user_role": role, "brand_id": str(brand["id"])}
        token = supabase.token(email="", app_metadata=metadata)
        return supabase_client.me(token).json["id"], token

    launched = campaign()
    (creator, _), (boss, token) = sign_in("Creator"), sign_in("Brand Admin")

    listed = supabase_client.get(f"/api/v1/brands/{brand['id']}/members", token=token)
    assigned = supabase_client.put(f"/api/v1/campaigns/{launched.id}/assignments/{creator}", token=token)

    found = {one["id"]: (one["email"], one["has_mfa"]) for one in listed.json["items"]}
    assert (found[creator], found[boss]) == ((None, None), (None, None))
    assert assigned.status_code in (200, 201, 204)
    assert supabase_client.get(f"/api/v1/campaigns/{launched.id}/assignments", token=token).status_code == 200


def invited(superuser, brand_id, email):
    """Return the token in the link of an invitation."""
    id = new_id()
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.invitations (id, brand_id, email, role_id, expires_at, invited_by)"
            " select %s, %s, %s, 2, now() + interval '1 day', u.id from public.users u where u.role_id = 5",
            (id, brand_id, email),
        )
    return signed_links.make(invitations.LINK_PURPOSE, id)


def test_fan_who_accepts_an_invitation_is_member_in_the_next_token(supabase_client, supabase, brand, superuser):
    claims = supabase.claims(email="ana@people.example")
    token = supabase.sign(claims)
    assert supabase_client.me(token).json["role"] == "Fan"
    link = invited(superuser, brand["id"], "ana@people.example")

    taken = supabase_client.post("/api/v1/users/me/invitation", json={"token": link}, token=token)

    assert (taken.status_code, taken.json["brand_id"]) == (200, str(brand["id"]))
    assert supabase_client.me(token).json["code"] == "session_ended"
    renewed = supabase.sign(claims | {"iat": claims["iat"] - 1})
    assert supabase_client.me(renewed).json["role"] == "Campaign Manager"
    again = supabase_client.post("/api/v1/users/me/invitation", json={"token": link}, token=renewed)
    assert (again.status_code, again.json["code"]) == (409, "already_member")


def test_invitation_page_asks_for_supabase_session(supabase_client):
    page = supabase_client.get("/accept-invitation").text

    assert 'data-to="/api/v1/users/me/invitation"' in page
    assert "Sign in to the app first" in page
    assert 'name="password"' not in page
    for other in ("verify-email", "reset-password", "confirm-email", "undo-email"):
        assert supabase_client.get(f"/{other}").status_code == 404


def test_invitation_of_another_address_is_refused(supabase_client, supabase, brand, superuser):
    link = invited(superuser, brand["id"], "ana@people.example")
    anonymous = supabase.token(email="", is_anonymous=True)

    for token in (supabase.token(email="bob@people.example"), anonymous):
        refused = supabase_client.post("/api/v1/users/me/invitation", json={"token": link}, token=token)
        assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")
        assert supabase_client.me(token).json["role"] == "Fan"


def test_invitation_whose_sender_was_suspended_is_refused(supabase_client, supabase, brand, superuser):
    token = supabase.token(email="ana@people.example")
    supabase_client.me(token)
    link = invited(superuser, brand["id"], "ana@people.example")
    superuser.cursor().execute("update public.users set suspended_at = now() where role_id = 5")

    refused = supabase_client.post("/api/v1/users/me/invitation", json={"token": link}, token=token)

    assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")


def test_logout_here_ends_the_supabase_session(supabase_client, supabase):
    claims = supabase.claims()
    token, renewed = supabase.sign(claims), supabase.sign(claims | {"iat": claims["iat"] - 1})
    assert supabase_client.me(token).status_code == 200

    assert supabase_client.post("/api/v1/auth/logout", token=token).status_code == 204

    for refused in (token, renewed):
        assert (supabase_client.me(refused).status_code, supabase_client.me(refused).json["code"]) == (
            401,
            "session_ended",
        )


def test_changed_role_is_enforced_at_the_next_request(supabase_client, supabase, superuser):
    claims = supabase.claims(app_metadata={"user_role": "System Admin"}, aal="aal2")
    token = supabase.sign(claims)
    assert supabase_client.get("/api/v1/brands", token=token).status_code == 200
    with superuser.cursor() as cursor:
        cursor.execute("update users set role_id = 4 where id = %s", (claims["sub"],))

    answer = supabase_client.get("/api/v1/brands", token=token)

    assert (answer.status_code, answer.json["code"]) == (401, "session_ended")
    assert supabase_client.me(supabase.sign(claims | {"iat": claims["iat"] - 1})).json["role"] == "Fan"


def test_own_token_is_refused_with_supabase(supabase_client, fan):
    assert supabase_client.me(fan().token).status_code == 401


def test_supabase_token_is_refused_without_supabase(client, supabase):
    assert client.get("/api/v1/users/me", token=supabase.token()).status_code == 401


def test_expired_cached_token_is_refused(supabase_client, supabase, monkeypatch):
    token = supabase.token()
    assert supabase_client.me(token).status_code == 200
    now = time.time()
    monkeypatch.setattr(authentication.time, "time", lambda: now + 3601)

    assert supabase_client.me(token).status_code == 401


def test_new_key_is_fetched_and_unknown_key_fetched_once(supabase_client, supabase, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 0.0)
    assert supabase_client.me(supabase.token()).status_code == 200
    supabase.rotate()
    assert supabase_client.me(supabase.token()).status_code == 200
    assert supabase.server.fetches == 2
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 3600.0)
    supabase.rotate(published=False)

    assert {supabase_client.me(supabase.token()).status_code for _ in range(50)} == {401}

    assert supabase.server.fetches == 3


def test_key_published_after_a_fetch_is_found_or_returns_503(supabase_client, supabase, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 3600.0)
    assert supabase_client.me(supabase.token()).status_code == 200
    supabase.rotate()

    assert supabase_client.me(supabase.token()).status_code == 200
    made_up = [supabase_client.me(supabase.sign(supabase.claims(), kid=f"made-up-{number}")) for number in range(3)]
    supabase.rotate()
    answer = supabase_client.me(supabase.token())

    assert [one.status_code for one in made_up] == [401, 503, 503]
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert supabase.server.fetches == jwks.MAX_FETCHES


def test_known_keys_work_while_the_key_server_hangs(supabase_client, supabase, monkeypatch):
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 0.0)
    monkeypatch.setattr(jwks, "TIMEOUT", 120.0)
    known, fresh = supabase.token(), supabase.token()
    assert supabase_client.me(known).status_code == 200
    unknown = [supabase.sign(supabase.claims(), supabase.key, kid=f"unknown-{number}") for number in range(40)]

    with ThreadPoolExecutor(len(unknown)) as crowd, supabase.server.stuck():
        waiting = [crowd.submit(supabase_client.me, token) for token in unknown]
        assert supabase.server.asked.wait(60)
        # There are fewer threads for responders than requests that wait for the keys.
        assert [supabase_client.me(token).status_code for token in (known, fresh)] == [200, 200]
        assert not any(future.done() for future in waiting)
        monkeypatch.setattr(
            jwks, "FETCH_WINDOW", float("inf")
        )  # requests that arrive from here on cause no further fetch
        supabase.server.released.set()
        answered = {future.result().status_code for future in waiting}

    assert answered == {401}
    assert supabase.server.fetches <= 3


def test_missing_key_set_returns_503(supabase_client, supabase):
    supabase.server.answer = (500, b"")

    answer = supabase_client.me(supabase.token())

    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert "Retry-After" in answer.headers


def test_old_keys_are_renewed_without_delaying_requests(supabase_client, supabase, monkeypatch):
    assert supabase_client.me(supabase.token()).status_code == 200
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 0.0)
    monkeypatch.setattr(jwks, "MAX_AGE", 0.0)

    with supabase.server.stuck():
        assert supabase_client.me(supabase.token()).status_code == 200
        assert supabase.server.asked.wait(60)

    assert supabase.server.fetches == 2


def test_cached_token_is_verified_again_after_a_while(supabase_client, supabase, monkeypatch):
    monkeypatch.setattr(authentication, "CACHE_SECONDS", 0.0)
    monkeypatch.setattr(jwks, "FETCH_WINDOW", 0.0)
    monkeypatch.setattr(jwks, "MAX_AGE", 0.0)
    token = supabase.token()
    assert supabase_client.me(token).status_code == 200
    supabase.rotate(published=False)
    supabase.server.keys = [supabase.key]

    # The first request still uses the old key, and causes the fetch of the new set.
    assert supabase_client.me(token).status_code == 200
    until = time.monotonic() + 120

    while supabase_client.me(token).status_code != 401:
        assert time.monotonic() < until


def test_concurrent_first_requests_create_one_user(supabase_client, supabase, superuser):
    with ThreadPoolExecutor(16) as crowd:
        for _ in range(5):
            claims = supabase.claims()
            mine = [supabase.sign(claims | {"iat": claims["iat"] - number % 4}) for number in range(16)]
            answers = list(crowd.map(supabase_client.me, mine))
            assert [answer.status_code for answer in answers] == [200] * 16

    with superuser.cursor() as cursor:
        cursor.execute(
            "select (select count(*) from users), (select count(*) from app.sessions),"
            " (select count(*) from audit_logs where action = 'account.mirror'),"
            " (select count(*) from audit_logs where action = 'session.start')"
        )
        assert cursor.fetchone() == (5, 5, 5, 5)


def test_legacy_token_is_accepted_with_its_secret_only(supabase, db_clean, supabase_client):
    assert supabase_client.me(supabase.legacy_token()).status_code == 401

    with running(create_app(supabase.config(supabase_jwt_secret=SECRET)), SupabaseClient) as legacy:
        assert legacy.me(supabase.legacy_token()).status_code == 200
        assert supabase.server.fetches == 0


def test_unknown_auth_mode_raises(supabase):
    config = supabase.config()
    object.__setattr__(config, "auth_mode", "both")

    with pytest.raises(ValueError, match="AUTH_MODE"):
        create_app(config)
