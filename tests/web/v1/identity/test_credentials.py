"""Test credentials over HTTP: password change, password reset and email change."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg2
import pytest

from models.core import signed_links
from models.identity import access_tokens, credentials, passwords, sessions, step_up, totp
from models.tenants import invitations
from tests.fixtures.accounts import PASSWORD, Account, link_token, sign_in, sign_in_admin, text_of
from tests.support.blocked import until_blocked

pytestmark = pytest.mark.usefixtures("fresh_limits")

NEW = "a quite different one"


def login(client, email, password):
    return client.post("/api/v1/auth/login", json={"email": email, "password": password})


def forget(client, email):
    return client.post("/api/v1/auth/password/forgot", json={"email": email})


def reset(client, token, password=NEW):
    return client.post("/api/v1/auth/password/reset", json={"token": token, "password": password})


def change(client, account, present, new=NEW):
    body = {"password": present, "new_password": new}
    return client.post("/api/v1/users/me/password", json=body, token=account.token)


def ask(client, account, email):
    return client.post("/api/v1/users/me/email", json={"email": email}, token=account.token)


def follow(client, verb, token):
    return client.post(f"/api/v1/auth/email/{verb}", json={"token": token})


def is_alive(client, account):
    return client.get("/api/v1/users/me", token=account.token).status_code == 200


def essence(answer):
    """Return status and body of an answer, without the id of its request."""
    return answer.status_code, {**(answer.json or {}), "request_id": ""}


def trail(superuser, prefix):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select action, outcome, reason, user_id from audit_logs where action ~ %s order by timestamp",
            (f"^{prefix}",),
        )
        return cursor.fetchall()


def test_password_reset_link_ends_every_session(client, drain, mailbox, member, sign_in_again, superuser):
    manager = member()
    other = sign_in_again(manager)

    assert forget(client, manager.email).status_code == 202
    drain()
    token = mailbox.token(manager.email)
    assert "/reset-password?lang=en#token=" in mailbox.text(manager.email)
    done = reset(client, token)
    drain()

    assert (done.status_code, done.json) == (200, {"status": "changed"})
    assert not is_alive(client, manager)
    assert not is_alive(client, other)
    assert login(client, manager.email, PASSWORD).status_code == 401
    assert login(client, manager.email, NEW).status_code == 200
    assert mailbox.to(manager.email)[-1]["Subject"] == "Your password has been changed"
    assert trail(superuser, "password") == [
        ("password.forget", "ok", None, manager.user_id),
        ("password.reset", "ok", None, manager.user_id),
    ]


def test_password_reset_request_does_equal_work_for_any_address(client, drain, mailbox, member, superuser):
    manager = member()

    known, unknown = forget(client, manager.email), forget(client, "nobody@example.com")

    assert essence(known) == essence(unknown)
    with superuser.cursor() as cursor:
        cursor.execute("select actor, subject_type from app.jobs where actor ~ '^mail'")
        assert cursor.fetchall() == [("mail.password_reset", "password_reset")] * 2
    drain()
    assert [message["To"] for message in mailbox.messages] == [manager.email]


def test_password_reset_link_is_valid_once_for_an_hour(client, drain, mailbox, member, superuser):
    manager = member()
    for _ in range(2):
        forget(client, manager.email)
    drain()
    first, second = (str(link) for link in _tokens(mailbox, manager.email))
    assert follow(client, "confirm", first).json["code"] == "link_invalid"

    assert reset(client, first).status_code == 200
    for used in (first, second):
        refused = reset(client, used, "one more, and different")
        assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")

    forget(client, manager.email)
    drain()
    superuser.cursor().execute("update app.password_resets set expires_at = now() - interval '1 second'")
    late = next(token for token in _tokens(mailbox, manager.email) if token not in (first, second))
    assert reset(client, late).status_code == 404


def _tokens(mailbox, address):
    return [link_token(message) for message in mailbox.to(address) if "token=" in text_of(message)]


def test_reset_link_is_valid_after_a_weak_password(client, drain, mailbox, member):
    manager = member()
    forget(client, manager.email)
    drain()
    token = mailbox.token(manager.email)

    weak = reset(client, token, "password123")

    assert (weak.status_code, [error["field"] for error in weak.json["errors"]]) == (422, ["password"])
    assert reset(client, token).status_code == 200


def test_reset_by_mail_clears_attempts_of_that_account_only(client, drain, mailbox, member, superuser):
    manager, other = member(), member()
    for account in (manager, other):
        for _ in range(sessions.MAX_ATTEMPTS_PER_NETWORK):
            login(client, account.email, "not the password")
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")
    forget(client, manager.email)
    drain()
    assert login(client, manager.email, PASSWORD).status_code == 429

    assert reset(client, mailbox.token(manager.email)).status_code == 200

    assert login(client, manager.email, NEW).status_code == 200
    assert login(client, other.email, PASSWORD).status_code == 429


def test_password_reset_mails_to_one_address_are_limited(client, drain, mailbox, member):
    manager = member()

    answers = [forget(client, manager.email) for _ in range(credentials.MAILS + 3)]
    drain()

    assert {answer.status_code for answer in answers} == {202}
    assert len(mailbox.to(manager.email)) == credentials.MAILS


def test_password_change_ends_the_other_sessions(client, drain, mailbox, member, sign_in_again, superuser):
    manager = member()
    other = sign_in_again(manager)
    forget(client, manager.email)

    changed = change(client, manager, PASSWORD)
    drain()

    assert changed.status_code == 204
    assert is_alive(client, manager)
    assert not is_alive(client, other)
    assert login(client, manager.email, NEW).status_code == 200
    assert [message["Subject"] for message in mailbox.to(manager.email)] == ["Your password has been changed"]
    assert trail(superuser, "password.change") == [("password.change", "ok", None, manager.user_id)]


@pytest.mark.parametrize(
    ("present", "new", "status", "code"),
    [
        ("not the password", NEW, 403, "wrong_password"),
        (PASSWORD, PASSWORD, 409, "same_password"),
        (PASSWORD, "password123", 422, "invalid"),
    ],
)
def test_refused_password_change_keeps_the_password(client, member, present, new, status, code):
    manager = member()

    refused = change(client, manager, present, new)

    assert (refused.status_code, refused.json["code"]) == (status, code)
    assert login(client, manager.email, PASSWORD).status_code == 200


def test_password_change_attempts_are_limited(client, member):
    manager = member()
    wrong = [change(client, manager, "not the password").status_code for _ in range(step_up.MAX_ATTEMPTS)]

    assert set(wrong) == {403}
    assert change(client, manager, PASSWORD).status_code == 429


def test_email_change_is_confirmed_and_old_address_notified(client, drain, mailbox, member, superuser):
    manager = member()
    asked = ask(client, manager, "New@Example.com")
    drain()

    assert (asked.status_code, asked.json) == (202, {"status": "mail_sent"})
    assert "/confirm-email?lang=en#token=" in mailbox.text("new@example.com")
    assert login(client, manager.email, PASSWORD).status_code == 200
    confirmed = follow(client, "confirm", mailbox.token("new@example.com"))
    drain()

    assert confirmed.status_code == 200
    assert login(client, "new@example.com", PASSWORD).status_code == 200
    assert login(client, manager.email, PASSWORD).status_code == 401
    assert "/undo-email?lang=en#token=" in mailbox.text(manager.email)
    assert is_alive(client, manager)
    assert [entry[0] for entry in trail(superuser, "email")] == ["email.ask", "email.change"]
    assert follow(client, "confirm", mailbox.token("new@example.com")).json["code"] == "link_invalid"


def test_undo_link_restores_the_first_address_and_resets_password(client, drain, mailbox, member, superuser):
    manager, other = member(), member()
    changes = [(manager, "first@example.com"), (manager, "second@example.com"), (other, "other@example.com")]
    for account, address in changes:
        ask(client, account, address)
        drain()
        follow(client, "confirm", mailbox.token(address))
        drain()
    original, stolen = mailbox.token(manager.email), mailbox.token("first@example.com")

    undone = follow(client, "undo", original)
    drain()

    assert undone.status_code == 200
    assert not is_alive(client, manager)
    assert follow(client, "undo", stolen).json["code"] == "link_invalid"
    assert follow(client, "undo", original).json["code"] == "link_invalid"
    assert reset(client, mailbox.token(manager.email)).status_code == 200
    assert login(client, manager.email, NEW).status_code == 200
    assert ("email.undo", "ok", None, manager.user_id) in trail(superuser, "email")
    with superuser.cursor() as cursor:
        cursor.execute(
            "select count(*) from app.email_changes where user_id = %s and undone_at is null", (other.user_id,)
        )
        assert cursor.fetchone() == (1,)


def test_undo_of_email_change_ends_access_by_the_old_password(client, drain, mailbox, member):
    manager = member()
    ask(client, manager, "thief@example.com")
    drain()
    follow(client, "confirm", mailbox.token("thief@example.com"))
    drain()

    assert follow(client, "undo", mailbox.token(manager.email)).status_code == 200

    assert login(client, manager.email, PASSWORD).status_code == 401
    drain()
    assert reset(client, mailbox.token(manager.email)).status_code == 200


def undo_link(client, drain, mailbox, account):
    """Change the address of an account, as a thief would, and return the token that undoes the change."""
    ask(client, account, "thief@example.com")
    drain()
    follow(client, "confirm", mailbox.token("thief@example.com"))
    drain()
    return mailbox.token(account.email)


def enrol(client, token):
    """Enrol an authenticator and return the answer to its first code."""
    secret = client.post("/api/v1/users/me/mfa", token=token).json["secret"]
    return client.post("/api/v1/users/me/mfa/confirm", json={"code": totp.code(secret)}, token=token).json


@dataclass
class AddedAccess:
    """The means of access that an intruder has added to an account."""

    recovery_codes: list[str]
    key: dict[str, str]
    invitation: dict[str, str]
    session: Account


@pytest.fixture
def add_access(client):
    """Return `add_access(boss)`: as this Brand Admin, enrol MFA, create an API key and invite an address."""

    def act(boss):
        confirmed = enrol(client, boss.token)
        session = replace(boss, token=confirmed["access_token"])
        wanted = {"name": "theirs", "scopes": ["campaigns:read"]}
        key = client.post("/api/v1/api-keys", json=wanted, token=session.token).json
        people = f"/api/v1/brands/{boss.brand_id}/invitations"
        friend = {"email": "friend@example.com", "role": "Brand Admin"}
        invited = client.post(people, json=friend, token=session.token).json
        return AddedAccess(confirmed["recovery_codes"], key, invited, session)

    return act


def assert_removed(client, superuser, access, action):
    """Assert that no added means gives access, and that the audit entry lists the removed ones."""
    assert client.get("/api/v1/campaigns", token=access.key["key"]).json["code"] == "api_key_invalid"
    link = {"token": signed_links.make(invitations.LINK_PURPOSE, UUID(access.invitation["id"])), "password": NEW}
    assert client.post("/api/v1/auth/accept-invitation", json=link).json["code"] == "link_invalid"
    assert not is_alive(client, access.session)
    with superuser.cursor() as cursor:
        cursor.execute(
            "select details -> 'removed' from audit_logs where action = %s and user_id = %s order by timestamp desc",
            (action, access.session.user_id),
        )
        (removed,) = cursor.fetchone()
    assert removed.pop("authenticator")
    assert removed == {
        "recovery_codes": len(access.recovery_codes),
        "api_keys": [access.key["id"]],
        "invitations": [access.invitation["id"]],
    }


def test_reset_by_mail_removes_all_earlier_access(client, drain, mailbox, member, add_access, superuser):
    boss, other = member("Brand Admin"), member("Brand Admin")
    theirs = client.post("/api/v1/api-keys", json={"name": "x", "scopes": ["campaigns:read"]}, token=other.token).json
    access = add_access(boss)
    forget(client, boss.email)
    drain()

    assert reset(client, mailbox.token(boss.email)).status_code == 200
    drain()

    assert_removed(client, superuser, access, "password.reset")
    assert client.get("/api/v1/campaigns", token=theirs["key"]).status_code == 200
    assert login(client, boss.email, NEW).json["mfa_required"] is None
    assert {message["Subject"] for message in mailbox.to(boss.email)[-2:]} == {
        "Access to your account has been removed",
        "Your password has been changed",
    }


def test_reset_by_mail_requires_new_enrolment_if_mfa_is_required(client, drain, mailbox, member, brand, superuser):
    manager = member()
    enrol(client, manager.token)
    superuser.cursor().execute("update brands set mfa_required_from = now()")
    forget(client, manager.email)
    drain()

    assert reset(client, _tokens(mailbox, manager.email)[-1]).status_code == 200

    begun = login(client, manager.email, NEW).json
    assert begun["mfa_required"] == "enrol"
    url = f"/api/v1/brands/{brand['id']}"
    assert client.get(url, token=begun["access_token"]).json["code"] == "mfa_required"
    raised = enrol(client, begun["access_token"])["access_token"]
    assert client.get(url, token=raised).status_code == 200


def test_reset_by_mail_that_removes_nothing_sends_one_notice(client, drain, mailbox, member):
    manager = member()
    forget(client, manager.email)
    drain()
    token = mailbox.token(manager.email)
    mailbox.messages.clear()

    assert reset(client, token).status_code == 200
    drain()

    assert [message["Subject"] for message in mailbox.messages] == ["Your password has been changed"]


def test_password_of_a_system_admin_is_not_reset_by_mail(client, drain, mailbox, admin, member, superuser):
    manager = member()

    assert essence(forget(client, admin.email)) == essence(forget(client, "nobody@example.com"))
    drain()
    assert mailbox.messages == []

    forget(client, manager.email)
    drain()
    superuser.cursor().execute("update app.password_resets set user_id = %s", (admin.user_id,))
    assert reset(client, mailbox.token(manager.email)).json["code"] == "link_invalid"
    assert login(client, admin.email, PASSWORD).json["mfa_required"] == "verify"


def test_accepted_invitation_removes_all_earlier_access(client, drain, mailbox, member, add_access, admin, superuser):
    boss, remover = member("Brand Admin"), member("Brand Admin")
    access = add_access(boss)
    superuser.cursor().execute("update users set role_id = 4, brand_id = null where id = %s", (boss.user_id,))
    people = f"/api/v1/brands/{boss.brand_id}/invitations"
    client.post(people, json={"email": boss.email, "role": "Creator"}, token=remover.token)
    drain()
    login(client, boss.email, "not the password")
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")
    link = {"token": _tokens(mailbox, boss.email)[-1], "password": NEW}

    assert client.post("/api/v1/auth/accept-invitation", json=link).status_code == 200
    drain()

    assert_removed(client, superuser, access, "invitation.accept")
    assert login(client, boss.email, NEW).json["mfa_required"] is None
    assert mailbox.to(boss.email)[-1]["Subject"] == "Access to your account has been removed"


def test_invitation_accepted_by_fan_removes_all_earlier_access(
    client, drain, mailbox, member, add_access, sign_in_again, superuser
):
    boss, remover = member("Brand Admin"), member("Brand Admin")
    access = add_access(boss)
    superuser.cursor().execute("update users set role_id = 4, brand_id = null where id = %s", (boss.user_id,))
    superuser.cursor().execute("delete from app.totp_factors where user_id = %s", (boss.user_id,))
    session = login(client, boss.email, PASSWORD).json
    enrol(client, session["access_token"])
    begun = login(client, boss.email, PASSWORD).json["access_token"]
    people = f"/api/v1/brands/{boss.brand_id}/invitations"
    client.post(people, json={"email": boss.email, "role": "Creator"}, token=remover.token)
    drain()
    invitation = {"token": _tokens(mailbox, boss.email)[-1]}
    session = client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]}).json

    done = client.post("/api/v1/users/me/invitation", json=invitation, token=session["access_token"])

    assert done.status_code == 200
    assert_removed(client, superuser, access, "invitation.accept")
    assert client.get("/api/v1/users/me/mfa", token=begun).json["code"] == "session_ended"
    renewed = client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]}).json
    assert access_tokens.verify(renewed["access_token"])["aal"] == "aal1"


@pytest.mark.parametrize("added_before_change", [True, False])
def test_undo_of_email_change_removes_all_earlier_access(
    client, drain, mailbox, member, add_access, superuser, added_before_change
):
    boss = member("Brand Admin")
    access = add_access(boss) if added_before_change else None
    link = undo_link(client, drain, mailbox, access.session if access else boss)
    access = access or add_access(boss)

    assert follow(client, "undo", link).status_code == 200
    drain()

    assert_removed(client, superuser, access, "email.undo")
    (letter,) = [one for one in mailbox.to(boss.email) if one["Subject"] == "Your account has its old address again"]
    assert reset(client, link_token(letter)).status_code == 200
    assert login(client, boss.email, NEW).json["mfa_required"] is None


@pytest.mark.parametrize("verb", ["confirm", "undo"])
@pytest.mark.parametrize("becomes_member", ["accepts", "accepts_as_fan", "is_moved"])
def test_links_to_other_addresses_end_when_a_fan_becomes_member(
    client, drain, mailbox, member, make_brand, superuser, verb, becomes_member
):
    boss, fan = member(), member("Creator")
    other = make_brand("Other")
    client.delete(f"/api/v1/brands/{boss.brand_id}/members/{fan.user_id}", token=boss.token)
    fan = sign_in(fan.email)
    ask(client, fan, "new@example.com")
    drain()
    link, address = mailbox.token("new@example.com"), fan.email
    if verb == "undo":
        follow(client, "confirm", link)
        drain()
        link, address = mailbox.token(fan.email), "new@example.com"

    if becomes_member == "is_moved":
        moved = {"role": "Creator", "brand_id": str(other["id"])}
        admin = sign_in_admin(superuser, "root@companon.example")
        became = client.patch(f"/api/v1/users/{fan.user_id}", json=moved, token=admin.token)
    else:
        invited = {"email": address, "role": "Brand Admin"}
        client.post(f"/api/v1/brands/{boss.brand_id}/invitations", json=invited, token=boss.token)
        drain()
        became = _become_member(client, becomes_member, mailbox.token(address), fan)

    assert became.status_code == 200
    assert follow(client, verb, link).json["code"] == "link_invalid"
    assert forget(client, address).status_code == 202
    assert "mail.password_reset" in drain()


def _become_member(client, how, invitation, fan):
    if how == "accepts_as_fan":
        return client.post("/api/v1/users/me/invitation", json={"token": invitation}, token=fan.token)
    return client.post("/api/v1/auth/accept-invitation", json={"token": invitation, "password": NEW})


@pytest.mark.parametrize("what", ["reset", "confirm", "undo"])
def test_concurrent_links_of_one_person_do_not_deadlock(client, drain, mailbox, member, superuser, what):
    manager = member()
    ask(client, manager, "new@example.com")
    forget(client, manager.email)
    drain()
    token = mailbox.token(manager.email if what == "reset" else "new@example.com")
    if what == "undo":
        follow(client, "confirm", token)
        drain()
        token = mailbox.token(manager.email)

    with ThreadPoolExecutor(1) as someone, closing(psycopg2.connect(superuser.dsn)) as other, other.cursor() as cursor:
        cursor.execute("select from users where id = %s for no key update", (manager.user_id,))
        act = someone.submit(reset, client, token) if what == "reset" else someone.submit(follow, client, what, token)
        until_blocked(superuser)
        # The holder of the row lock of a user can lock all links of the user without a deadlock.
        cursor.execute("set local lock_timeout = '10s'")
        cursor.execute("select from app.password_resets where user_id = %s for update", (manager.user_id,))
        cursor.execute("select from app.email_changes where user_id = %s for update", (manager.user_id,))
        other.commit()
        assert act.result().status_code == 200


def test_undo_after_a_week_is_refused(client, drain, mailbox, member, superuser):
    manager = member()
    ask(client, manager, "new@example.com")
    drain()
    follow(client, "confirm", mailbox.token("new@example.com"))
    drain()
    superuser.cursor().execute("update app.email_changes set undo_until = now() - interval '1 second'")

    assert follow(client, "undo", mailbox.token(manager.email)).json["code"] == "link_invalid"


def test_email_change_to_used_address_returns_same_answer(client, drain, mailbox, member):
    manager, other = member(), member()

    free, taken = ask(client, manager, "free@example.com"), ask(client, manager, other.email)
    drain()

    assert essence(free) == essence(taken)
    assert mailbox.to(other.email)[-1]["Subject"] == "Your address belongs to a Compañon account already"
    assert "token=" not in mailbox.text(other.email)


def test_confirmation_of_an_address_used_meanwhile_is_refused(client, drain, mailbox, member, superuser):
    manager, other = member(), member()
    ask(client, manager, "new@example.com")
    drain()
    superuser.cursor().execute("update users set email = 'new@example.com' where id = %s", (other.user_id,))

    refused = follow(client, "confirm", mailbox.token("new@example.com"))

    assert (refused.status_code, refused.json["code"]) == (404, "link_invalid")
    assert login(client, manager.email, PASSWORD).status_code == 200


def test_password_change_invalidates_mailed_links(client, drain, mailbox, member):
    manager = member()
    ask(client, manager, "new@example.com")
    drain()

    change(client, manager, PASSWORD)

    assert follow(client, "confirm", mailbox.token("new@example.com")).json["code"] == "link_invalid"


def test_mails_of_email_changes_to_one_address_are_limited(client, drain, mailbox, member, superuser):
    managers = [member() for _ in range(2)]

    answers = [ask(client, manager, "victim@example.com") for manager in managers for _ in range(credentials.MAILS)]
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from app.jobs where actor = 'mail.email_change'")
        (enqueued,) = cursor.fetchone()
    drain()

    assert enqueued == credentials.MAILS

    assert {answer.status_code for answer in answers} == {202}
    # A newer request of the same account invalidates the link before it is mailed.
    assert 0 < len(mailbox.to("victim@example.com")) <= credentials.MAILS


def test_email_change_requires_recent_authentication(client, member, superuser):
    manager = member()
    superuser.cursor().execute("update app.sessions set authenticated_at = now() - interval '11 minutes'")

    assert ask(client, manager, "new@example.com").json["code"] == "recent_authentication_required"


def test_anonymous_fan_cannot_change_address_or_password(client, fan):
    phone = fan()

    assert ask(client, phone, "new@example.com").status_code == 403
    assert change(client, phone, "anything").json["code"] == "wrong_password"


def test_step_up_without_password_computes_no_hash(client, fan, monkeypatch):
    verified = []
    monkeypatch.setattr(passwords, "verify", lambda stored, password: verified.append(stored))
    phone = fan()

    refused = client.post("/api/v1/auth/step-up", json={"password": "anything"}, token=phone.token)
    changed = change(client, phone, "anything")

    assert [refused.json["code"], changed.json["code"]] == ["wrong_password"] * 2
    assert verified == []
