"""Test accounts over HTTP: sign-up, verification, sign-in, profiles and sign-out."""

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest

from models.identity import access_tokens, signups
from tests.fixtures.accounts import link_token
from tests.fixtures.audit import entries

SIGNUP = {"email": "ana@example.com"}
PASSWORD = "una clave muy larga"

pytestmark = pytest.mark.usefixtures("fresh_limits")


@pytest.fixture
def signed_up(client, drain, mailbox):
    """Return a function that signs a person up, verifies the address, signs in and returns the access token."""

    def sign_up(email=SIGNUP["email"], password=PASSWORD, token=None, locale="en", **chosen):
        client.post("/api/v1/auth/signup", json={"email": email, "locale": locale})
        drain()
        verify(client, mailbox.token(email), token=token, password=password, **chosen)
        return login(client, email, password).json["access_token"]

    return sign_up


def verify(client, link, token=None, **chosen):
    body = {"token": link, "password": PASSWORD, **chosen}
    if "consent_tiers" in body and "notice_id" not in body:
        body["notice_id"] = notice(client)["id"]
    return client.post("/api/v1/auth/verify", json=body, token=token)


def notice(client, locale="en"):
    """Return the notice that a page shows."""
    return client.get(f"/api/v1/consent-notices/default?locale={locale}").json


def login(client, email, password):
    return client.post("/api/v1/auth/login", json={"email": email, "password": password})


def essence(answer):
    """Return an answer without the parts that differ between any two answers."""
    document = dict(answer.json)
    document.pop("request_id", None)
    return answer.status_code, document


def test_person_signs_up_verifies_and_signs_in(client, drain, mailbox):
    asked = client.post("/api/v1/auth/signup", json=SIGNUP)
    ran = drain()
    verified = verify(client, mailbox.token("ana@example.com"), name="Ana")
    session = login(client, "ana@example.com", PASSWORD)

    assert (asked.status_code, asked.json) == (202, {"status": "verification_sent"})
    assert "mail.verification" in ran
    assert (verified.status_code, verified.json) == (200, {"status": "verified", "session": None})
    assert session.status_code == 200
    assert session.json["token_type"] == "bearer"
    assert session.json["expires_in"] == access_tokens.LIFETIME
    user = session.json["user"]
    assert (user["email"], user["name"], user["role"], user["is_anonymous"]) == ("ana@example.com", "Ana", "Fan", False)
    assert client.get("/api/v1/users/me", token=session.json["access_token"]).json["id"] == user["id"]


@pytest.mark.parametrize("path", ["signup", "login", "password/forgot"])
def test_address_with_encoded_word_returns_422(client, mailbox, drain, path):
    for local in ("=66oo", "f=6fo", "", "a=0Ab", "foo=40evil.example", "=C3=B1"):
        body = {"email": f"=?utf-8?q?{local}?=@fans.example"} | ({} if "/" in path else {"password": "una clave larga"})
        refused = client.post(f"/api/v1/auth/{path}", json=body)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "email")

    assert drain() == []


def test_sign_up_of_known_address_has_equal_answer_and_another_mail(client, drain, mailbox, signed_up):
    signed_up()
    unknown = client.post("/api/v1/auth/signup", json={**SIGNUP, "email": "new@example.com"})
    known = client.post("/api/v1/auth/signup", json={**SIGNUP, "password": "a stranger's password"})
    drain()

    assert essence(known) == essence(unknown)
    assert "already" in mailbox.to("ana@example.com")[-1]["Subject"]
    assert "token=" not in mailbox.text("ana@example.com")
    assert login(client, "ana@example.com", "a stranger's password").status_code == 401
    assert login(client, "ana@example.com", PASSWORD).status_code == 200


@pytest.mark.parametrize("twin", ["ANA@Example.COM", "ana@EXAMPLE.com"])
def test_addresses_that_differ_in_case_are_one_account(client, drain, mailbox, signed_up, twin):
    signed_up()
    client.post("/api/v1/auth/signup", json={**SIGNUP, "email": twin})

    assert "mail.account_exists" in drain()
    assert login(client, twin, PASSWORD).status_code == 200


