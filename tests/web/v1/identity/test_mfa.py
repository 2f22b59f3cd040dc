"""Test MFA over HTTP: enrolment of an authenticator, codes, recovery codes and removal."""

import time

import pytest

from models.core import aead, context, keys
from models.core.context import SYSTEM_ADMIN
from models.core.database import execute, transaction
from models.identity import access_tokens, mfa, totp
from tests.fixtures.accounts import TOTP_SECRET, forget_code
from tests.fixtures.audit import entries
from web.v1 import ROUTES

pytestmark = pytest.mark.usefixtures("fresh_limits")

ME = "/api/v1/users/me"
MFA = "/api/v1/users/me/mfa"
END_FIRST_SESSION = (
    "update app.sessions set revoked_at = '2026-01-01' where id = (select id from app.sessions where user_id = %s"
    " and revoked_at is null order by created_at limit 1)"
)


def login(client, account):
    """Return a session of the password only."""
    credentials = {"email": account.email, "password": account.password}
    return client.post("/api/v1/auth/login", json=credentials).json


def verify(client, token, **shown):
    return client.post("/api/v1/auth/mfa/verify", json=shown, token=token)


def one(superuser, sql):
    with superuser.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def test_codes_match_rfc_6238():
    # Appendix B, for SHA-1, cut to six digits.
    secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"

    moments = [59, 1111111109, 1111111111, 1234567890, 2000000000]

    assert [totp.code(secret, at) for at in moments] == ["287082", "081804", "050471", "005924", "279037"]


@pytest.mark.parametrize(("off", "step"), [(-61, None), (-30, 99), (0, 100), (30, 101), (61, None)])
def test_code_of_adjacent_time_step_is_accepted(off, step):
    assert totp.step_of(TOTP_SECRET, totp.code(TOTP_SECRET, 3000 + off), 3000) == step


def test_member_with_confirmed_authenticator_signs_in_with_a_code(client, member, superuser, sign_in_again):
    manager = member()
    other = sign_in_again(manager)

    enrolment = client.post(MFA, token=manager.token)
    assert enrolment.status_code == 201
    assert enrolment.json["uri"].startswith("otpauth://totp/")
    assert enrolment.json["secret"] in enrolment.json["uri"]
    assert client.get(MFA, token=manager.token).json == {
        "confirmed_at": None,
        "recovery_codes_left": 0,
        "required_from": None,
    }
    assert login(client, manager)["mfa_required"] is None

    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(enrolment.json["secret"])}, token=manager.token)
    assert confirmed.status_code == 200
    assert len(set(confirmed.json["recovery_codes"])) == 10
    assert access_tokens.verify(confirmed.json["access_token"])["aal"] == "aal2"
    assert client.get(ME, token=other.token).json["code"] == "session_ended"
    assert client.get(MFA, token=confirmed.json["access_token"]).json["recovery_codes_left"] == 10
    assert login(client, manager)["mfa_required"] == "verify"


def test_session_owing_mfa_is_limited_until_verified(client, enrolled, brand):
    manager, secret, _ = enrolled
    session = login(client, manager)
    token = session["access_token"]

    refused = client.get(f"/api/v1/brands/{brand['id']}", token=token)
    assert (refused.status_code, refused.json["code"]) == (403, "mfa_required")
    for path in (ME, f"{ME}/sessions", "/api/v1/consents"):
        assert client.get(path, token=token).json["code"] == "mfa_required", path
    assert client.get(MFA, token=token).status_code == 200
    for path in (MFA, f"{MFA}/recovery-codes", "/api/v1/auth/step-up"):
        answer = client.post(path, json={"password": manager.password}, token=token)
        assert (answer.status_code, answer.json["code"]) == (403, "mfa_required"), path

    raised = verify(client, token, code=totp.code(secret))
    assert raised.status_code == 200
    assert client.get(f"/api/v1/brands/{brand['id']}", token=raised.json["access_token"]).status_code == 200
    following = client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]}).json
    assert (following["mfa_required"], access_tokens.verify(following["access_token"])["aal"]) == (None, "aal2")


