"""Consents beneath HTTP: the state, its events, and that nothing goes around them."""

import psycopg2
import pytest

from models.consents import consents
from models.core import context
from models.core.database import execute, transaction, value


def test_setting_tiers_grants_what_is_missing_and_revokes_the_rest(fan):
    phone = fan("essential", "marketing")

    with phone.acting():
        consents.set_tiers(["essential", "ai_processing"], source="test")
        assert consents.tiers_in_force() == ["essential", "ai_processing"]

    with phone.acting():
        actions = value("SELECT array_agg(action || ' ' || consent_tier ORDER BY at, consent_tier) FROM consent_events")
    assert sorted(actions) == ["grant ai_processing", "grant essential", "grant marketing", "withdraw marketing"]


def test_setting_the_tiers_that_are_in_force_changes_nothing(fan):
    phone = fan("essential")

    with phone.acting():
        consents.set_tiers(["essential"], source="test")
        assert value("SELECT count(*) FROM consent_events") == 1


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
def test_no_consent_is_changed_without_its_event(admin, fan, member, sql):
    for somebody in (fan("essential"), member(), admin):
        with pytest.raises(Exception, match="permission denied"), somebody.acting():
            execute(sql)


def test_a_brands_members_and_its_jobs_read_no_persons_consents(brand, fan, member):
    fan("essential")

    with member().acting():
        assert value("SELECT count(*) FROM consents") == 0
    with pytest.raises(Exception, match="permission denied"), transaction(context.for_brand_job(brand["id"])):
        value("SELECT count(*) FROM consents")


def test_a_persons_consents_and_their_events_are_seen_by_that_person_alone(admin, fan, member):
    mine = fan("essential")
    for somebody in (fan("marketing", "analytics"), member(), admin):
        with somebody.acting():
            for table in ("consents", "consent_events"):
                assert value(f"SELECT count(*) FROM {table} WHERE user_id = %s", (mine.user_id,)) == 0


@pytest.mark.parametrize("sql", ["update consent_events set source = 'x'", "delete from consent_events"])
def test_events_are_never_changed_by_anybody(fan, superuser, sql):
    fan("essential")

    with pytest.raises(psycopg2.Error, match="consent_events_are_append_only"):
        superuser.cursor().execute(sql)


def test_a_published_notice_never_changes(superuser, db_clean):
    with pytest.raises(psycopg2.Error, match="notice_is_published"):
        superuser.cursor().execute("update consent_notices set body = body || '.'")


def test_expiry_closes_what_has_run_out_with_an_event_each(fan, superuser):
    over, in_force = fan("essential", "marketing"), fan("essential")
    superuser.cursor().execute(
        "update consents set expires_at = now() - interval '1 day' where user_id = %s", (over.user_id,)
    )

    with transaction(context.for_system_job()):
        batches = [consents.expire(1), consents.expire(10), consents.expire(10)]

    assert batches == [1, 1, 0]
    with over.acting():
        assert value("SELECT count(*) FROM consents WHERE revoked_at = expires_at") == 2
        assert value("SELECT count(*) FROM consent_events WHERE action = 'expire'") == 2
    with in_force.acting():
        assert consents.tiers_in_force() == ["essential"]