def test_unicode_and_punycode_domain_are_one_account(client, signed_up):
    signed_up(email="ana@xn--mnchen-3ya.example")

    assert login(client, "ana@MÜNCHEN.example", PASSWORD).status_code == 200


def test_failed_sign_ins_have_equal_responses(client, signed_up):
    signed_up()
    client.post("/api/v1/auth/signup", json={"email": "unverified@example.com", "password": "not yet verified"})

    wrong = login(client, "ana@example.com", "not the password")
    unknown = login(client, "nobody@example.com", "not the password")
    unverified = login(client, "unverified@example.com", "not yet verified")

    assert essence(wrong) == essence(unknown) == essence(unverified)
    assert (wrong.status_code, wrong.json["code"]) == (401, "invalid_credentials")


@pytest.mark.parametrize(
    ("field", "extra"),
    [
        ("role", {"role": "System Admin"}),
        ("brand_id", {"brand_id": "01a2031c-841c-7709-875d-666ded17ceb1"}),
        ("password", {"password": "short"}),
        ("password", {"password": "x" * 129}),
        ("password", {"password": "Ana@Example.com"}),
        ("password", {"password": "password123"}),
        ("email", {"email": "ana@localhost"}),
        ("email", {"email": "ana@example.com\r\nBcc: all@example.com"}),
        ("name", {"name": "Ana"}),
        ("consent_tiers", {"consent_tiers": ["essential"]}),
        ("locale", {"locale": "en\n"}),
        ("locale", {"locale": "english please"}),
    ],
)
def test_invalid_sign_up_returns_422_with_its_field(client, superuser, field, extra):
    refused = client.post("/api/v1/auth/signup", json={**SIGNUP, **extra})

    assert refused.status_code == 422
    assert [error["field"] for error in refused.json["errors"]] == [field]
    assert count(superuser, "select count(*) from app.signups") == 0


@pytest.mark.parametrize(
    "password", ["ñandú y cigüeña", ("otra clave muy larga, " * 6)[:128], "🦩🐢🦜🐙🦔🐿🦥🐌🦂🐝", "   spaces count   "]
)
def test_password_of_any_characters_from_10_to_128_is_accepted(client, signed_up, password):
    token = signed_up(password=password)

    assert client.get("/api/v1/users/me", token=token).status_code == 200


def test_no_character_of_a_password_is_ignored(client, signed_up):
    long = ("otra clave muy larga, " * 6)[:127]
    signed_up(password=long + "a")

    assert login(client, SIGNUP["email"], long + "b").status_code == 401


def test_unicode_forms_of_one_password_are_equal(client, signed_up):
    signed_up(password="contrase\u00f1a larga")

    assert login(client, SIGNUP["email"], "contrasen\u0303a larga").status_code == 200


def test_verification_link_is_valid_once(client, mailbox, signed_up, superuser):
    client.post("/api/v1/auth/signup", json=SIGNUP | {"email": "bea@example.com"})
    signed_up()
    with superuser.cursor() as cursor:
        cursor.execute("select email from app.signups")
        assert cursor.fetchall() == [("bea@example.com",)]

    again = verify(client, mailbox.token("ana@example.com"))

    assert (again.status_code, again.json["code"]) == (404, "link_invalid")


def test_concurrent_verifications_create_one_account(client, drain, mailbox, superuser):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    link = mailbox.token("ana@example.com")

    answers = at_once(6, lambda: verify(client, link, consent_tiers=["essential"]).status_code)

    assert sorted(answers) == [200] + [404] * 5
    assert count(superuser, "select count(*) from users") == 1
    assert count(superuser, "select count(*) from consent_events") == 1


