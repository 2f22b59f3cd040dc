"""Test the removal of access to an account: it changes live rows of the person only."""

import pytest

from models.core import signed_links
from models.core.context import unauthenticated
from models.core.signed_links import LinkInvalid
from models.identity import credentials, passwords, users

ROWS = """
    insert into app.api_keys (id, brand_id, name, prefix, key_hash, scopes, created_by, expires_at, revoked_at)
    select gen_random_uuid(), %(brand)s, name, 'cpk_', 'x', '{campaigns:read}', owner, expires, revoked
    from (values
        ('live', %(user)s::uuid, now() + interval '1 day', null::timestamptz),
        ('expired', %(user)s, now() - interval '1 day', null),
        ('revoked', %(user)s, now() + interval '1 day', now() - interval '1 day'),
        ('of other person', %(other)s, now() + interval '1 day', null)
    ) as rows (name, owner, expires, revoked);
    insert into app.invitations (id, brand_id, email, role_id, invited_by, expires_at, used_at, revoked_at)
    select gen_random_uuid(), %(brand)s, name || '@x.example', 3, owner, expires, used, revoked
    from (values
        ('live', %(user)s::uuid, now() + interval '1 day', null::timestamptz, null::timestamptz),
        ('expired', %(user)s, now() - interval '1 day', null, null),
        ('used', %(user)s, now() + interval '1 day', now() - interval '1 day', null),
        ('revoked', %(user)s, now() + interval '1 day', null, now() - interval '1 day'),
        ('other', %(other)s, now() + interval '1 day', null, null)
    ) as rows (name, owner, expires, used, revoked);
    insert into app.recovery_codes (user_id, hash, used_at)
    values (%(user)s, 'a', null), (%(user)s, 'b', null), (%(user)s, 'c', now()), (%(other)s, 'd', null)
"""
NEWLY_REVOKED = """
    select array_agg(name) from (
        select name from app.api_keys where revoked_at > now() - interval '1 hour'
        union all select email from app.invitations where revoked_at > now() - interval '1 hour') revoked
"""


def test_access_removal_changes_live_rows_of_the_person_only(member, superuser):
    boss, other = member(), member()
    with superuser.cursor() as cursor:
        cursor.execute(ROWS, {"brand": boss.brand_id, "user": boss.user_id, "other": other.user_id})
        cursor.execute("select app.remove_access(%s)", (boss.user_id,))
        (removed,) = cursor.fetchone()
        cursor.execute(NEWLY_REVOKED)
        (names,) = cursor.fetchone()
        cursor.execute("select array_agg(user_id) from app.recovery_codes")
        (left,) = cursor.fetchone()

    assert names == ["live", "live@x.example"]
    assert (removed["recovery_codes"], len(removed["api_keys"]), len(removed["invitations"])) == (2, 1, 1)
    assert left == [other.user_id]


def test_suspension_revokes_live_keys_of_the_person_only(member, admin, superuser):
    boss, other = member(), member()
    with superuser.cursor() as cursor:
        cursor.execute(ROWS, {"brand": boss.brand_id, "user": boss.user_id, "other": other.user_id})
        with admin.acting():
            revoked = users.suspend(boss.user_id, revoke_api_keys=True)
            users.suspend(boss.user_id)
        cursor.execute(NEWLY_REVOKED)
        (names,) = cursor.fetchone()

    assert names == ["live", "live@x.example"]
    assert (len(revoked["api_keys"]), len(revoked["invitations"])) == (1, 1)


def test_password_link_used_while_a_password_is_hashed_is_refused(member, superuser, monkeypatch):
    account, hash_password = member(), passwords.hash
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.password_resets (id, user_id, expires_at)"
            " values (gen_random_uuid(), %s, now() + interval '1 hour') returning id",
            (account.user_id,),
        )
        (reset_id,) = cursor.fetchone()
    token = signed_links.make(credentials.RESET, reset_id)
    identity = unauthenticated().on_credentials()

    def hash_after_another_reset(password):
        monkeypatch.setattr(passwords, "hash", hash_password)
        credentials.reset_password(identity, token, "another horse entirely")
        return hash_password(password)

    monkeypatch.setattr(passwords, "hash", hash_after_another_reset)

    with pytest.raises(LinkInvalid):
        credentials.reset_password(identity, token, "yet another horse, later")