def test_endpoints_admitted_before_mfa_are_listed():
    found = {
        (name.removeprefix("on_"), path)
        for path, resource in ROUTES
        for name in dir(resource)
        if name.startswith("on_") and getattr(resource, name).spec.before_mfa
    }

    assert found == {
        ("post", "/api/v1/auth/logout"),  # of this session alone
        ("post", "/api/v1/auth/step-up"),
        ("post", "/api/v1/auth/mfa/verify"),
        ("get", MFA),
        ("head", MFA),
        ("post", MFA),
        ("post", f"{MFA}/confirm"),
    }


def test_session_owing_mfa_ends_only_itself(client, enrolled):
    manager, _, confirmed = enrolled
    token, mine = login(client, manager)["access_token"], confirmed["access_token"]
    (other,) = [one for one in client.get(f"{ME}/sessions", token=mine).json["items"] if one["is_this"]]

    for scope in ("others", "all"):
        refused = client.post("/api/v1/auth/logout", json={"scope": scope}, token=token)
        assert (refused.status_code, refused.json["code"]) == (403, "mfa_required")
    assert client.delete(f"{ME}/sessions/{other['id']}", token=token).json["code"] == "mfa_required"
    assert client.get(ME, token=mine).status_code == 200
    assert client.post("/api/v1/auth/logout", token=token).status_code == 204
    assert client.get(MFA, token=token).json["code"] == "session_ended"


def test_session_owing_mfa_reads_no_rows_of_its_brand(client, enrolled):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    raised = verify(client, token, code=totp.code(secret)).json["access_token"]

    seen = {}
    for name, identity in (("owes", token), ("raised", raised)):
        with transaction(context.of_claims(access_tokens.verify(identity))):
            seen[name] = execute("SELECT id FROM public.brands")
    assert seen == {"owes": 0, "raised": 1}


def test_database_refuses_system_admin_without_mfa(client, admin):
    claims = access_tokens.verify(login(client, admin)["access_token"])

    assert context.of_claims(claims).role == "authenticated"
    as_admin = context.Identity("account", "app_admin", claims, is_session=True)
    with pytest.raises(Exception, match="authenticator") as refused, transaction(as_admin):
        execute("SELECT 1")
    assert refused.value.code == "mfa_required"


def test_system_admin_without_authenticator_has_to_enrol(client, admin, superuser):
    superuser.cursor().execute("delete from app.totp_factors")
    session = login(client, admin)
    token = session["access_token"]

    assert session["mfa_required"] == "enrol"
    assert client.get("/api/v1/brands", token=token).json["code"] == "mfa_required"
    secret = client.post(MFA, token=token).json["secret"]
    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=token).json
    assert confirmed["user"]["role"] == SYSTEM_ADMIN
    assert client.get("/api/v1/brands", token=confirmed["access_token"]).status_code == 200


def test_code_is_valid_once_for_all_sessions_of_the_account(client, enrolled):
    manager, secret, _ = enrolled
    first, second = (login(client, manager)["access_token"] for _ in range(2))
    code = totp.code(secret)

    taken = verify(client, first, code=code)
    again = verify(client, second, code=code)

    assert taken.status_code == 200
    assert (again.status_code, again.json["code"]) == (403, "invalid_code")
    assert verify(client, second, code=totp.code(secret, time.time() + totp.STEP)).status_code == 200


@pytest.mark.parametrize("spelling", ["{} {}", " {}{}\n", "{}-{}", "{}\u00a0{}"])
def test_code_with_blanks_or_hyphens_is_accepted(client, enrolled, superuser, spelling):
    manager, secret, confirmed = enrolled
    token = login(client, manager)["access_token"]
    code = totp.code(secret)
    spelled = spelling.format(code[:3], code[3:])

    assert verify(client, token, code=spelled).status_code == 200
    forget_code(superuser, manager.user_id)
    again = client.post("/api/v1/auth/step-up", json={"code": spelled}, token=confirmed["access_token"])
    assert again.status_code == 204


