"""Sessions over HTTP: what goes on in one after its person has signed in."""

import pytest

from models import reauthentication

pytestmark = pytest.mark.usefixtures("fresh_limits")


def age(superuser, somebody, by="11 minutes"):
    """As if somebody had signed in that long ago."""
    superuser.cursor().execute(
        "update app.sessions set authenticated_at = now() - %s::interval where user_id = %s", (by, somebody.user_id)
    )


def require_recent(somebody):
    with somebody.acting():
        reauthentication.require_recent()


def reauthenticate(client, somebody, password):
    return client.post("/api/v1/auth/reauthenticate", json={"password": password}, token=somebody.token)


def test_a_session_counts_as_recent_for_ten_minutes_and_again_after_the_password(client, member, superuser):
    manager = member()
    require_recent(manager)
    age(superuser, manager)
    with pytest.raises(Exception, match="reauthenticate") as refused:
        require_recent(manager)

    again = reauthenticate(client, manager, manager.password)

    assert (refused.value.status, refused.value.code) == (403, "recent_authentication_required")
    assert again.status_code == 204
    require_recent(manager)


def test_another_password_does_not_make_a_session_recent_and_is_in_the_trail(client, member, superuser):
    manager = member()
    age(superuser, manager)

    refused = reauthenticate(client, manager, "not the password")

    assert (refused.status_code, refused.json["code"]) == (403, "wrong_password")
    with pytest.raises(Exception, match="reauthenticate"):
        require_recent(manager)
    with superuser.cursor() as cursor:
        cursor.execute(
            "select outcome, reason, brand_id, user_id from audit_logs where action = 'session.reauthenticate'"
        )
        assert cursor.fetchall() == [("refused", "wrong_password", manager.brand_id, manager.user_id)]


def test_one_session_s_proof_is_no_other_s(client, member, superuser, sign_in_again):
    laptop = member()
    phone = sign_in_again(laptop)
    age(superuser, laptop)

    reauthenticate(client, phone, phone.password)

    with pytest.raises(Exception, match="reauthenticate"):
        require_recent(laptop)


def test_attempts_to_show_the_password_run_out_for_all_sessions_of_the_account(client, member, sign_in_again):
    laptop = member()
    phone = sign_in_again(laptop)
    wrong = [reauthenticate(client, laptop, "not the password").status_code for _ in range(reauthentication.MOST)]

    refused = reauthenticate(client, phone, phone.password)

    assert set(wrong) == {403}
    assert (refused.status_code, refused.json["code"]) == (429, "rate_limited")
    assert int(refused.headers["Retry-After"]) > 0


def test_an_anonymous_fan_has_no_password_to_show_and_needs_none(client, fan, superuser):
    phone = fan()
    age(superuser, phone)

    require_recent(phone)

    assert reauthenticate(client, phone, "anything at all").json["code"] == "wrong_password"
