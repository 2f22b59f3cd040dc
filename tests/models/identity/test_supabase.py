"""Test users and sessions of a Supabase project, which its access tokens insert and update."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from uuid import uuid4

import psycopg2
import pytest

from models.core import context
from models.core.database import close_thread_connections, new_id, row, transaction
from models.core.errors import Problem, SessionEnded
from models.identity import accounts, sessions
from models.identity.supabase import LegacyToken, identity_of
from tests.fixtures.supabase import SECRET
from tests.support.blocked import until_blocked

NOWHERE = "0197a000-ffff-7000-8000-ffffffffffff"
"""The id of no brand."""


@pytest.fixture
def enter(supabase, verifier, db_clean):
    """Return `enter(email=…)`: verify a token with these claims and return its identity."""
    verifies, project = verifier(), supabase.described(supabase_confirms_email="yes")

    def identify(project=project, **changes):
        return identity_of(verifies.verify(supabase.token(**changes)), project)

    return identify


def person(identity):
    with transaction(identity):
        return row("SELECT email, is_anonymous, email_verified_at FROM users WHERE id = %s", (identity.user_id,))


def count(superuser, table):
    with superuser.cursor() as cursor:
        cursor.execute(f"select count(*) from {table}")
        return cursor.fetchone()[0]


def test_first_token_of_a_user_creates_a_fan(enter):
    identity = enter(email="Ana@People.example")

    assert (identity.user_role, identity.brand_id, identity.role) == ("Fan", None, "app_fan")
    assert person(identity)["email"] == identity.claims["email"] == "ana@people.example"
    assert person(identity)["email_verified_at"] is not None


def test_user_metadata_grants_no_role(enter, brand):
    wanted = {"user_role": "System Admin", "brand_id": str(brand["id"]), "role": "service_role"}

    identity = enter(
        user_metadata=wanted, email="a@people.example", raw_user_meta_data=wanted, **wanted | {"role": "authenticated"}
    )

    assert (identity.user_role, identity.brand_id) == ("Fan", None)
    assert "user_metadata" not in identity.claims


def test_app_metadata_sets_role_of_new_user(enter, brand):
    member = enter(app_metadata={"user_role": "Campaign Manager", "brand_id": str(brand["id"])})
    admin = enter(app_metadata={"user_role": "System Admin"}, aal="aal2")

    assert (member.user_role, member.brand_id, member.role) == ("Campaign Manager", brand["id"], "authenticated")
    assert admin.role == "app_admin"
    for identity in (member, admin):
        assert person(identity)


def test_system_admin_needs_aal2_token_of_supabase(enter):
    admin = enter(app_metadata={"user_role": "System Admin"}, aal="aal1")

    assert (admin.role, admin.mfa_pending) == ("authenticated", True)


@pytest.mark.parametrize(
    "metadata",
    [
        {"user_role": "Root"},
        {"user_role": "Brand Admin"},
        {"user_role": "Brand Admin", "brand_id": NOWHERE},
        {"user_role": "Brand Admin", "brand_id": "x"},
        {"user_role": ["Brand Admin"]},
        {"user_role": "Fan\0"},
        {"user_role": "Fan", "brand_id": NOWHERE},
        {"brand_id": NOWHERE},
    ],
    ids=str,
)
def test_unknown_role_inserts_no_user(enter, superuser, metadata):
    with pytest.raises(Problem) as refused:
        enter(app_metadata=metadata)

    assert (refused.value.status, refused.value.code) == (403, "unknown_role")
    assert count(superuser, "users") == 0


def test_stored_role_prevails_over_the_role_of_later_tokens(enter, superuser):
    sub = uuid4()
    enter(sub=sub, app_metadata={"user_role": "System Admin"})
    with superuser.cursor() as cursor:
        cursor.execute("update users set role_id = 4 where id = %s", (sub,))

    assert enter(sub=sub, app_metadata={"user_role": "System Admin"}).user_role == "Fan"


def test_token_used_before_role_change_is_refused_after_it(enter, superuser):
    identity = enter(app_metadata={"user_role": "System Admin"}, aal="aal2")
    with superuser.cursor() as cursor:
        cursor.execute("update users set role_id = 4 where id = %s", (identity.user_id,))

    with pytest.raises(Problem, match="Sign in again") as refused:
        person(identity)

    assert (refused.value.status, refused.value.code) == (401, "session_ended")


def test_session_ended_here_stays_ended_for_supabase_tokens(enter):
    sub, session_id = uuid4(), uuid4()
    identity = enter(sub=sub, session_id=session_id)
    with transaction(identity.on_credentials()):
        sessions.end()

    with pytest.raises(Problem, match="Sign in again"):
        person(identity)
    with pytest.raises(SessionEnded):
        enter(sub=sub, session_id=session_id)
    assert person(enter(sub=sub))


def test_session_id_of_another_user_is_refused(enter):
    session_id = uuid4()
    enter(session_id=session_id)

    with pytest.raises(SessionEnded):
        enter(session_id=session_id)


def test_supabase_session_expires_after_idle_period(enter, superuser):
    identity = enter()
    with superuser.cursor() as cursor:
        cursor.execute("update app.sessions set expires_at = now() - interval '1 hour'")

    again = enter(sub=identity.user_id, session_id=identity.session_id)

    assert person(again)


def test_anonymous_fan_who_signs_up_keeps_the_user_id(enter):
    sub = uuid4()
    before = enter(sub=sub, email="", is_anonymous=True)
    assert before.is_anonymous
    assert person(before)["email"] is None

    after = enter(sub=sub, email="ana@people.example")

    assert not after.is_anonymous
    assert (after.user_id, person(after)["email"]) == (sub, "ana@people.example")


def amr(ago):
    return {"amr": [{"method": "password", "timestamp": int(time.time()) - ago}], "iat": int(time.time())}


@pytest.mark.parametrize("before", [{"email": "", "is_anonymous": True}, {"email": "old@people.example"}])
@pytest.mark.parametrize("stale_comes_first", [True, False])
def test_session_from_before_a_change_of_owner_is_refused(enter, before, stale_comes_first):
    sub, old, unseen = uuid4(), uuid4(), uuid4()
    now = {"email": "new@people.example", "is_anonymous": False}
    enter(sub=sub, session_id=old, **before, **amr(3600))

    if not stale_comes_first:
        assert person(enter(sub=sub, **now, **amr(0)))["email"] == "new@people.example"
    for session_id in (old, unseen):
        for said in (now, before):
            with pytest.raises(SessionEnded):
                enter(sub=sub, session_id=session_id, **said, **amr(1800))

    assert person(enter(sub=sub, **now, **amr(-1)))["email"] == "new@people.example"


def test_ended_session_is_refused_after_the_clean_up_of_its_row(enter, superuser):
    sub, ended, other, began = uuid4(), uuid4(), uuid4(), amr(60)
    enter(sub=sub, session_id=ended, email="a@people.example", **began)
    enter(sub=sub, session_id=other, email="a@people.example", **amr(0))

    def clean_up(age):
        with superuser.cursor() as cursor:
            cursor.execute("update app.sessions set revoked_at = now() - interval '91 days' where id = %s", (ended,))
            cursor.execute("update app.sessions set expires_at = expires_at - %s::interval where id = %s", (age, ended))
        with transaction(context.for_system_job()):
            return accounts.delete_expired()["sessions"]

    assert clean_up("0") == 0
    assert clean_up("121 days") == 1
    with pytest.raises(SessionEnded):
        enter(sub=sub, session_id=ended, email="a@people.example", **began)
    assert person(enter(sub=sub, session_id=other, email="a@people.example", **amr(0)))
    assert person(enter(sub=sub, email="a@people.example", **amr(-1)))


@pytest.mark.parametrize("confirms", ["yes", "no"])
def test_changed_address_of_a_token_is_stored(enter, supabase, confirms):
    sub, project = uuid4(), supabase.described(supabase_confirms_email=confirms)
    enter(sub=sub, email="old@people.example")

    found = person(enter(project=project, sub=sub, email="new@people.example"))

    assert found["email"] == "new@people.example"
    assert (found["email_verified_at"] is not None) == (confirms == "yes")


@pytest.mark.parametrize("email", ["", None, "not an address", "a@b\0", "x" * 300 + "@people.example"])
def test_user_with_undeliverable_address_is_accepted(enter, email):
    assert person(enter(email=email))["email"] is None


def test_second_user_with_the_same_address_is_refused(enter, superuser):
    enter(email="ana@people.example")

    with pytest.raises(Problem) as refused:
        enter(email="ANA@people.example")

    assert (refused.value.status, refused.value.code) == (403, "email_of_other_account")
    assert count(superuser, "users") == 1


def test_address_moved_to_another_user_is_removed_from_the_first(enter):
    sub = uuid4()
    enter(sub=sub, email="old@people.example")
    enter(email="ana@people.example")

    assert person(enter(sub=sub, email="ana@people.example"))["email"] is None


def test_deleted_user_is_not_inserted_again(enter, superuser):
    sub = uuid4()
    enter(sub=sub)
    with superuser.cursor() as cursor:
        cursor.execute("delete from users where id = %s", (sub,))

    with pytest.raises(Problem) as refused:
        enter(sub=sub)

    assert (refused.value.status, refused.value.code) == (401, "account_closed")


@pytest.mark.parametrize("ended", [False, True])
def test_deleted_idle_anonymous_person_returns_unless_signed_out(enter, superuser, ended):
    idle = {"sub": uuid4(), "session_id": uuid4(), "email": "", "is_anonymous": True}
    enter(**idle)
    with superuser.cursor() as cursor:
        cursor.execute("insert into app.deleted_users (user_id) values (gen_random_uuid())")
        cursor.execute("update users set created_at = now() - interval '25 hours' where id = %s", (idle["sub"],))
        cursor.execute(
            "update app.sessions set created_at = now() - interval '25 hours',"
            " refreshed_at = now() - interval '25 hours', revoked_at = case when %s then now() end where id = %s",
            (ended, idle["session_id"]),
        )

    with transaction(context.for_system_job()):
        assert accounts.delete_expired()["anonymous_people"] == 1

    assert count(superuser, "app.deleted_users") == 1 + int(ended)
    if ended:
        with pytest.raises(Problem, match="deleted"):
            enter(**idle)
    else:
        assert enter(**idle).is_anonymous


def test_suspended_user_is_refused_with_every_token(enter, superuser):
    sub = uuid4()
    enter(sub=sub)
    with superuser.cursor() as cursor:
        cursor.execute("update users set suspended_at = now() where id = %s", (sub,))

    with pytest.raises(Problem) as refused:
        enter(sub=sub)

    assert (refused.value.status, refused.value.code) == (401, "account_suspended")


def invitation(superuser, brand, email):
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.invitations (id, brand_id, email, role_id, expires_at, invited_by)"
            " select %s, %s, %s, 2, now() + interval '1 day', u.id from public.users u where u.role_id = 5",
            (new_id(), brand["id"], email),
        )


def test_invitation_is_accepted_once_by_user_with_its_address(enter, superuser, brand):
    invitation(superuser, brand, "ana@people.example")

    identity = enter(email="Ana@people.example")

    assert (identity.user_role, identity.brand_id) == ("Campaign Manager", brand["id"])
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from app.invitations where email = 'ana@people.example' and used_at is null")
        assert cursor.fetchone() == (0,)


def test_unconfirmed_address_accepts_no_invitation(enter, supabase, superuser, brand):
    invitation(superuser, brand, "ana@people.example")

    identity = enter(supabase.described(), email="ana@people.example")

    assert identity.user_role == "Fan"
    assert person(identity)["email_verified_at"] is None


@pytest.mark.parametrize(
    "spoilt",
    [
        "update app.invitations set revoked_at = now()",
        "update app.invitations set expires_at = now()",
        "update brands set archived_at = now()",
        "update users set suspended_at = now() where role_id = 5",
    ],
)
def test_closed_invitation_makes_no_member(enter, superuser, brand, spoilt):
    invitation(superuser, brand, "ana@people.example")
    with superuser.cursor() as cursor:
        cursor.execute(spoilt)

    assert enter(email="ana@people.example").user_role == "Fan"


def test_invitation_of_known_fan_is_not_accepted_by_sign_in(enter, superuser, brand):
    sub = uuid4()
    enter(sub=sub, email="ana@people.example")
    invitation(superuser, brand, "ana@people.example")

    assert enter(sub=sub, email="ana@people.example").user_role == "Fan"


def test_session_stores_level_and_time_of_authentication(enter, shown_at):
    now = int(time.time())
    amr = [
        {"method": "password", "timestamp": now - 7200},
        {"method": "totp", "timestamp": now - 60},
        {"method": "token_refresh", "timestamp": now},
        "odd",
    ]

    identity = enter(aal="aal2", amr=amr)

    assert identity.claims["aal"] == "aal2"
    assert shown_at(identity) == now - 60


def test_mfa_completed_later_raises_the_session(enter, shown_at):
    now, sub, session_id = int(time.time()), uuid4(), uuid4()
    early = [{"method": "password", "timestamp": now - 7200}]
    enter(sub=sub, session_id=session_id, amr=early)

    identity = enter(sub=sub, session_id=session_id, amr=[*early, {"method": "totp", "timestamp": now - 5}])

    assert shown_at(identity) == now - 5


def test_session_stores_the_raised_assurance_level(enter, superuser):
    sub, session_id = uuid4(), uuid4()
    enter(sub=sub, session_id=session_id)

    identity = enter(sub=sub, session_id=session_id, aal="aal2")

    with superuser.cursor() as cursor:
        cursor.execute("select aal from app.sessions where id = %s", (identity.session_id,))
        assert cursor.fetchone() == ("aal2",)


def test_authentication_time_in_future_is_capped(enter, shown_at):
    identity = enter(amr=[{"method": "password", "timestamp": int(time.time()) + 10**6}])

    assert shown_at(identity) <= time.time() + 1


def test_token_without_authentication_time_is_not_recent(enter, shown_at):
    assert shown_at(enter(amr=[])) is None


@pytest.fixture
def shown_at(superuser):
    """Return `shown_at(identity)`: the session's time of authentication, in seconds since the epoch."""

    def read(identity):
        with superuser.cursor() as cursor:
            cursor.execute(
                "select extract(epoch from authenticated_at)::float8 from app.sessions where id = %s",
                (identity.session_id,),
            )
            (shown,) = cursor.fetchone()
            return shown and int(shown)

    return read


