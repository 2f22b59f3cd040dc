"""Test sessions over HTTP: refresh, sign-out, the list of sessions and step-up."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from models.core import aead, context
from models.core.database import transaction
from models.identity import access_tokens, accounts, sessions, step_up
from web.v1.identity.sessions import Refresh
from web.v1.identity.sign_in import Anonymous

pytestmark = pytest.mark.usefixtures("fresh_limits")


def age(superuser, account, by="11 minutes"):
    """Move the authentication time of the account's sessions into the past."""
    superuser.cursor().execute(
        "update app.sessions set authenticated_at = now() - %s::interval where user_id = %s", (by, account.user_id)
    )


def require_recent(account):
    with account.acting():
        step_up.require_recent()


@pytest.fixture
def phone(client):
    """Return the session of an anonymous fan as the app received it."""
    return client.post("/api/v1/auth/anonymous", json={"locale": "es"}).json


def refresh(client, refresh_token):
    return client.post("/api/v1/auth/refresh", json={"refresh_token": refresh_token})


def is_alive(client, session):
    return client.get("/api/v1/users/me", token=session["access_token"]).status_code == 200


def login(client, account):
    """Sign the account in and return the session as the app receives it."""
    credentials = {"email": account.email, "password": account.password}
    return client.post("/api/v1/auth/login", json=credentials).json


def at_once(times, do):
    with ThreadPoolExecutor(times) as pool:
        return [asked.result() for asked in [pool.submit(do) for _ in range(times)]]


def test_refresh_returns_new_tokens_of_the_session(client, phone):
    answer = refresh(client, phone["refresh_token"])

    assert answer.status_code == 200
    assert answer.json["expires_in"] == access_tokens.LIFETIME
    assert answer.json["user"] == phone["user"]
    assert answer.json["refresh_token"] != phone["refresh_token"]
    claims = [access_tokens.verify(session["access_token"]) for session in (phone, answer.json)]
    assert claims[0]["session_id"] == claims[1]["session_id"]
    assert is_alive(client, answer.json)


def test_refresh_of_an_expired_session_is_refused_beside_a_live_one(client, member, superuser):
    manager = member()
    expired, live = login(client, manager), login(client, manager)
    session_id = access_tokens.verify(expired["access_token"])["session_id"]
    superuser.cursor().execute("update app.sessions set expires_at = now() where id = %s", (session_id,))

    assert refresh(client, expired["refresh_token"]).status_code == 401
    assert refresh(client, live["refresh_token"]).status_code == 200


def test_sign_in_with_password_returns_a_refresh_token(client, member):
    session = login(client, member())

    assert refresh(client, session["refresh_token"]).json["user"] == session["user"]


def test_immediate_repeat_of_a_refresh_returns_the_same_token(client, phone):
    first = refresh(client, phone["refresh_token"]).json
    again = refresh(client, phone["refresh_token"]).json

    assert again["refresh_token"] == first["refresh_token"]
    assert refresh(client, again["refresh_token"]).status_code == 200


def test_refresh_with_lost_response_is_repeated_later(client, phone, superuser):
    lost = refresh(client, phone["refresh_token"]).json
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '20 days'")

    again = refresh(client, phone["refresh_token"])

    assert (again.status_code, again.json["refresh_token"]) == (200, lost["refresh_token"])
    assert is_alive(client, again.json)
    trail = "select outcome, details ->> 'repeated' from audit_logs where action = 'session.refresh'"
    assert one(superuser, trail) == ("ok", "true")
    assert refresh(client, again.json["refresh_token"]).status_code == 200
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '11 seconds'")
    assert refresh(client, phone["refresh_token"]).json["code"] == "refresh_token_invalid"
    assert not is_alive(client, again.json)


def test_too_frequent_refresh_returns_429_and_keeps_the_session(client, phone, superuser, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_REFRESHES_PER_HOUR", 2)
    token = refresh(client, refresh(client, phone["refresh_token"]).json["refresh_token"]).json["refresh_token"]

    refused = refresh(client, token)
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '1 hour'")

    assert (refused.status_code, refused.json["code"]) == (429, "too_many_refreshes")
    assert refresh(client, token).status_code == 200


def test_concurrent_refreshes_return_one_successor(client, phone, superuser):
    answers = at_once(8, lambda: refresh(client, phone["refresh_token"]))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json["refresh_token"] for answer in answers}) == 1
    assert all(is_alive(client, answer.json) for answer in answers)
    assert one(superuser, "select count(*) from app.refresh_tokens") == (2,)


def test_refresh_has_the_rate_of_anonymous_sign_in():
    assert Refresh.on_post.spec.rate == Anonymous.on_post.spec.rate


