"""Test the validity of sessions: requests and scans refuse the same sessions."""

import pytest

from models.core import context
from models.core.database import rows, transaction

AUTHENTICATOR = (
    "insert into app.totp_factors (id, user_id, secret, key_version, confirmed_at)"
    " values (gen_random_uuid(), {user}, 'x', 1, now());"
)
LIVE = {
    "unchanged": "select",
    "brand demands MFA from tomorrow": "update brands set mfa_required_from = now() + interval '1 day'",
    "brand demands MFA, which was shown": (
        "update brands set mfa_required_from = now(); update app.sessions set aal = 'aal2'"
    ),
    "authenticator not confirmed": AUTHENTICATOR + "update app.totp_factors set confirmed_at = null",
    "authenticator shown": AUTHENTICATOR + "update app.sessions set aal = 'aal2'",
    "authenticator of other person": AUTHENTICATOR + "update app.totp_factors set user_id = {other}",
    "other brand demands MFA": "update brands set mfa_required_from = now() where id <> {brand}",
    "other brand archived": "update brands set archived_at = now() where id <> {brand}",
    "other person suspended": "update users set suspended_at = now() where id <> {user}",
    "other sessions revoked": "update app.sessions set revoked_at = now() where user_id <> {user}",
    "other sessions expired": "update app.sessions set expires_at = now() where user_id <> {user}",
}
ENDED = {
    "revoked": "update app.sessions set revoked_at = now() where id = {session}",
    "expired": "update app.sessions set expires_at = now() where id = {session}",
    "of other person": "update app.sessions set user_id = {colleague} where id = {session}",
    "deleted": "delete from app.sessions where id = {session}",
    "person suspended": "update users set suspended_at = now() where id = {user}",
    "brand archived": "update brands set archived_at = now() where id = {brand}",
    "role changed": "update users set role_id = 1 where id = {user}",
    "brand changed": "update users set brand_id = {other_brand} where id = {user}",
    "member removed": "update users set role_id = 4, brand_id = null where id = {user}",
    "brand demands MFA": "update brands set mfa_required_from = now() where id = {brand}",
    "authenticator not shown": AUTHENTICATOR,
}
RESET = """
    delete from app.totp_factors;
    update brands set archived_at = null, mfa_required_from = null;
    update users set suspended_at = null;
    update users set role_id = 3, brand_id = {brand} where id = {user};
    delete from app.sessions where id = {session};
    insert into app.sessions (id, user_id, expires_at) values ({session}, {user}, now() + interval '1 day');
    update app.sessions set revoked_at = null, expires_at = now() + interval '1 day'
"""


@pytest.fixture
def ask(client, phone, member, make_brand, campaign, code_of, superuser):
    """Return a function: change the rows of a creator; return the answers to a request and a scan of the creator."""
    creator, colleague, other = member("Creator"), member("Creator"), member("Creator", make_brand("Other"))
    device = phone(account=creator)
    code = code_of(campaign(consent_tiers=[]))
    values = {
        "user": creator.user_id,
        "brand": creator.brand_id,
        "session": creator.identity.session_id,
        "other": other.user_id,
        "colleague": colleague.user_id,
        "other_brand": other.brand_id,
    }

    def answers(change):
        with superuser.cursor() as cursor:
            cursor.execute((RESET + ";" + change).format(**{name: f"'{id}'" for name, id in values.items()}))
        read = client.get("/api/v1/users/me", token=creator.token)
        return [(answer.status_code, answer.json.get("code")) for answer in (read, device.scan(code))]

    return answers


def test_live_session_reads_and_scans(ask):
    answers = {case: ask(change) for case, change in LIVE.items()}

    assert answers == {case: [(200, None), (201, None)] for case in LIVE}


def test_ended_session_is_refused_for_reads_and_scans(ask):
    answers = {case: ask(change) for case, change in ENDED.items()}

    assert answers == {case: [(401, "session_ended")] * 2 for case in ENDED}


def test_scan_with_token_that_states_mfa_owed_returns_403(phone, member, campaign, code_of, superuser, sign_in_again):
    creator = member("Creator")
    code = code_of(campaign(consent_tiers=[]))
    superuser.cursor().execute("update brands set mfa_required_from = now()")

    answer = phone(account=sign_in_again(creator)).scan(code)

    assert (answer.status_code, answer.json["code"]) == (403, "mfa_required")


def test_views_of_sessions_are_readable_by_no_login(fan, member, admin):
    identities = (
        context.unauthenticated(),
        fan().identity,
        member().identity,
        admin.identity,
        context.for_system_job(),
    )
    for identity in identities:
        for view in ("live_sessions", "active_users"):
            with pytest.raises(Exception, match="permission denied"), transaction(identity):
                rows(f"SELECT 1 FROM app.{view}")
