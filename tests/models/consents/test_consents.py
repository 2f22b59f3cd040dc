"""Consents beneath HTTP: state, events, and which rows each condition of the SQL functions selects."""

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest

from models.consents import consents
from models.core import context
from models.core.database import close_thread_connections, execute, new_id, transaction, value
from tests.support.blocked import until_blocked

FIRST = "0197a000-0000-7000-8000-000000000001"
"""The default notice in English."""


@pytest.fixture
def expire_at(query):
    """`expire_at(account, interval)`: have an account's open consents expire after an interval from now."""
    return lambda account, after: query(
        "update consents set expires_at = now() + %s::interval where user_id = %s and revoked_at is null",
        after,
        account.user_id,
    )


@pytest.fixture
def missing(query):
    """`missing(account, brand_id, *tiers)`: the tiers that have no consent in force towards a brand."""

    def ask(account, brand_id, *tiers):
        ((found,),) = query("select app.missing_consents(%s, %s, %s)", account.user_id, brand_id, list(tiers))
        return found

    return ask


def events_of(account):
    with account.acting():
        return value("SELECT array_agg(action || ' ' || consent_tier ORDER BY at, consent_tier) FROM consent_events")


def test_set_tiers_grants_missing_and_withdraws_other_tiers(fan):
    phone, other = fan("essential", "marketing"), fan("marketing")

    with phone.acting():
        consents.set_tiers(["essential", "ai_processing"], source="test")
        assert consents.tiers_in_force() == ["essential", "ai_processing"]

    assert sorted(events_of(phone)) == [
        "grant ai_processing",
        "grant essential",
        "grant marketing",
        "withdraw marketing",
    ]
    assert events_of(other) == ["grant marketing"]


def test_set_tiers_in_force_changes_nothing(fan):
    phone = fan("essential")

    with phone.acting():
        consents.set_tiers(["essential"], source="test")

    assert events_of(phone) == ["grant essential"]


def test_set_tiers_keeps_consents_for_single_brands(fan, brand):
    phone = fan("essential")
    with phone.acting():
        single, created = consents.grant("marketing", brand_id=brand["id"])
        consents.set_tiers([], source="test")

        assert created
        assert consents.tiers_in_force() == []
        assert consents.get(single.id).active


def test_consent_is_in_force_until_it_is_withdrawn_or_expires(fan, brand, missing, expire_at):
    current, expired, withdrawn = (fan("essential", "marketing") for _ in range(3))
    expire_at(current, "1 second")
    expire_at(expired, "0")
    with withdrawn.acting():
        consents.set_tiers(["essential"], source="test")

    lacking = [missing(one, brand["id"], "essential", "marketing") for one in (current, expired, withdrawn)]
    shown = []
    for one in (current, expired, withdrawn):
        with one.acting():
            shown.append({consent.consent_tier: consent.active for consent in consents.own(9)})

    assert lacking == [[], ["essential", "marketing"], ["marketing"]]
    assert shown == [
        {"essential": True, "marketing": True},
        {"essential": False, "marketing": False},
        {"essential": True, "marketing": False},
    ]


def test_consent_for_one_brand_is_missing_for_another(fan, make_brand, missing):
    phone, own, other = fan(), make_brand("Own"), make_brand("Other")
    with phone.acting():
        consents.grant("marketing", brand_id=own["id"])

    assert missing(phone, own["id"], "marketing", "essential") == ["essential"]
    assert missing(phone, other["id"], "marketing") == ["marketing"]
    with phone.acting():
        _, created = consents.grant("marketing")
        assert created
    assert missing(phone, other["id"], "marketing") == []


def test_second_grant_of_a_tier_returns_the_first_consent(fan, brand):
    phone, other = fan(), fan()
    with other.acting():
        consents.grant("essential")

    with phone.acting():
        calls = [consents.grant("essential"), consents.grant("essential"), consents.grant("marketing")]
        calls += [consents.grant("essential", brand_id=brand["id"]) for _ in range(2)]

    assert [created for _, created in calls] == [True, False, True, True, False]
    assert len({consent.id for consent, _ in calls}) == 3