def test_reused_refresh_token_ends_the_session_and_is_audited(client, member, superuser):
    manager = member()
    session = login(client, manager)
    following = refresh(client, session["refresh_token"]).json
    following = refresh(client, following["refresh_token"]).json
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '11 seconds'")

    stolen = refresh(client, session["refresh_token"])

    assert (stolen.status_code, stolen.json["code"]) == (401, "refresh_token_invalid")
    assert not is_alive(client, following)
    assert refresh(client, following["refresh_token"]).status_code == 401
    assert client.get("/api/v1/users/me", token=manager.token).status_code == 200
    assert one(
        superuser,
        "select outcome, reason, user_id, brand_id from audit_logs where action = 'session.refresh' order by timestamp",
    ) == ("refused", "refresh_token_reused", manager.user_id, manager.brand_id)


def test_refresh_token_reused_days_later_ends_the_session(client, member, superuser):
    stolen = login(client, member())["refresh_token"]
    other_holder = refresh(client, refresh(client, stolen).json["refresh_token"]).json
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '6 days'")
    with transaction(context.for_system_job()):
        accounts.delete_expired()

    assert refresh(client, stolen).status_code == 401
    assert not is_alive(client, other_holder)


def test_old_refresh_token_of_anonymous_fan_ends_the_session(client, phone, superuser):
    following = refresh(client, phone["refresh_token"]).json
    superuser.cursor().execute("update app.refresh_tokens set used_at = used_at - interval '1 day'")
    refresh(client, following["refresh_token"])

    assert refresh(client, phone["refresh_token"]).status_code == 401
    assert not is_alive(client, following)


@pytest.mark.parametrize("token", ["x", "é", "A" * 43, "x" * 200])
def test_invalid_refresh_tokens_have_equal_responses(client, phone, superuser, token):
    superuser.cursor().execute("update app.sessions set revoked_at = now()")
    ended = refresh(client, phone["refresh_token"]).json

    refused = refresh(client, token)

    assert refused.status_code == 401
    assert {**refused.json, "request_id": ""} == {**ended, "request_id": ""}


def test_refresh_tokens_are_stored_as_hashes_and_encrypted(client, phone, superuser):
    following = refresh(client, phone["refresh_token"]).json["refresh_token"]

    with superuser.cursor() as cursor:
        cursor.execute("select row_to_json(t)::text, successor from app.refresh_tokens t order by used_at")
        stored = cursor.fetchall()
    for token in (phone["refresh_token"], following):
        assert not any(token in text or token.encode().hex() in text for text, _ in stored)
    sealed = bytes(stored[0][1])
    assert sessions.RefreshToken(phone["refresh_token"]).unseal(sealed).text == following
    with pytest.raises(aead.DecryptionError):
        sessions.RefreshToken(following).unseal(sealed)


def test_refresh_prolongs_a_session_until_its_last_day(client, phone, superuser):
    superuser.cursor().execute("update app.sessions set expires_at = now() + interval '1 minute'")
    following = refresh(client, phone["refresh_token"]).json
    assert one(superuser, "select expires_at > now() + interval '29 days' from app.sessions") == (True,)

    superuser.cursor().execute("update app.sessions set ends_at = now() + interval '2 days'")
    last = refresh(client, following["refresh_token"]).json
    assert one(superuser, "select expires_at = ends_at from app.sessions") == (True,)

    superuser.cursor().execute("update app.sessions set expires_at = now() - interval '1 second'")
    assert refresh(client, last["refresh_token"]).status_code == 401
    assert not is_alive(client, last)


def test_refreshed_token_has_the_present_role(client, member, superuser):
    manager = member("Campaign Manager")
    session = login(client, manager)
    superuser.cursor().execute("update users set role_id = 3 where id = %s", (manager.user_id,))
    assert not is_alive(client, session)

    following = refresh(client, session["refresh_token"]).json

    assert following["user"]["role"] == "Creator"
    assert is_alive(client, following)


@pytest.mark.parametrize(
    ("scope", "alive"),
    [
        ({}, (False, True, True)),
        ({"scope": "this"}, (False, True, True)),
        ({"scope": "others"}, (True, False, False)),
        ({"scope": "all"}, (False, False, False)),
    ],
)
def test_sign_out_ends_the_sessions_of_its_scope_only(client, member, scope, alive):
    manager, other = member(), member()
    open_sessions = [login(client, manager) for _ in range(3)]

    ended = client.post("/api/v1/auth/logout", json=scope, token=open_sessions[0]["access_token"])

    assert ended.status_code == 204
    assert tuple(is_alive(client, session) for session in open_sessions) == alive
    assert tuple(refresh(client, s["refresh_token"]).status_code == 200 for s in open_sessions) == alive
    assert client.get("/api/v1/users/me", token=other.token).status_code == 200