def test_verification_link_expires_after_a_day(client, drain, mailbox, superuser):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    superuser.cursor().execute("update app.signups set expires_at = now() - interval '1 second'")

    late = verify(client, mailbox.token("ana@example.com"))

    assert (late.status_code, late.json["code"]) == (404, "link_invalid")


@pytest.mark.parametrize("token", ["x", "é", "A" * 46, "=" * 46, "A" * 45 + "!"])
def test_forged_verification_link_is_refused(client, token):
    refused = verify(client, token)

    assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")


def test_sign_up_by_a_stranger_sets_nothing_of_the_account(client, drain, mailbox, superuser):
    stranger = client.post("/api/v1/auth/anonymous", json={}).json
    theirs = {**SIGNUP, "password": "the stranger's password"}
    client.post("/api/v1/auth/signup", json={**theirs, "locale": "es"}, token=stranger["access_token"])
    drain()

    assert verify(client, mailbox.token("ana@example.com")).json["session"] is None

    assert login(client, "ana@example.com", "the stranger's password").status_code == 401
    ana = login(client, "ana@example.com", PASSWORD).json
    assert ana["user"]["locale"] == "en"
    me = client.get("/api/v1/users/me", token=stranger["access_token"]).json
    assert (me["email"], me["is_anonymous"], ana["user"]["id"] != me["id"]) == (None, True, True)
    refreshed = client.post("/api/v1/auth/refresh", json={"refresh_token": stranger["refresh_token"]}).json
    assert refreshed["user"]["is_anonymous"] is True
    assert count(superuser, "select count(*) from consent_events") == 0
    assert count(superuser, "select count(*) from app.sessions where not revoked_at is null") == 0


def test_repeated_sign_up_mails_the_same_link(client, drain, mailbox, superuser):
    for _ in range(3):
        client.post("/api/v1/auth/signup", json=SIGNUP)
        drain()
    sent = {link_token(message) for message in mailbox.to("ana@example.com")}

    assert count(superuser, "select count(*) from app.signups") == 1
    assert len(sent) == 1
    assert verify(client, sent.pop()).status_code == 200


def test_sign_up_with_expired_link_gets_a_new_link(client, drain, mailbox, superuser):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    old = mailbox.token("ana@example.com")
    superuser.cursor().execute("update app.signups set expires_at = now() - interval '1 second'")

    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()

    assert verify(client, old).json["code"] == "link_invalid"
    assert verify(client, mailbox.token("ana@example.com")).status_code == 200


def test_many_sign_ups_by_strangers_do_not_block_the_owner(client, drain, mailbox):
    answers = [client.post("/api/v1/auth/signup", json=SIGNUP) for _ in range(signups.MAILS + 2)]
    own = client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()

    assert {essence(answer)[0] for answer in answers} == {202}
    assert essence(own) == essence(answers[0])
    assert len(mailbox.to("ana@example.com")) == signups.MAILS
    assert verify(client, mailbox.token("ana@example.com")).status_code == 200
    assert login(client, "ana@example.com", PASSWORD).status_code == 200


def test_consents_of_a_sign_up_refer_to_the_shown_notice(client, drain, mailbox, superuser):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    shown = notice(client, "es")

    token = mailbox.token("ana@example.com")
    assert verify(client, token, consent_tiers=["marketing", "essential"], notice_id=shown["id"]).status_code == 200

    with superuser.cursor() as cursor:
        cursor.execute("select consent_tier, notice_id, notice_sha256, source from consent_events order by 1")
        assert cursor.fetchall() == [
            (tier, UUID(shown["id"]), shown["sha256"], "signup") for tier in ("essential", "marketing")
        ]


@pytest.fixture
def notices(superuser):
    """Restore the consent notices after the test."""
    yield
    superuser.cursor().execute(
        "set session_replication_role = replica; delete from consent_notices where version > 1;"
        " update consent_notices set retired_at = null; set session_replication_role = origin"
    )