def test_grant_after_expiry_closes_the_expired_consent(fan, expire_at, query):
    phone = fan("essential", "marketing")
    expire_at(phone, "0")

    with phone.acting():
        _, created = consents.grant("essential")

    assert created
    rows = query("select consent_tier, revoked_at = expires_at from consents where user_id = %s", phone.user_id)
    assert sorted(rows, key=str) == [("essential", None), ("essential", True), ("marketing", None)]
    assert sorted(events_of(phone)) == ["expire essential", "grant essential", "grant essential", "grant marketing"]


def test_withdrawal_concerns_one_consent_of_the_caller(fan):
    phone, other = fan("essential", "marketing"), fan("essential")
    with phone.acting():
        ids = {consent.consent_tier: consent.id for consent in consents.own(9)}
        answers = [consents.revoke(ids["marketing"]) for _ in range(2)]
        assert consents.tiers_in_force() == ["essential"]

    assert answers == [True, False]
    with pytest.raises(consents.NotFound), other.acting():
        consents.revoke(ids["essential"])
    with other.acting():
        assert consents.tiers_in_force() == ["essential"]


def test_consents_are_listed_newest_first_page_by_page(fan, query):
    phone = fan("essential", "analytics", "marketing")
    query("update consents set granted_at = now()")
    ids = sorted((id for (id,) in query("select id from consents")), reverse=True)

    with phone.acting():
        first = consents.own(1)
        rest = consents.own(9, (first[0].granted_at, first[0].id))

    assert [consent.id for consent in (*first, *rest)] == ids


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO consents (user_id, consent_tier, notice_id, locale, expires_at)"
        " SELECT user_id, 'marketing', notice_id, locale, expires_at FROM consents",
        "UPDATE consents SET revoked_at = NULL",
        "DELETE FROM consents",
        "DELETE FROM consent_events",
        "SELECT app.add_consent(gen_random_uuid(), gen_random_uuid(), 'marketing', null, null, 'x', null)",
    ],
)
def test_consents_are_changed_by_functions_only(admin, fan, member, sql):
    for account in (fan("essential"), member(), admin):
        with pytest.raises(Exception, match="permission denied"), account.acting():
            execute(sql)


def test_members_and_jobs_of_a_brand_read_no_consents(brand, fan, member):
    fan("essential")

    with member().acting():
        assert value("SELECT count(*) FROM consents") == 0
    with pytest.raises(Exception, match="permission denied"), transaction(context.for_brand_job(brand["id"])):
        value("SELECT count(*) FROM consents")


def test_consents_and_events_are_visible_to_their_person_only(admin, fan, member):
    mine = fan("essential")
    for account in (fan("marketing", "analytics"), member(), admin):
        with account.acting():
            for table in ("consents", "consent_events"):
                assert value(f"SELECT count(*) FROM {table} WHERE user_id = %s", (mine.user_id,)) == 0


@pytest.mark.parametrize("sql", ["update consent_events set source = 'x'", "delete from consent_events"])
def test_events_are_append_only(fan, superuser, sql):
    fan("essential")

    with pytest.raises(psycopg2.Error, match="consent_events_are_append_only"):
        superuser.cursor().execute(sql)


def test_published_notice_is_immutable(superuser, db_clean):
    for sql in ("update consent_notices set body = body || '.'", f"delete from consent_notices where id = '{FIRST}'"):
        with pytest.raises(psycopg2.Error, match="notice_is_published"):
            superuser.cursor().execute(sql)


