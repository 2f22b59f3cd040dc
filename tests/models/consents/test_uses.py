"""Uses of personal data: allowed by a consent in force only, recorded, and decided as segments and scans decide."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from models.consents import consents, uses
from models.consents.uses import ConsentMissing
from models.core import context
from models.core.database import close_thread_connections, rows, transaction
from models.core.errors import Forbidden
from tests.support.blocked import until_blocked

NOTICE = "0197a000-0000-7000-8000-000000000001"
STATES = {
    "granted": "null, now() + interval '1 day'",
    "expired": "null, now()",
    "closed": "now() - interval '1 day', now() - interval '1 day'",
    "withdrawn": "now() - interval '1 day', now() + interval '1 day'",
}


@pytest.fixture
def give(query):
    """`give(account, state, brand_id, tier)`: insert a consent in a state."""

    def insert(account, state, brand_id, tier="marketing"):
        query(
            "insert into consents (user_id, consent_tier, brand_id, notice_id, locale, revoked_at, expires_at)"
            f" values (%s, %s, %s, %s, 'en', {STATES[state]})",
            *(account.user_id, tier, brand_id, NOTICE),
        )

    return insert


def recorded(query):
    return query("select user_id, brand_id, purpose, uses from consent_uses order by user_id, brand_id, purpose")


def test_use_segment_and_scan_agree_on_a_consent_in_force(fan, brand, make_brand, give, query):
    other = make_brand("Other")
    states = list(product([None, *STATES], repeat=2))
    people = [fan() for _ in states]
    for person, (general, own) in zip(people, states, strict=True):
        give(person, "granted", other["id"])
        give(person, "granted", None, "analytics")
        for state, brand_id in ((general, None), (own, brand["id"])):
            if state:
                give(person, state, brand_id)
        query("insert into contacts (brand_id, user_id) values (%s, %s)", brand["id"], person.user_id)
    ids = [person.user_id for person in people]

    with transaction(context.for_brand_job(brand["id"])):
        used = uses.with_consent(ids, "profiling", brand_id=brand["id"])
        segment = rows(
            "SELECT contact_id, state FROM app.find_consent_states(%s, 'marketing', NULL, NULL)", (brand["id"],)
        )
    of_segment = {one["contact_id"] for one in segment if one["state"] == "granted"}
    contacts = dict(query("select id, user_id from contacts where brand_id = %s", brand["id"]))

    expected = {one for one, pair in zip(ids, states, strict=True) if "granted" in pair}
    assert used == expected == {contacts[one] for one in of_segment}
    missing = {
        one for one in ids if query("select app.missing_consents(%s, %s, '{marketing}')", one, brand["id"])[0][0]
    }
    assert used == set(ids) - missing
    assert {user_id for user_id, *_ in recorded(query)} == expected


def test_use_without_a_consent_is_refused_and_not_recorded(fan, brand, query):
    nora, omar = fan("essential", "marketing"), fan("essential", "analytics")

    with transaction(context.for_brand_job(brand["id"])):
        for _ in range(2):
            uses.require_consent(nora.user_id, "contact", brand_id=brand["id"])
        uses.require_consent(omar.user_id, "measurement", brand_id=brand["id"])
        with pytest.raises(ConsentMissing):
            uses.require_consent(omar.user_id, "profiling", brand_id=brand["id"])
        with pytest.raises(ConsentMissing):
            uses.require_consent(nora.user_id, "ai_analysis", brand_id=brand["id"])

    assert sorted(recorded(query)) == sorted(
        [
            (nora.user_id, brand["id"], "contact", 2),
            (omar.user_id, brand["id"], "measurement", 1),
        ]
    )


def test_use_relies_on_the_consent_for_the_brand_that_lasts_longest(fan, brand, give, query):
    nora = fan()
    give(nora, "granted", None)
    give(nora, "granted", brand["id"])
    query("update consents set expires_at = now() + interval '9 days' where brand_id is null")

    with transaction(context.for_brand_job(brand["id"])):
        uses.require_consent(nora.user_id, "contact", brand_id=brand["id"])

    (found,) = query("select c.brand_id, c.user_id from consent_uses u join consents c on c.id = u.consent_id")
    assert found == (brand["id"], nora.user_id)


def test_job_records_no_use_for_another_brand(fan, brand, make_brand, query):
    nora, other = fan("marketing"), make_brand("Other")

    with pytest.raises(Forbidden), transaction(context.for_brand_job(brand["id"])):
        uses.require_consent(nora.user_id, "contact", brand_id=other["id"])
    with transaction(context.for_system_job()):
        uses.require_consent(nora.user_id, "contact", brand_id=other["id"])

    assert recorded(query) == [(nora.user_id, other["id"], "contact", 1)]


def test_withdrawal_waits_for_a_use_and_the_next_use_is_refused(fan, brand, superuser):
    nora = fan("marketing")

    def withdraw():
        with nora.acting():
            consents.set_tiers([], source="test")
        close_thread_connections()

    with ThreadPoolExecutor(1) as pool:
        with transaction(context.for_brand_job(brand["id"])):
            uses.require_consent(nora.user_id, "contact", brand_id=brand["id"])
            withdrawal = pool.submit(withdraw)
            until_blocked(superuser)
        withdrawal.result()

    with pytest.raises(ConsentMissing), transaction(context.for_brand_job(brand["id"])):
        uses.require_consent(nora.user_id, "contact", brand_id=brand["id"])


def test_person_reads_own_uses_and_old_ones_expire(fan, brand, query):
    nora, omar = fan("marketing"), fan("marketing")
    with transaction(context.for_brand_job(brand["id"])):
        assert uses.with_consent([nora.user_id, omar.user_id], "contact", brand_id=brand["id"]) == {
            nora.user_id,
            omar.user_id,
        }
    with nora.acting():
        own = rows("SELECT user_id FROM public.consent_uses")
    query("update consent_uses set day = day - 1094 where user_id = %s", nora.user_id)
    query("update consent_uses set day = day - 1096 where user_id = %s", omar.user_id)

    with transaction(context.for_system_job()):
        uses.expire()

    assert own == [{"user_id": nora.user_id}]
    assert [user_id for user_id, *_ in recorded(query)] == [nora.user_id]