@pytest.mark.parametrize(
    ("spoil", "status", "code"),
    [
        ("", 422, "invalid"),
        ("update consent_notices set retired_at = now()", 422, "unknown_notice"),
        (
            "insert into consent_notices (key, version, locale, title, body, tiers)"
            " select key, version + 1, locale, title, body || '.', tiers from consent_notices",
            409,
            "notice_not_in_force",
        ),
    ],
)
def test_consent_to_notice_not_in_force_is_refused_and_keeps_the_link(
    client, drain, mailbox, superuser, notices, spoil, status, code
):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    token, shown = mailbox.token("ana@example.com"), notice(client)["id"] if spoil else None
    if spoil:
        superuser.cursor().execute(spoil)

    refused = verify(client, token, consent_tiers=["essential"], notice_id=shown)

    assert (refused.status_code, refused.json["code"]) == (status, code)
    assert count(superuser, "select count(*) from users") == 0
    assert verify(client, token).status_code == 200


def test_verification_names_a_weak_password_and_a_missing_notice_together(client, drain, mailbox):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    token = mailbox.token("ana@example.com")

    refused = verify(client, token, password="password123", consent_tiers=["essential"], notice_id=None)

    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (
        422,
        ["notice_id", "password"],
    )


def test_verification_link_is_valid_after_a_weak_password(client, drain, mailbox):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    token = mailbox.token("ana@example.com")

    for weak in ("password123", "Ana Serrano"):
        refused = verify(client, token, password=weak, name="Ana Serrano")
        assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, ["password"])

    assert verify(client, token).status_code == 200


def test_anonymous_fan_who_verifies_becomes_the_account(client, drain, mailbox, signed_up):
    phone = client.post("/api/v1/auth/anonymous", json={"locale": "ca"}).json
    client.patch("/api/v1/users/me", json={"consent_tiers": ["analytics"]}, token=phone["access_token"])
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    link = mailbox.token("ana@example.com")

    made = verify(client, link, token=phone["access_token"], name="Ana", consent_tiers=["essential"]).json["session"]

    assert made["user"]["id"] == phone["user"]["id"]
    me = client.get("/api/v1/users/me", token=made["access_token"]).json
    assert (me["name"], me["is_anonymous"], me["email"]) == ("Ana", False, "ana@example.com")
    assert me["locale"] == "ca"
    assert me["consent_tiers"] == ["essential", "analytics"]
    assert client.get("/api/v1/users/me", token=phone["access_token"]).json["code"] == "session_ended"
    for session, status in ((phone, 401), (made, 200)):
        again = client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]})
        assert again.status_code == status
    assert login(client, "ana@example.com", PASSWORD).json["user"]["id"] == phone["user"]["id"]


def test_anonymous_session_never_counts_as_recent_authentication(client, superuser):
    phone = client.post("/api/v1/auth/anonymous", json={}).json
    listed = client.get("/api/v1/users/me/sessions", token=phone["access_token"]).json["items"]
    assert [session["authenticated_at"] for session in listed] == [None]
    superuser.cursor().execute(
        "update users set is_anonymous = false, email = 'ana@example.com', password_hash = 'x' where id = %s",
        (phone["user"]["id"],),
    )

    refused = client.post("/api/v1/users/me/mfa", token=phone["access_token"])

    assert (refused.status_code, refused.json["code"]) == (403, "recent_authentication_required")


def test_sign_up_with_token_of_an_account_is_refused(client, drain, mailbox, member, superuser, signed_up):
    registered = signed_up()
    client.post("/api/v1/auth/signup", json={"email": "other@example.com"})
    drain()
    link = mailbox.token("other@example.com")

    for token in (registered, member().token):
        refused = verify(client, link, token=token)
        assert (refused.status_code, refused.json["code"]) == (409, "already_registered")
    assert verify(client, link).status_code == 200


def test_opening_the_page_does_not_use_the_link(client, drain, mailbox):
    client.post("/api/v1/auth/signup", json=SIGNUP)
    drain()
    link = mailbox.token("ana@example.com")

    for query in (*[""] * 10, f"?token={link}"):
        assert client.get(f"/verify-email{query}").status_code == 200

    assert verify(client, link).status_code == 200