def test_first_code_of_an_authenticator_may_be_spelled_with_blanks(client, member):
    manager = member()
    code = totp.code(client.post(MFA, token=manager.token).json["secret"])

    confirmed = client.post(f"{MFA}/confirm", json={"code": f"{code[:3]} {code[3:]}"}, token=manager.token)

    assert confirmed.status_code == 200


@pytest.mark.parametrize("code", ["12345", "1234567", "12 345", "12345a", "١٢٣٤٥٦", "-" * 41])
def test_code_without_six_digits_is_refused(client, enrolled, code):
    token = login(client, enrolled[0])["access_token"]

    assert verify(client, token, code=code).status_code == 422


def test_code_of_an_earlier_step_than_the_last_is_refused(client, enrolled):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    verify(client, token, code=totp.code(secret, time.time() + totp.STEP))

    assert verify(client, token, code=totp.code(secret)).json["code"] == "invalid_code"


def test_valid_code_after_too_many_attempts_returns_429(client, enrolled):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    wrong = "000000" if totp.step_of(secret, "000000") is None else "999999"

    refused = [verify(client, token, code=wrong).status_code for _ in range(mfa.MAX_ATTEMPTS)]
    late = verify(client, token, code=totp.code(secret))

    assert set(refused) == {403}
    assert (late.status_code, late.json["code"]) == (429, "rate_limited")


def test_owner_is_notified_once_of_exhausted_code_attempts(client, enrolled, drain, mailbox):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    wrong = "000000" if totp.step_of(secret, "000000") is None else "999999"
    drain()
    mailbox.messages.clear()

    tried = [verify(client, token, code=wrong).status_code for _ in range(mfa.MAX_ATTEMPTS)]
    drain()
    assert set(tried) == {403}
    assert mailbox.to(manager.email) == []

    late = [verify(client, token, code=wrong).status_code for _ in range(3)]
    drain()
    assert late == [429] * 3
    (notice,) = mailbox.to(manager.email)
    assert notice["Subject"] == "Somebody has tried codes of your authenticator"


def test_recovery_code_is_valid_once_and_stored_as_hash(client, enrolled, superuser):
    manager, _, confirmed = enrolled
    code = confirmed["recovery_codes"][0]
    token = login(client, manager)["access_token"]

    taken = verify(client, token, recovery_code=f" {code.lower().replace('-', ' ')}")
    again = verify(client, token, recovery_code=code)

    assert taken.status_code == 200
    assert again.json["code"] == "invalid_code"
    assert client.get(MFA, token=taken.json["access_token"]).json["recovery_codes_left"] == 9
    (stored,) = one(superuser, "select string_agg(c::text, ' ') from app.recovery_codes c")
    assert code.encode().hex() not in stored
    assert code.replace("-", "").encode().hex() not in stored


def test_new_recovery_codes_replace_the_old_ones(client, enrolled):
    manager, _, confirmed = enrolled
    token = login(client, manager)["access_token"]

    made = client.post(f"{MFA}/recovery-codes", token=confirmed["access_token"])

    assert made.status_code == 201
    assert verify(client, token, recovery_code=confirmed["recovery_codes"][1]).status_code == 403
    assert verify(client, token, recovery_code=made.json["recovery_codes"][1]).status_code == 200