def test_expiry_closes_expired_consents_in_batches_with_an_event_each(fan, expire_at, query):
    expired, in_force, withdrawn = fan("essential", "marketing"), fan("essential"), fan("essential")
    with withdrawn.acting():
        consents.set_tiers([], source="test")
    expire_at(expired, "-1 day")
    query("update consents set expires_at = now() - interval '1 day' where user_id = %s", withdrawn.user_id)
    query("update consents set expires_at = now() - interval '2 days' where consent_tier = 'marketing'")

    with transaction(context.for_system_job()):
        first = consents.expire(1)
    closed = query("select consent_tier from consents where revoked_at = expires_at")
    with transaction(context.for_system_job()):
        batches = [first, consents.expire(10), consents.expire(10)]

    assert closed == [("marketing",)]
    assert batches == [1, 1, 0]
    with expired.acting():
        assert value("SELECT count(*) FROM consents WHERE revoked_at = expires_at") == 2
        assert value("SELECT count(*) FROM consent_events WHERE action = 'expire'") == 2
    with in_force.acting():
        assert consents.tiers_in_force() == ["essential"]
    assert events_of(withdrawn) == ["grant essential", "withdraw essential"]


def test_grant_after_withdrawal_leaves_the_withdrawn_consent(fan, query):
    phone = fan("marketing")
    with phone.acting():
        consents.set_tiers([], source="test")
    before = query("select id, revoked_at from consents")

    with phone.acting():
        assert consents.grant("marketing")[1]

    assert query("select id, revoked_at from consents where revoked_at is not null") == before
    assert sorted(events_of(phone)) == ["grant marketing", "grant marketing", "withdraw marketing"]


def test_concurrent_grants_after_expiry_close_the_consent_once(fan, expire_at, superuser):
    phone = fan("essential")
    expire_at(phone, "0")

    def grant():
        try:
            with phone.acting():
                return consents.grant("essential")[1]
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as pool:
        with phone.acting():
            first = consents.grant("essential")[1]
            waiting = pool.submit(grant)
            until_blocked(superuser)
        second = waiting.result(60)

    assert (first, second) == (True, False)
    assert sorted(events_of(phone)) == ["expire essential", "grant essential", "grant essential"]


def test_concurrent_expiry_skips_consents_that_are_being_closed(fan, query):
    fan("essential", "marketing")
    query("update consents set expires_at = now()")

    def expire():
        with transaction(context.for_system_job()):
            return consents.expire(9)

    with ThreadPoolExecutor(1) as pool, transaction(context.for_system_job()):
        assert consents.expire(1) == 1
        assert pool.submit(expire).result(60) == 1

    assert query("select count(*), count(distinct consent_id) from consent_events where action = 'expire'") == [(2, 2)]


def test_notice_and_brand_of_a_consent_are_checked_in_the_database(fan, query, publish_notice, retire_notice):
    person, narrow = fan(), publish_notice(key="narrow", version=1, tiers=["analytics"])
    retired = publish_notice(key="retired", version=1)
    newer = publish_notice()
    retire_notice(retired)
    add = "select app.add_consent(%s, %s, 'essential', %s, %s, 'test', null)"

    for brand_id, notice_id, code in (
        (None, new_id(), "unknown_notice"),
        (None, retired, "unknown_notice"),
        (None, FIRST, "notice_not_in_force"),
        (None, narrow, "tier_not_in_notice"),
        (new_id(), newer, "unknown_brand"),
    ):
        with pytest.raises(psycopg2.Error, match=code):
            query(add, new_id(), person.user_id, brand_id, notice_id)
    query(add, new_id(), person.user_id, None, newer)
    assert events_of(person) == ["grant essential"]


def test_rule_for_consents_in_force_is_inlined(query, database):
    plan = "\n".join(
        line
        for (line,) in query(
            "explain (costs off) select from consents where user_id = %s and consent_tier = 'essential'"
            " and app.consent_is_in_force(revoked_at, expires_at)",
            new_id(),
        )
    )

    # The choice among the indexes depends on the statistics of a small table, so look at the condition only.
    assert "expires_at > now()" in plan
    assert "consent_is_in_force" not in plan


def test_event_holds_the_hash_and_the_language_of_its_notice(fan, query):
    phone = fan()
    with phone.acting():
        consents.grant("essential", locale="es")

    found = query(
        "select n.locale, e.locale, e.notice_sha256 = n.body_sha256, e.expires_at = c.expires_at from consent_events e"
        " join consents c on c.id = e.consent_id join consent_notices n on n.id = e.notice_id"
    )
    assert found == [("es", "es", True, True)]
