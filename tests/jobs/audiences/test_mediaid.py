"""A fan's identity at MediaID: links after a sign-up, and the traits that brands may use."""

import threading
from datetime import UTC, datetime
from uuid import UUID

import pytest

from models.audiences import traits
from models.consents import consents
from models.core import context, signed_links
from models.core.database import rows, transaction, value
from models.identity import accounts, signups
from models.passport import mediaid
from models.passport.mediaid import Subject, Trait
from tests.support.brokers import until

AT = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)


@pytest.fixture
def contact(superuser):
    """`contact(fan, brand)`: make the fan a contact of the brand."""

    def make(fan, brand):
        with superuser.cursor() as cursor:
            cursor.execute(
                "insert into public.contacts (brand_id, user_id) values (%s, %s)", (str(brand["id"]), str(fan.user_id))
            )

    return make


@pytest.fixture
def stored(superuser):
    """Return a function that reads brand, name and value of all copies of traits."""

    def read():
        with superuser.cursor() as cursor:
            cursor.execute("select brand_id::text, name, value from public.fan_traits order by 1, 2")
            return cursor.fetchall()

    return read


def sign_up(fan):
    """Sign an anonymous fan up, as the pages do."""
    email = "ana@people.example"
    with transaction(context.unauthenticated().on_credentials()):
        signups.sign_up(email, "en")
    with transaction(context.for_system_job()):
        signup_id = UUID(value("SELECT args ->> 0 FROM app.jobs WHERE actor = 'mail.verification'"))
    token = signed_links.make(accounts.SIGNUP, signup_id)
    signups.verify(fan.identity.on_credentials(), token, "correct horse battery")


def known(kind, fan):
    with transaction(context.for_system_job()):
        return {one.name: one.value for one in mediaid.traits(Subject(kind, fan.user_id))}


def learn(kind, fan, **observed):
    with transaction(context.for_system_job()):
        mediaid.put_traits(Subject(kind, fan.user_id), [Trait(name, text, AT) for name, text in observed.items()])


@pytest.mark.usefixtures("mailbox")
def test_sign_up_of_anonymous_fan_links_both_at_mediaid_once(fan, drain, superuser):
    nora = fan()
    learn("anonymous", nora, team="a")

    sign_up(nora)
    ran = drain()

    assert ran.count("mediaid.link") == 1
    assert known("account", nora) == known("anonymous", nora) == {"team": "a"}
    with superuser.cursor() as cursor:
        cursor.execute("select count(*) from public.mediaid_traits")
        assert cursor.fetchone() == (1,)  # none is left of the identity that was given up


def test_traits_are_copied_to_brands_with_contact_and_consent(fan, brand, make_brand, contact, drain, stored):
    nora, omar, other = fan("essential", "marketing"), fan("essential"), make_brand("Other")
    learn("anonymous", nora, team="a")
    for person, place in ((nora, brand), (omar, brand)):
        contact(person, place)

    drain()

    assert stored() == [(str(brand["id"]), "language", "en"), (str(brand["id"]), "team", "a")]
    with transaction(context.for_system_job()):
        used = rows("SELECT user_id, brand_id, purpose FROM public.consent_uses")
    assert used == [{"user_id": nora.user_id, "brand_id": brand["id"], "purpose": "profiling"}]
    contact(nora, other)
    drain()
    assert len(stored()) == 4


def test_withdrawn_consent_deletes_the_copies_at_once(fan, brand, contact, drain, stored):
    nora = fan("essential", "marketing")
    contact(nora, brand)
    drain()
    before = stored()

    with nora.acting():
        consents.set_tiers(["essential"], source="test")
    after = stored()
    with transaction(context.for_system_job()):
        traits.store(nora.user_id, [{"name": "team", "value": "a", "observed_at": AT.isoformat()}])

    assert (len(before), after, stored()) == (1, [], [])


def test_withdrawal_during_a_refresh_deletes_what_the_refresh_stores(fan, brand, contact, drain, stored, superuser):
    nora = fan("essential", "marketing")
    contact(nora, brand)
    drain()

    def withdraw():
        with nora.acting():
            consents.set_tiers(["essential"], source="test")

    def is_waiting():
        with superuser.cursor() as cursor:
            cursor.execute("select count(*) from pg_locks where not granted")
            return cursor.fetchone()[0]

    thread = threading.Thread(target=withdraw)
    with transaction(context.for_system_job()):
        traits.store(nora.user_id, [{"name": "team", "value": "a", "observed_at": AT.isoformat()}])
        thread.start()
        until(lambda: is_waiting() or not thread.is_alive())
    thread.join()

    assert stored() == []


def test_consent_given_later_to_one_brand_copies_the_traits_there(fan, brand, make_brand, contact, drain, stored):
    nora = fan("essential")
    contact(nora, brand)
    contact(nora, make_brand("Other"))
    drain()
    before = stored()

    with nora.acting():
        consents.grant("marketing", brand_id=brand["id"])
    drain()

    assert (before, stored()) == ([], [(str(brand["id"]), "language", "en")])


def test_fan_sees_the_own_traits_and_a_member_none(client, fan, member, brand, contact, drain):
    nora = fan("essential", "marketing")
    contact(nora, brand)
    drain()

    shown = client.get("/api/v1/users/me/traits", token=nora.token).json["items"]

    assert [(one["name"], one["value"], one["brand_ids"]) for one in shown] == [("language", "en", [str(brand["id"])])]
    assert client.get("/api/v1/users/me/traits", token=member().token).json == {"items": []}


def test_old_copies_are_refreshed_by_the_schedule(fan, brand, contact, drain, stored, superuser):
    nora = fan("essential", "marketing")
    contact(nora, brand)
    drain()
    learn("anonymous", nora, team="a")
    with superuser.cursor() as cursor:
        cursor.execute("update public.fan_traits set refreshed_at = now() - %s", (traits.REFRESH_AFTER,))

    with transaction(context.for_system_job()):
        traits.enqueue_old()
    drain()

    assert [name for _, name, _ in stored()] == ["language", "team"]