def test_mfa_reset_by_admin_allows_sign_in_and_notifies(client, enrolled, admin, superuser, drain, mailbox):
    manager, _, confirmed = enrolled
    url = f"/api/v1/users/{manager.user_id}/mfa/reset"
    client.post("/api/v1/auth/login", json={"email": manager.email, "password": "not the password"})
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")
    superuser.cursor().execute("insert into app.recovery_codes values (%s, 'of another account')", (admin.user_id,))
    superuser.cursor().execute(END_FIRST_SESSION, (manager.user_id,))
    drain()

    done = client.post(url, json={"reason": "passport seen"}, token=admin.token)
    drain()

    assert done.status_code == 204
    assert client.get(ME, token=confirmed["access_token"]).json["code"] == "session_ended"
    assert login(client, manager)["mfa_required"] is None
    assert one(superuser, "select count(*) from app.sessions where revoked_at = '2026-01-01'") == (1,)
    for table in ("recovery_codes", "totp_factors"):
        assert one(superuser, f"select array_agg(user_id::text) from app.{table}") == ([str(admin.user_id)],)
    assert mailbox.to(manager.email)[-1]["Subject"] == "The authenticator of your account has been removed"
    (entry,) = entries("user.reset_mfa")
    assert (entry.record_id, entry.reason) == (manager.user_id, "passport seen")
    assert client.post(url, json={"reason": "again"}, token=admin.token).json["code"] == "mfa_not_enrolled"


def test_mfa_reset_is_for_other_accounts_by_admins_only(client, enrolled, admin, member, superuser):
    manager, _, _ = enrolled
    url = "/api/v1/users/{}/mfa/reset"
    reason = {"reason": "because"}

    assert client.post(url.format(manager.user_id), json=reason, token=member().token).status_code == 403
    assert client.post(url.format(admin.user_id), json=reason, token=admin.token).json["code"] == "own_account"
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")
    late = client.post(url.format(manager.user_id), json=reason, token=admin.token)
    assert late.json["code"] == "recent_authentication_required"


def test_use_and_replacement_of_recovery_codes_are_notified(client, enrolled, drain, mailbox):
    manager, _, confirmed = enrolled
    verify(client, login(client, manager)["access_token"], recovery_code=confirmed["recovery_codes"][0])
    client.post(f"{MFA}/recovery-codes", token=confirmed["access_token"])
    drain()

    assert {message["Subject"] for message in mailbox.to(manager.email)} == {
        "An authenticator has been added to your account",
        "A recovery code of your account has been used",
        "Your account has new recovery codes",
    }


def test_totp_secret_is_encrypted_and_bound_to_its_user(enrolled, superuser, admin):
    manager, secret, _ = enrolled
    sealed, version = one(
        superuser, f"select secret, key_version from app.totp_factors where user_id = '{manager.user_id}'"
    )

    assert secret.encode() not in bytes(sealed)
    assert totp.decrypt(totp.EncryptedSecret(bytes(sealed), version), manager.user_id) == secret
    with pytest.raises(aead.DecryptionError):
        totp.decrypt(totp.EncryptedSecret(bytes(sealed), version), admin.user_id)


def test_totp_secret_is_reencrypted_with_active_key_when_used(client, enrolled, superuser, monkeypatch):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    roots = {2: b"n" * 32, **keys._roots()}
    keys.derive.cache_clear()
    monkeypatch.setattr(keys, "_roots", lambda: roots)

    raised = verify(client, token, code=totp.code(secret))
    keys.derive.cache_clear()

    assert raised.status_code == 200
    (version,) = one(superuser, f"select key_version from app.totp_factors where user_id = '{manager.user_id}'")
    assert version == 2


def test_recovery_code_is_accepted_after_a_rotation_of_root_secrets(client, enrolled, monkeypatch):
    manager, _, confirmed = enrolled
    token = login(client, manager)["access_token"]
    roots = {2: b"n" * 32, **keys._roots()}
    keys.derive.cache_clear()
    monkeypatch.setattr(keys, "_roots", lambda: roots)

    taken = verify(client, token, recovery_code=confirmed["recovery_codes"][0])
    keys.derive.cache_clear()

    assert taken.status_code == 200