def test_anonymous_session_has_a_fan_without_address(client):
    session = client.post("/api/v1/auth/anonymous", json={})

    assert session.status_code == 201
    assert session.json["user"]["is_anonymous"] is True
    me = client.get("/api/v1/users/me", token=session.json["access_token"]).json
    assert (me["id"], me["role"], me["email"]) == (session.json["user"]["id"], "Fan", None)


def test_sign_out_ends_the_session_and_no_other(client, signed_up):
    phone = signed_up()
    laptop = login(client, SIGNUP["email"], PASSWORD).json["access_token"]

    ended = client.post("/api/v1/auth/logout", token=phone)

    refused = client.get("/api/v1/users/me", token=phone)
    assert ended.status_code == 204
    assert (refused.status_code, refused.json["code"]) == (401, "session_ended")
    assert client.get("/api/v1/users/me", token=laptop).status_code == 200


def test_sign_in_attempts_are_limited_until_the_window_ends(client, superuser, signed_up):
    signed_up()
    wrong = [login(client, "ana@example.com", "not the password").status_code for _ in range(10)]

    refused = login(client, "ana@example.com", PASSWORD)
    superuser.cursor().execute("update app.sign_in_attempts set resets_at = now() - interval '1 second'")
    later = login(client, "ana@example.com", PASSWORD)

    assert set(wrong) == {401}
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert later.status_code == 200


def test_concurrent_sign_in_attempts_are_all_counted(client, signed_up):
    signed_up()

    answers = at_once(15, lambda: login(client, "ana@example.com", "not the password").status_code)

    assert sorted(answers) == [401] * 10 + [429] * 5


def test_attempts_for_unknown_account_are_limited_equally(client):
    answers = [login(client, "nobody@example.com", "not the password").status_code for _ in range(11)]

    assert answers == [401] * 10 + [429]


def test_sign_in_and_its_refusal_are_audited_for_the_brand(client, member, superuser):
    manager = member("Campaign Manager")
    login(client, manager.email, "not the password")
    login(client, manager.email, manager.password)

    with superuser.cursor() as cursor:
        cursor.execute(
            "select outcome, reason, user_id, details::text from audit_logs where action = 'session.start'"
            " and brand_id = %s order by timestamp desc limit 2",
            (manager.brand_id,),
        )
        (ok, refused) = cursor.fetchall()
    assert ok[:3] == ("ok", None, manager.user_id)
    assert refused[:3] == ("refused", "invalid_credentials", manager.user_id)
    assert manager.email not in refused[3]


def test_profile_is_changed_if_its_version_matches(client, signed_up):
    token = signed_up()
    before = client.get("/api/v1/users/me", token=token)
    change = {"name": "Ana", "locale": "es", "timezone": "Europe/Madrid", "phone": "+34600000000"}

    changed = client.patch("/api/v1/users/me", json=change, token=token, headers={"If-Match": before.headers["ETag"]})
    stale = client.patch(
        "/api/v1/users/me", json={"name": "B"}, token=token, headers={"If-Match": before.headers["ETag"]}
    )

    assert changed.status_code == 200
    assert change.items() <= changed.json.items()
    assert client.get("/api/v1/users/me", token=token).json == changed.json
    assert (stale.status_code, stale.json["code"]) == (412, "precondition_failed")


def test_profile_keeps_omitted_fields_and_clears_null_ones(client, signed_up):
    token = signed_up(name="Ana", consent_tiers=["essential"])
    client.patch("/api/v1/users/me", json={"phone": "+34600000000"}, token=token)

    changed = client.patch("/api/v1/users/me", json={"phone": None}, token=token).json

    assert (changed["name"], changed["phone"], changed["consent_tiers"]) == ("Ana", None, ["essential"])