def test_new_user_and_session_are_audited(enter, superuser):
    identity = enter()

    with superuser.cursor() as cursor:
        cursor.execute("select action from audit_logs where user_id = %s order by 1", (identity.user_id,))
        assert [action for (action,) in cursor.fetchall()] == ["account.mirror", "session.start"]


@pytest.mark.parametrize(("is_anonymous", "kept"), [(True, (None, None, 0)), (False, ("192.0.2.1", "Phone/1.0", 2))])
def test_anonymous_session_keeps_neither_address_nor_entries(enter, superuser, is_anonymous, kept):
    context.set_request_info(context.RequestInfo(address="192.0.2.1", user_agent="Phone/1.0"))

    identity = enter(email="" if is_anonymous else "ana@people.example", is_anonymous=is_anonymous)

    context.set_request_info(context.RequestInfo())
    with superuser.cursor() as cursor:
        cursor.execute(
            "select address, user_agent, (select count(*) from audit_logs) from app.sessions where id = %s",
            (identity.session_id,),
        )
        assert cursor.fetchone() == kept


def test_concurrent_tokens_of_new_user_insert_one_user(supabase, verifier, superuser, db_clean):
    verifies, project = verifier(), supabase.described()
    together = Barrier(16)

    def identify(claims):
        together.wait(120)
        return identity_of(claims, project)

    with ThreadPoolExecutor(16) as crowd:
        for _ in range(10):
            claims = verifies.verify(supabase.token())
            assert len({identity.user_id for identity in crowd.map(identify, [claims] * 16)}) == 1
        list(crowd.map(lambda _: (together.wait(120), close_thread_connections()), range(16)))

    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from users")
        assert cursor.fetchone() == (10,)