def test_sign_out_leaves_sessions_that_have_expired(client, member, superuser):
    manager = member()
    expired, present = login(client, manager), login(client, manager)
    session_id = access_tokens.verify(expired["access_token"])["session_id"]
    superuser.cursor().execute("update app.sessions set expires_at = now() where id = %s", (session_id,))

    client.post("/api/v1/auth/logout", json={"scope": "all"}, token=present["access_token"])

    with superuser.cursor() as cursor:
        cursor.execute("select id from app.sessions where user_id = %s and revoked_at is null", (manager.user_id,))
        assert [str(one) for (one,) in cursor.fetchall()] == [session_id]


def test_sign_out_is_audited_with_its_number_of_sessions(client, member, superuser):
    manager = member()
    session = login(client, manager)

    client.post("/api/v1/auth/logout", json={"scope": "all"}, token=session["access_token"])

    (details,) = one(superuser, "select details from audit_logs where action = 'session.end'")
    assert details["after"] == {"scope": "all", "ended": 2}


def test_person_lists_sessions_and_ends_one_of_them(client, member, sign_in_again):
    laptop = member()
    member()
    phone = sign_in_again(laptop)

    listed = client.get("/api/v1/users/me/sessions", token=laptop.token).json["items"]
    other = next(session for session in listed if not session["is_this"])
    ended = client.delete(f"/api/v1/users/me/sessions/{other['id']}", token=laptop.token)

    assert [session["is_this"] for session in listed] == [False, True]
    assert ended.status_code == 204
    assert client.get("/api/v1/users/me", token=phone.token).json["code"] == "session_ended"
    assert client.get("/api/v1/users/me", token=laptop.token).status_code == 200
    assert len(client.get("/api/v1/users/me/sessions", token=laptop.token).json["items"]) == 1


def test_session_of_another_person_returns_404(client, member, fan):
    manager, phone = member(), fan()

    refused = client.delete(f"/api/v1/users/me/sessions/{manager.identity.session_id}", token=phone.token)

    assert (refused.status_code, refused.json["code"]) == (404, "not_found")
    assert client.get("/api/v1/users/me", token=manager.token).status_code == 200


def test_sessions_are_listed_page_by_page(client, member, sign_in_again):
    manager = member()
    for _ in range(2):
        sign_in_again(manager)

    first = client.get("/api/v1/users/me/sessions?limit=2", token=manager.token).json
    rest = client.get(f"/api/v1/users/me/sessions?limit=2&cursor={first['next_cursor']}", token=manager.token).json

    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    assert len({session["id"] for session in first["items"] + rest["items"]}) == 3


def test_refresh_tokens_are_readable_by_no_role(fan, member, admin):
    for identity in (
        context.unauthenticated(),
        fan().identity,
        member().identity,
        admin.identity,
        context.for_system_job(),
    ):
        with pytest.raises(Exception, match="permission denied"), transaction(identity):
            sessions.rows("SELECT 1 FROM app.refresh_tokens")


def one(superuser, sql):
    with superuser.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def show_password(client, account, password):
    return client.post("/api/v1/auth/step-up", json={"password": password}, token=account.token)


def test_session_is_recent_for_ten_minutes_and_after_step_up(client, member, superuser):
    manager = member()
    require_recent(manager)
    age(superuser, manager)
    with pytest.raises(Exception, match="step-up") as refused:
        require_recent(manager)

    again = show_password(client, manager, manager.password)

    assert (refused.value.status, refused.value.code) == (403, "recent_authentication_required")
    assert again.status_code == 204
    require_recent(manager)


def test_step_up_with_wrong_password_is_refused_and_audited(client, member, superuser):
    manager = member()
    age(superuser, manager)

    refused = show_password(client, manager, "not the password")

    assert (refused.status_code, refused.json["code"]) == (403, "wrong_password")
    with pytest.raises(Exception, match="step-up"):
        require_recent(manager)
    with superuser.cursor() as cursor:
        cursor.execute("select outcome, reason, brand_id, user_id from audit_logs where action = 'session.step_up'")
        assert cursor.fetchall() == [("refused", "wrong_password", manager.brand_id, manager.user_id)]


def test_step_up_counts_for_its_session_only(client, member, superuser, sign_in_again):
    laptop = member()
    phone = sign_in_again(laptop)
    age(superuser, laptop)

    show_password(client, phone, phone.password)

    with pytest.raises(Exception, match="step-up"):
        require_recent(laptop)


def test_step_up_attempts_are_limited_for_all_sessions(client, member, sign_in_again):
    laptop = member()
    phone = sign_in_again(laptop)
    wrong = [show_password(client, laptop, "not the password").status_code for _ in range(step_up.MAX_ATTEMPTS)]

    refused = show_password(client, phone, phone.password)

    assert set(wrong) == {403}
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0


def test_anonymous_fan_passes_recency_check_without_password(client, fan, superuser):
    phone = fan()
    age(superuser, phone)

    require_recent(phone)

    assert show_password(client, phone, "anything at all").json["code"] == "wrong_password"