def test_authenticator_is_removed_by_members_not_system_admins(client, enrolled, admin, superuser):
    manager, _, confirmed = enrolled

    removed = client.delete(MFA, token=confirmed["access_token"])
    refused = client.delete(MFA, token=admin.token)

    assert removed.status_code == 204
    assert login(client, manager)["mfa_required"] is None
    assert one(superuser, f"select count(*) from app.recovery_codes where user_id = '{manager.user_id}'") == (0,)
    assert (refused.status_code, refused.json["code"]) == (409, "mfa_mandatory")


def test_confirmed_authenticator_replaces_the_first(client, enrolled, superuser):
    manager, old, confirmed = enrolled
    new = client.post(MFA, token=confirmed["access_token"]).json["secret"]
    assert verify(client, login(client, manager)["access_token"], code=totp.code(old)).status_code == 200
    forget_code(superuser, manager.user_id)

    client.post(f"{MFA}/confirm", json={"code": totp.code(new)}, token=confirmed["access_token"])
    forget_code(superuser, manager.user_id)

    token = login(client, manager)["access_token"]
    assert verify(client, token, code=totp.code(old)).status_code == 403
    assert verify(client, token, code=totp.code(new)).status_code == 200


def test_confirmation_of_authenticator_ends_the_other_sessions(client, member):
    manager, other = member(), member()
    laptop, stranger = login(client, manager), login(client, other)
    secret = client.post(MFA, token=manager.token).json["secret"]

    client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=manager.token)

    refreshed = [
        client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]}).status_code
        for session in (laptop, stranger)
    ]
    assert refreshed == [401, 200]


def test_anonymous_fan_cannot_enrol_mfa(client, fan):
    assert client.post(MFA, token=fan().token).status_code == 403


def test_step_up_accepts_a_code(client, enrolled, superuser):
    _, secret, confirmed = enrolled
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")
    assert client.delete(MFA, token=confirmed["access_token"]).json["code"] == "recent_authentication_required"

    shown = client.post("/api/v1/auth/step-up", json={"code": totp.code(secret)}, token=confirmed["access_token"])

    assert shown.status_code == 204
    assert client.delete(MFA, token=confirmed["access_token"]).status_code == 204


@pytest.mark.parametrize("shown", [{}, {"password": "x", "code": "000000"}])
def test_step_up_needs_exactly_one_credential(client, member, shown):
    assert client.post("/api/v1/auth/step-up", json=shown, token=member().token).status_code == 422


def test_enrolment_and_removal_of_mfa_are_notified(client, drain, mailbox, enrolled):
    manager, _, confirmed = enrolled
    client.delete(MFA, token=confirmed["access_token"])
    drain()

    assert {message["Subject"] for message in mailbox.to(manager.email)} == {
        "An authenticator has been added to your account",
        "The authenticator of your account has been removed",
    }


def test_acts_and_refusals_of_mfa_are_audited(client, enrolled, superuser):
    manager, secret, _ = enrolled
    token = login(client, manager)["access_token"]
    code = totp.code(secret)
    for _ in range(2):
        verify(client, token, code=code)

    with superuser.cursor() as cursor:
        cursor.execute(
            "select action, outcome, reason from audit_logs where user_id = %s and action ~ '^(mfa|session.verify)'"
            " order by timestamp",
            (manager.user_id,),
        )
        assert cursor.fetchall() == [
            ("mfa.enrol", "ok", None),
            ("mfa.confirm", "ok", None),
            ("session.verify", "ok", None),
            ("session.verify", "refused", "invalid_code"),
        ]


def test_signed_in_fan_can_enrol_an_authenticator(client, fan, superuser):
    phone = fan()
    superuser.cursor().execute(
        "update users set is_anonymous = false, email = 'ana@example.com', password_hash = 'x' where id = %s",
        (phone.user_id,),
    )
    superuser.cursor().execute("update app.sessions set authenticated_at = now()")
    secret = client.post(MFA, token=phone.token).json["secret"]

    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=phone.token)

    assert confirmed.status_code == 200