@pytest.mark.parametrize(
    "change",
    [
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"phone": "0034600000000"},
        {"phone": "+34600000000\n"},
        {"locale": None},
        {"name": ""},
        {"name": "   "},
        {"email": "other@example.com"},
        {"role": "System Admin"},
        {"brand_id": None},
        {"consent_tiers": ["essential"] * 5},
    ],
)
def test_invalid_profile_change_returns_422_and_changes_nothing(client, fan, change):
    phone = fan("marketing")
    before = client.get("/api/v1/users/me", token=phone.token).json

    refused = client.patch("/api/v1/users/me", json={"name": "Ana", "consent_tiers": [], **change}, token=phone.token)

    assert refused.status_code == 422
    assert client.get("/api/v1/users/me", token=phone.token).json == before


def test_profile_tiers_replace_consents_for_all_brands_only(client, brand, fan):
    phone = fan("essential", "marketing")
    client.post("/api/v1/consents", json={"tier": "marketing", "brand_id": str(brand["id"])}, token=phone.token)

    changed = client.patch("/api/v1/users/me", json={"consent_tiers": ["analytics", "essential"]}, token=phone.token)

    assert changed.json["consent_tiers"] == ["essential", "analytics"]
    states = {
        (c["tier"], c["brand_id"], c["active"]) for c in client.get("/api/v1/consents", token=phone.token).json["items"]
    }
    assert states == {
        ("essential", None, True),
        ("marketing", None, False),
        ("analytics", None, True),
        ("marketing", str(brand["id"]), True),
    }


def test_profile_change_is_audited_without_personal_values(client, signed_up):
    token = signed_up(name="Ana")
    client.patch(
        "/api/v1/users/me", json={"name": "Anna", "phone": "+34600000000", "timezone": "Asia/Tokyo"}, token=token
    )

    (entry,) = entries("account.update")
    details = entry.details
    assert details["before"]["timezone"] == "UTC"
    assert details["after"]["timezone"] == "Asia/Tokyo"
    assert details["before"]["name"].startswith("hmac:")
    assert details["after"]["name"] != details["before"]["name"]
    assert "Ana" not in str(details)
    assert "600000000" not in str(details)


def test_key_set_is_public_and_contains_no_private_key(client):
    answer = client.get("/.well-known/jwks.json")

    assert answer.status_code == 200
    assert "public" in answer.headers["Cache-Control"]
    assert answer.json["keys"]
    assert all("d" not in key and key["crv"] == "P-256" and key["kid"] for key in answer.json["keys"])


def test_key_set_is_cacheable_and_has_an_etag(client):
    answer = client.get("/.well-known/jwks.json")

    again = client.get("/.well-known/jwks.json", headers={"If-None-Match": answer.headers["ETag"]})

    assert answer.headers["Cache-Control"] == "public, max-age=600"
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("role", ["Brand Admin", "Campaign Manager", "Creator"])
def test_members_and_admins_have_profiles_and_consents(client, member, admin, role):
    for account in (member(role), admin):
        changed = client.patch(
            "/api/v1/users/me", json={"name": "Me", "consent_tiers": ["analytics"]}, token=account.token
        )
        assert changed.status_code == 200
        assert (changed.json["name"], changed.json["consent_tiers"]) == ("Me", ["analytics"])


@pytest.mark.parametrize("token", [None, "x", "a.b.c", "Bearer"])
@pytest.mark.parametrize(("method", "path"), [("GET", "users/me"), ("PATCH", "users/me"), ("POST", "auth/logout")])
def test_request_without_valid_token_returns_401(client, method, path, token):
    refused = client.request(method, f"/api/v1/{path}", json={} if method == "PUT" else None, token=token)

    assert (refused.status_code, refused.json["code"]) == (401, "unauthenticated")


def at_once(times, do):
    with ThreadPoolExecutor(times) as pool:
        return [asked.result() for asked in [pool.submit(do) for _ in range(times)]]


def count(superuser, sql):
    with superuser.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
