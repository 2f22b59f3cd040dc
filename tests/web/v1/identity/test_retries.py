"""Test retries with `Idempotency-Key` of requests about accounts: each sends one mail and has one effect."""

import pytest

from models.identity import totp
from tests.fixtures.accounts import PASSWORD

pytestmark = pytest.mark.usefixtures("fresh_limits")

KEY = {"Idempotency-Key": "one"}


def twice(client, path, body=None, token=None):
    """Send a request, and send it again with its key. Return both answers."""
    return [client.post(path, json=body, token=token, headers=KEY) for _ in range(2)]


def require_replayed(first, second):
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (second.status_code, second.content) == (first.status_code, first.content)


def test_retry_of_forgotten_password_sends_one_mail(client, member, drain, mailbox):
    person = member()

    answers = twice(client, "/api/v1/auth/password/forgot", {"email": person.email})
    drain()

    require_replayed(*answers)
    assert len(mailbox.to(person.email)) == 1


def test_retry_of_email_change_keeps_the_mailed_link_valid(client, member, drain, mailbox):
    person = member()

    answers = twice(client, "/api/v1/users/me/email", {"email": "new@example.com"}, person.token)
    drain()

    require_replayed(*answers)
    assert len(mailbox.to("new@example.com")) == 1
    confirmed = client.post("/api/v1/auth/email/confirm", json={"token": mailbox.token("new@example.com")})
    assert confirmed.status_code == 200


def test_retry_of_own_invitation_returns_the_brand_after_a_refresh(client, member, drain, mailbox, query):
    fan, boss = member("Creator"), member()
    query("update users set role_id = 4, brand_id = null where id = %s", fan.user_id)
    session = client.post("/api/v1/auth/login", json={"email": fan.email, "password": PASSWORD}).json
    body = {"email": fan.email, "role": "Creator"}
    client.post(f"/api/v1/brands/{boss.brand_id}/invitations", json=body, token=boss.token)
    drain()
    path, link = "/api/v1/users/me/invitation", {"token": mailbox.token(fan.email)}

    first = client.post(path, json=link, token=session["access_token"], headers=KEY)
    renewed = client.post("/api/v1/auth/refresh", json={"refresh_token": session["refresh_token"]}).json
    second = client.post(path, json=link, token=renewed["access_token"], headers=KEY)

    assert first.json["brand_id"] == str(boss.brand_id)
    require_replayed(first, second)


def test_retry_of_mfa_reset_succeeds_and_sends_one_mail(client, admin, member, drain, mailbox, query):
    person = member()
    query(
        "insert into app.totp_factors (id, user_id, secret, key_version, confirmed_at)"
        " values (gen_random_uuid(), %s, %s, 1, now())",
        person.user_id,
        totp.encrypt(totp.new_secret(), person.user_id).secret,
    )

    answers = twice(client, f"/api/v1/users/{person.user_id}/mfa/reset", {"reason": "Lost phone"}, admin.token)
    drain()

    assert answers[0].status_code == 204
    require_replayed(*answers)
    assert len(mailbox.to(person.email)) == 1


def test_key_of_another_person_is_independent(client, member, drain, mailbox):
    people = [member(), member()]

    answers = [
        client.post("/api/v1/users/me/email", json={"email": f"{n}@new.example"}, token=person.token, headers=KEY)
        for n, person in enumerate(people)
    ]
    drain()

    assert [answer.status_code for answer in answers] == [202, 202]
    assert len(mailbox.to("0@new.example")) == len(mailbox.to("1@new.example")) == 1