def test_token_waits_for_concurrent_deletion_of_its_user(enter, supabase, superuser, postgres, database):
    sub = uuid4()
    enter(sub=sub)
    with (
        closing(psycopg2.connect(postgres.dsn("supabase_admin", database))) as deleting,
        ThreadPoolExecutor(1) as aside,
    ):
        with deleting.cursor() as cursor:
            cursor.execute(
                "delete from app.sessions where user_id = %s; delete from users where id = %s", (str(sub),) * 2
            )
        coming = aside.submit(enter, sub=sub)
        until_blocked(superuser)
        deleting.commit()
        with pytest.raises(Problem) as refused:
            coming.result(60)
        aside.submit(close_thread_connections).result(60)

    assert refused.value.code == "account_closed"


def test_legacy_token_is_refused_as_system_admin(supabase, verifier, enter, superuser):
    legacy, project = verifier(supabase_jwt_secret=SECRET), supabase.described(supabase_confirms_email="yes")
    admin = enter(app_metadata={"user_role": "System Admin"}, aal="aal2")
    before = count(superuser, "users"), count(superuser, "app.sessions")

    for sub in (uuid4(), admin.user_id):
        claims = {"app_metadata": {"user_role": "System Admin"}, "aal": "aal2", "is_legacy": False}
        with pytest.raises(LegacyToken):
            identity_of(legacy.verify(supabase.legacy_token(sub=str(sub), **claims)), project)

    assert (count(superuser, "users"), count(superuser, "app.sessions")) == before
    assert identity_of(legacy.verify(supabase.legacy_token()), project).user_role == "Fan"
    assert enter(sub=str(admin.user_id), is_legacy=True, aal="aal2").user_role == "System Admin"
