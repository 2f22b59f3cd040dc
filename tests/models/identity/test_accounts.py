"""Test accounts without HTTP: passwords, addresses, the first system admin, deletion of expired rows."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import argon2
import psycopg2
import pytest

from models.core import context, emails
from models.core.context import SYSTEM_ADMIN
from models.core.database import close_thread_connections, execute, rows, transaction
from models.core.errors import Invalid, Problem, TooMany
from models.identity import accounts, passwords, sessions, signups, system_admin
from models.identity.sessions import InvalidCredentials


def one(superuser, sql, *params):
    with superuser.cursor() as cursor:
        cursor.execute(sql, params)
        return cursor.fetchone()


@pytest.fixture
def production_hashes(fast_password_hashes, monkeypatch):
    """Hash passwords with the parameters of production."""
    monkeypatch.setattr(passwords, "_hasher", fast_password_hashes)


def test_password_hash_is_argon2id_with_owasp_minimum_parameters(production_hashes):
    assert passwords.hash("correct horse").startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_two_hashes_of_one_password_differ():
    assert passwords.hash("correct horse") != passwords.hash("correct horse")


def test_password_is_verified_against_its_own_hash_only():
    stored = passwords.hash("correct horse")

    assert passwords.verify(stored, "correct horse")
    assert not passwords.verify(stored, "correct horse ")
    assert not passwords.verify("not a hash", "correct horse")


def test_password_of_missing_account_is_not_verified():
    assert not passwords.verify(None, "the password of an account that does not exist")


def test_hash_with_weaker_parameters_needs_rehash(production_hashes):
    weaker = argon2.PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash("correct horse")

    assert passwords.needs_rehash(weaker)
    assert not passwords.needs_rehash(passwords.hash("correct horse"))


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Ana@Example.COM", "ana@example.com"),
        ("ana+tag@example.com", "ana+tag@example.com"),
        ("ana@MÜNCHEN.example", "ana@xn--mnchen-3ya.example"),
        ("ana@xn--mnchen-3ya.example", "ana@xn--mnchen-3ya.example"),
    ],
)
def test_spellings_of_one_address_are_stored_alike(typed, stored):
    assert emails.normalise(typed) == stored


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "ana",
            "@example.com",
            "ana@",
            "a b@example.com",
            "ana@example.com\n",
            "ana@@example.com",
            "ana@localhost",
        ),
        *("=?utf-8?q?=66oo?=@example.com", "=?utf-8?q?foo=40evil.example?=@example.com", "=?@example.com"),
        *(
            "=?utf-8?q??=@example.com",
            "=?utf-8?q?a=0Ab?=@example.com",
            "ana@=?utf-8?q?x?=.example",
            "ana=?=@example.com",
        ),
        *("ana@[127.0.0.1]", '"ana b"@example.com', "ana@example..com", "a" * 65 + "@example.com", "Ａna@example.com"),
    ],
)
def test_malformed_email_address_is_refused(text):
    with pytest.raises(Invalid) as refused:
        emails.normalise(text)

    assert refused.value.extra["errors"][0]["field"] == "email"


def test_created_system_admin_can_sign_in(db_clean):
    made = system_admin.ensure_system_admin("Root@Companon.example", "correct horse battery")

    person = sessions.sign_in("root@companon.example", "correct horse battery", network="test").person
    assert (person.id, person.role, person.brand_id) == (made, SYSTEM_ADMIN, None)


def test_ensuring_an_existing_system_admin_changes_nothing(admin):
    system_admin.ensure_system_admin(admin.email, admin.password)

    with admin.acting():
        assert accounts.own_profile().id == admin.user_id


def test_new_password_of_system_admin_ends_the_sessions(admin):
    system_admin.ensure_system_admin(admin.email, "another horse entirely")

    with pytest.raises(Exception, match=r"Sign in again") as refused, admin.acting():
        pass
    assert refused.value.code == "session_ended"
    with pytest.raises(InvalidCredentials):
        sessions.sign_in(admin.email, admin.password, network="test")
    assert sessions.sign_in(admin.email, "another horse entirely", network="test")


def test_ensuring_a_member_as_system_admin_is_refused(member):
    manager = member("Campaign Manager")

    with pytest.raises(accounts.EmailInUse):
        system_admin.ensure_system_admin(manager.email, "correct horse battery")


def test_sign_in_replaces_a_weaker_hash(admin, superuser, production_hashes):
    weaker = argon2.PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash(admin.password)
    superuser.cursor().execute("update users set password_hash = %s where id = %s", (weaker, admin.user_id))

    sessions.sign_in(admin.email, admin.password, network="test")

    (stored,) = one(superuser, "select password_hash from users where id = %s", admin.user_id)
    assert not passwords.needs_rehash(stored)
    assert passwords.verify(stored, admin.password)


@pytest.mark.parametrize("change", ["email_verified_at = null", "suspended_at = now()"])
def test_hash_of_account_that_can_not_sign_in_is_not_compared(member, admin, superuser, monkeypatch, change):
    person, compared = member(), []
    superuser.cursor().execute(f"update public.users set {change} where id = %s", (person.user_id,))
    monkeypatch.setattr(passwords, "verify", lambda stored, password: bool(compared.append(stored)))

    with pytest.raises(InvalidCredentials):
        sessions.sign_in(person.email, person.password, network="192.0.2.1")

    assert compared == [None]


@pytest.mark.parametrize("email", ["Ana@example.com", "a@" + "x" * 249 + ".com"])
def test_stored_addresses_are_short_and_in_lower_case(superuser, db_clean, email):
    statements = [
        "insert into app.signups (id, email, locale, expires_at) values (gen_random_uuid(), %s, 'en', now())",
        "insert into app.invitations (id, brand_id, email, role_id, expires_at)"
        " values (gen_random_uuid(), gen_random_uuid(), %s, 1, now())",
        "insert into public.users (id, email, role_id) values (gen_random_uuid(), %s, 1)",
    ]
    for statement in statements:
        with superuser.cursor() as cursor, pytest.raises(psycopg2.errors.CheckViolation):
            cursor.execute(statement, (email,))


def test_sign_in_during_a_password_change_starts_no_session(admin, superuser, monkeypatch):
    verify = passwords.verify

    def changed_meanwhile(stored, password):
        superuser.cursor().execute("update users set password_hash = %s", (passwords.hash("another one, now"),))
        return verify(stored, password)

    monkeypatch.setattr(passwords, "verify", changed_meanwhile)
    before = one(superuser, "select count(*) from app.sessions")

    with pytest.raises(InvalidCredentials):
        sessions.sign_in(admin.email, admin.password, network="test")

    assert one(superuser, "select count(*) from app.sessions") == before


def test_password_verification_runs_outside_of_transactions(admin, monkeypatch):
    verify, seen = passwords.verify, []

    def watch(stored, password):
        seen.append(context.current())
        return verify(stored, password)

    monkeypatch.setattr(passwords, "verify", watch)

    sessions.sign_in(admin.email, admin.password, network="test")

    assert seen == [None]


def test_account_limit_is_lifted_on_networks_of_own_sessions(admin, superuser):
    context.set_request_info(context.RequestInfo(address="192.0.2.1"))
    sessions.sign_in(admin.email, admin.password, network="192.0.2.1")
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")

    known = sessions.sign_in(admin.email, admin.password, network="192.0.2.1")
    context.set_request_info(context.RequestInfo(address="198.51.100.1"))
    with pytest.raises(TooMany) as refused:
        sessions.sign_in(admin.email, admin.password, network="198.51.100.1")
    context.set_request_info(context.RequestInfo())

    assert known.person.id == admin.user_id
    assert int(refused.value.headers["Retry-After"]) > 0


def test_account_limit_holds_on_networks_of_sessions_of_others(admin, member, superuser):
    other = member()
    superuser.cursor().execute(
        "update app.sessions set address = case user_id when %s then '198.51.100.1' else '192.0.2.1' end",
        (other.user_id,),
    )
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")

    with pytest.raises(TooMany):
        sessions.sign_in(admin.email, admin.password, network="198.51.100.1")


def test_account_limit_holds_on_networks_of_sessions_older_than_30_days(admin, superuser):
    superuser.cursor().execute(
        "update app.sessions set address = '192.0.2.1', created_at = now() - interval '31 days';"
        "update app.sign_in_attempts set attempts = 1000"
    )

    with pytest.raises(TooMany):
        sessions.sign_in(admin.email, admin.password, network="192.0.2.1")
    superuser.cursor().execute("update app.sessions set created_at = now() - interval '29 days'")
    assert sessions.sign_in(admin.email, admin.password, network="192.0.2.1")


def test_confirmed_authenticator_is_kept_at_any_age(admin, superuser):
    superuser.cursor().execute("update app.totp_factors set created_at = now() - interval '1 year'")

    with transaction(context.for_system_job()):
        accounts.delete_expired()

    assert one(superuser, "select user_id from app.totp_factors") == (admin.user_id,)


def test_new_anonymous_person_without_live_session_is_kept(fan, superuser):
    new, old = fan(), fan()
    superuser.cursor().execute("update app.sessions set revoked_at = now()")
    superuser.cursor().execute("update users set created_at = now() - interval '2 days' where id = %s", (old.user_id,))

    with transaction(context.for_system_job()):
        accounts.delete_expired()

    assert one(superuser, "select array_agg(id) from users where is_anonymous") == ([new.user_id],)


def test_attempt_never_prolongs_the_window_of_a_counter(admin, superuser):
    for _ in range(sessions.MAX_ATTEMPTS_PER_NETWORK):
        with pytest.raises(InvalidCredentials):
            sessions.sign_in(admin.email, "not the password", network="test")
    superuser.cursor().execute("update app.sign_in_attempts set resets_at = resets_at - interval '5 minutes'")
    before = one(superuser, "select array_agg(resets_at order by key) from app.sign_in_attempts")

    with pytest.raises(TooMany) as refused:
        sessions.sign_in(admin.email, "not the password", network="test")

    assert one(superuser, "select array_agg(resets_at order by key) from app.sign_in_attempts") == before
    assert int(refused.value.headers["Retry-After"]) <= 600


@pytest.mark.parametrize(
    ("before", "network", "is_known"),
    [
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::/64", True),
        ("2001:db8:1:3:aaaa::1", "2001:db8:1:2::/64", False),
        ("192.0.2.1", "2001:db8:1:2::/64", False),
        ("2001:db8:1:2:aaaa::1", "192.0.2.1", False),
        ("", "2001:db8:1:2::/64", False),
        ("fe80::1%eth0", "fe80::/64", False),
    ],
)
def test_account_limit_is_lifted_for_ipv6_network_of_device(admin, superuser, before, network, is_known):
    superuser.cursor().execute("update app.sessions set address = %s", (before,))
    superuser.cursor().execute("update app.sign_in_attempts set attempts = 1000")

    if is_known:
        assert sessions.sign_in(admin.email, admin.password, network=network).person.id == admin.user_id
    else:
        with pytest.raises(TooMany):
            sessions.sign_in(admin.email, admin.password, network=network)


def test_concurrent_sign_ups_send_limited_mails(db_clean, superuser):
    def sign_up(_):
        try:
            with transaction(context.unauthenticated().on_credentials()):
                signups.sign_up("victim@example.com", "en")
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(8) as strangers:
        list(strangers.map(sign_up, range(5 * signups.MAILS)))

    assert one(superuser, "select count(*) from app.jobs where actor ~ '^mail'") == (signups.MAILS,)
    assert one(superuser, "select count(*) from app.signups") == (1,)


def test_session_of_an_archived_brand_is_refused(member, brand, superuser):
    manager = member()
    superuser.cursor().execute("update brands set archived_at = now() where id = %s", (brand["id"],))

    with pytest.raises(Problem) as refused, manager.acting():
        execute("SELECT 1")

    assert (refused.value.status, refused.value.code) == (401, "session_ended")


def test_successful_sign_in_leaves_the_count_of_failed_ones(admin, superuser):
    for password in ("not the password", admin.password):
        with suppress(InvalidCredentials):
            sessions.sign_in(admin.email, password, network="test")

    assert one(superuser, "select array_agg(attempts) from app.sign_in_attempts where attempts > 0") == ([1],)


def test_successful_sign_ins_are_not_counted_as_attempts(admin):
    for _ in range(sessions.MAX_ATTEMPTS_PER_NETWORK + 2):
        sessions.sign_in(admin.email, admin.password, network="test")

    with pytest.raises(InvalidCredentials):
        sessions.sign_in(admin.email, "not the password", network="test")


def test_unauthenticated_login_reads_no_account_tables(db_clean):
    for table in ("public.users", "app.sessions", "app.signups", "app.invitations", "app.sign_in_attempts"):
        with pytest.raises(Exception, match="permission denied"), transaction(context.unauthenticated()):
            execute("SELECT 1 FROM " + table)


@pytest.mark.parametrize("sql", ["SELECT password_hash FROM users", "UPDATE users SET password_hash = 'x'"])
def test_password_hash_is_readable_and_writable_by_no_role(admin, fan, member, sql):
    for identity in (admin.identity, fan().identity, member().identity, context.for_system_job()):
        with pytest.raises(Exception, match="permission denied"), transaction(identity):
            execute(sql)


def test_fan_or_member_reads_and_updates_the_own_row_only(fan, member, superuser):
    for account in (fan(), member(), member("Creator")):
        with account.acting():
            assert rows("SELECT id FROM users") == [{"id": account.user_id}]
            assert execute("UPDATE users SET name = 'mine'") == 1


@pytest.mark.parametrize("column", ["role_id", "brand_id", "email", "is_anonymous", "id"])
def test_identity_columns_are_not_writable_by_users(fan, member, column):
    for account in (fan(), member("Creator")):
        with pytest.raises(Exception, match="permission denied"), account.acting():
            execute(f"UPDATE users SET {column} = {column}")


def test_token_of_old_role_is_refused(member, superuser):
    manager = member("Campaign Manager")
    superuser.cursor().execute("update users set role_id = 3 where id = %s", (manager.user_id,))

    with pytest.raises(Exception, match=r"Sign in again"), manager.acting():
        pass


def test_expired_rows_are_deleted_and_others_kept(admin, superuser, fan):
    fan()
    kept = one(superuser, "select count(*) from app.sessions")
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.sessions (id, user_id, expires_at, revoked_at, ends_at)"
            " values (gen_random_uuid(), %(user)s, now() - interval '91 days', null, now()),"
            " (gen_random_uuid(), %(user)s, now() + interval '1 day', now() - interval '91 days', now())",
            {"user": admin.user_id},
        )
        cursor.execute(
            "insert into app.signups (id, email, locale, expires_at)"
            " values (gen_random_uuid(), 'a@example.com', 'en', now() - interval '1 second'),"
            " (gen_random_uuid(), 'b@example.com', 'en', now() + interval '1 hour')"
        )
        cursor.execute(
            "insert into app.password_resets (id, expires_at) values"
            " (gen_random_uuid(), now() - interval '1 s'), (gen_random_uuid(), now() + interval '1 h')"
        )
        cursor.execute(
            "insert into app.email_changes"
            " (id, user_id, old_email, new_email, audited, expires_at, confirmed_at, undo_until)"
            " select gen_random_uuid(), %s, 'a@x', 'b@x', '{}', now() - interval '1 s', confirmed, undo from (values"
            " (null::timestamptz, null::timestamptz), (now(), now() - interval '1 s'), (now(), now() + interval '1 h')"
            ") as c (confirmed, undo)",
            (admin.user_id,),
        )
        cursor.execute(
            "insert into app.totp_factors (id, user_id, secret, key_version, created_at)"
            " values (gen_random_uuid(), %s, 'x', 1, now() - interval '25 hours')",
            (admin.user_id,),
        )
        cursor.execute("truncate app.sign_in_attempts")
        cursor.execute(
            "insert into app.sign_in_attempts values ('a', 1, now() - interval '1 s'), ('b', 1, now() + interval '1 h')"
        )

    with transaction(context.for_system_job()):
        gone = accounts.delete_expired()

    assert gone == {
        "anonymous_people": 0,
        "signups": 1,
        "sessions": 2,
        "refresh_tokens": 0,
        "invitations": 0,
        "password_resets": 1,
        "email_changes": 2,
        "authenticators": 1,
        "sign_in_attempts": 1,
    }
    assert one(superuser, "select count(*) from app.email_changes") == (1,)
    assert one(superuser, "select count(*) from app.sessions") == kept
    assert one(superuser, "select email from app.signups") == ("b@example.com",)


def test_used_refresh_token_with_unused_successor_is_kept(fan, superuser):
    fan()
    with superuser.cursor() as cursor:
        cursor.execute("select id from app.sessions")
        ((session_id,),) = cursor.fetchall()
        cursor.execute(
            "insert into app.refresh_tokens (hash, session_id, used_at, successor, successor_hash) values"
            " ('a', %(s)s, now() - %(old)s * 2, 'x', 'b'), ('b', %(s)s, now() - %(old)s, 'x', 'c'),"
            " ('c', %(s)s, now() - %(old)s + interval '1 day', 'x', 'd'), ('d', %(s)s, now() - %(old)s, 'x', 'e'),"
            " ('e', %(s)s, null, null, null)",
            {"s": session_id, "old": accounts.KEEP_USED_TOKENS + timedelta(hours=1)},
        )

    with transaction(context.for_system_job()):
        gone = accounts.delete_expired()

    assert gone["refresh_tokens"] == 2
    with superuser.cursor() as cursor:
        cursor.execute("select convert_from(hash, 'UTF8') from app.refresh_tokens where length(hash) = 1 order by 1")
        assert cursor.fetchall() == [("c",), ("d",), ("e",)]


def test_idle_anonymous_people_without_scans_or_consents_are_deleted(fan, campaign, put_scan, superuser):
    _idle, signed_out, scanning, refreshed, new, consenting = people = [*(fan() for _ in range(5)), fan("essential")]
    put_scan(campaign(), scanning.user_id)
    old = [one.user_id for one in people if one is not new]
    with superuser.cursor() as cursor:
        cursor.execute("update users set created_at = now() - interval '25 hours' where id = any (%s)", (old,))
        cursor.execute(
            "update app.sessions set created_at = now() - interval '25 hours',"
            " refreshed_at = now() - case when user_id = %s then '23 hours' else '25 hours' end::interval,"
            " revoked_at = case when user_id = %s then now() end where user_id = any (%s)",
            (refreshed.user_id, signed_out.user_id, old),
        )

    with transaction(context.for_system_job()):
        gone = accounts.delete_expired()

    assert gone["anonymous_people"] == 2
    with superuser.cursor() as cursor:
        cursor.execute("select id from users where id = any (%s)", ([one.user_id for one in people],))
        assert {id for (id,) in cursor.fetchall()} == {one.user_id for one in (consenting, scanning, refreshed, new)}


def test_protected_values_are_comparable_but_not_readable():
    assert accounts.protect("name", "Ana") == accounts.protect("name", "Ana")
    assert accounts.protect("name", "Ana") != accounts.protect("phone", "Ana")
    assert "Ana" not in accounts.protect("name", "Ana")
    assert accounts.protect("name", None) is None
    assert accounts.protect("timezone", "UTC") == "UTC"


def test_sign_up_row_contains_address_and_language_only(db_clean, superuser):
    with transaction(context.unauthenticated().on_credentials()):
        signups.sign_up("ana@example.com", "es")

    (signup_id,) = one(superuser, "select id from app.signups")
    with transaction(context.for_system_job()):
        assert accounts.signup_mail(signup_id) == {"email": "ana@example.com", "locale": "es"}
    with superuser.cursor() as cursor:
        cursor.execute("select * from app.signups")
        assert {column.name for column in cursor.description} == {"id", "email", "locale", "created_at", "expires_at"}


def test_account_with_address_and_no_password_is_refused(superuser, db_clean):
    with pytest.raises(psycopg2.errors.CheckViolation):
        superuser.cursor().execute(
            "insert into users (email, role_id, password_hash) values ('ana@example.com', 4, null)"
        )
