"""Publish events: which rows and jobs a publication makes, and who may publish."""

import json
from contextlib import closing

import psycopg2
import pytest

from models.core import context
from models.core.database import execute, transaction
from models.core.errors import Forbidden
from models.webhooks import endpoints, outbox
from settings import settings


@pytest.fixture
def stored(superuser):
    """Read type and payload of the events in the outbox, in order; with `jobs=True` the number of delivery jobs."""

    def read(*, jobs=False):
        with superuser.cursor() as cursor:
            if jobs:
                cursor.execute("select count(*) from app.jobs where actor = 'webhook.deliver'")
                return cursor.fetchone()[0]
            cursor.execute("select type, payload from app.webhook_outbox order by event_id")
            return cursor.fetchall()

    return read


def test_publication_without_endpoint_writes_nothing(brand, publish, stored):
    publish()

    assert (stored(), stored(jobs=True)) == ([], 0)


def test_publication_stores_payload_for_endpoints_that_select_the_type(subscribe, publish, stored, make_brand):
    subscribe(event_types=["campaign.launched", "reward.granted"])
    subscribe(event_types=["campaign.launched"])
    subscribe()
    subscribe(brand=make_brand("Other"))

    publish(b="é", a="2")

    payloads = [json.loads(payload) for _, payload in stored()]
    assert [payload["data"] for payload in payloads] == [{"number": 0, "b": "é", "a": "2"}] * 2
    assert {payload["type"] for payload in payloads} == {"reward.granted"}
    assert stored(jobs=True) == 2


def test_publication_rolls_back_with_its_cause(subscribe, brand, stored):
    subscribe()

    def fail():
        with transaction(context.for_brand_job(brand["id"])):
            outbox.publish("reward.granted", brand_id=brand["id"], data={})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()

    assert (stored(), stored(jobs=True)) == ([], 0)


def test_publication_to_disabled_endpoint_writes_nothing(subscribe, member, publish, stored):
    subscribed, ana = subscribe(), member()
    with ana.acting():
        found = endpoints.get_for_update(subscribed.id)
        off = endpoints.Definition(url=found.url, description=None, event_types=None, enabled=False)
        endpoints.change(found, off)

    publish()

    assert (stored(), stored(jobs=True)) == ([], 0)


def test_publication_waits_for_no_lock_of_the_endpoint(subscribe, brand, stored):
    subscribed = subscribe()
    with closing(psycopg2.connect(settings.database_direct_url)) as other, other.cursor() as cursor:
        cursor.execute("select set_config('role', 'app_definer', true)")
        cursor.execute("select id from app.webhook_endpoints where id = %s for update", (str(subscribed.id),))
        assert cursor.fetchall()

        with transaction(context.for_brand_job(brand["id"]), timeout=5.0):
            outbox.publish("reward.granted", brand_id=brand["id"], data={})

    assert len(stored()) == 1


def test_publication_for_another_brand_is_refused(subscribe, make_brand, member, fan, stored):
    subscribed, other = subscribe(), make_brand("Other")
    callers = [member(brand=other).identity, context.for_brand_job(other["id"]), fan().identity]

    for caller in callers:
        with pytest.raises(Forbidden), transaction(caller):
            outbox.publish("reward.granted", brand_id=subscribed.brand_id, data={})

    assert stored() == []


def test_publication_by_fan_of_the_brand_is_stored(subscribe, fan, superuser, stored):
    subscribed, nora = subscribe(), fan()
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into public.contacts (id, brand_id, user_id) values (gen_random_uuid(), %s, %s)",
            (str(subscribed.brand_id), str(nora.user_id)),
        )

    with transaction(nora.identity):
        outbox.publish("reward.claimed", brand_id=subscribed.brand_id, data={})

    assert [kind for kind, _ in stored()] == ["reward.claimed"]


def test_expiry_deletes_old_and_surplus_events_and_counts_undelivered(
    subscribe, publish, superuser, member, monkeypatch
):
    monkeypatch.setattr(outbox, "MAX_EVENTS", 3)
    kept, cut = subscribe(), subscribe(event_types=["import.finished"])
    publish(2)
    publish(5, event_type="import.finished")
    with superuser.cursor() as cursor:
        cursor.execute(
            "update app.webhook_outbox set occurred_at = now() - interval '73 hours' where type = 'reward.granted'"
        )
        cursor.execute(
            "update app.webhook_outbox set delivered_at = now() where endpoint_id = %(id)s and event_id ="
            " (select event_id from app.webhook_outbox where endpoint_id = %(id)s order by event_id limit 1)",
            {"id": str(cut.id)},
        )

    with transaction(context.for_system_job()):
        outbox.expire()

    with member().acting():
        found = {one.id: one.dropped for one in endpoints.find()}
        pending = outbox.count_pending(list(found))
    # `kept` has 2 old events and 5 imports, of which the newest 3 stay; `cut` had delivered one of its 2 surplus ones.
    assert found == {kept.id: 4, cut.id: 1}
    assert pending == {kept.id: 3, cut.id: 3}


def test_events_of_deleted_endpoint_are_deleted_by_age(subscribe, publish, superuser, member, stored):
    subscribed, ana = subscribe(), member()
    publish()
    with ana.acting():
        endpoints.delete(subscribed.id)
    with superuser.cursor() as cursor:
        cursor.execute("update app.webhook_outbox set occurred_at = now() - interval '73 hours'")

    with transaction(context.for_system_job()):
        outbox.expire()

    assert stored() == []


def test_expiry_keeps_the_newest_attempts_of_an_endpoint(subscribe, superuser, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_ATTEMPTS", 2)
    subscribed = subscribe()
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.webhook_attempts (id, brand_id, endpoint_id, event_id, type, duration_ms, attempted_at)"
            " select lpad(n::text, 32, '0')::uuid, %s, %s, gen_random_uuid(), 'webhook.test', 1,"
            " now() - make_interval(days => 10 - 2 * n) from generate_series(1, 5) n",
            (str(subscribed.brand_id), str(subscribed.id)),
        )

    with transaction(context.for_system_job()):
        outbox.expire()

    with superuser.cursor() as cursor:
        cursor.execute("select right(id::text, 1) from app.webhook_attempts order by id")
        assert cursor.fetchall() == [("4",), ("5",)]


def test_event_without_a_job_gets_one_by_the_sweep(subscribe, publish, superuser, stored):
    subscribe()
    publish()
    with superuser.cursor() as cursor:
        cursor.execute("delete from app.jobs")
        cursor.execute("update app.webhook_outbox set occurred_at = now() - %s", (outbox.STALLED * 2,))

    with transaction(context.for_system_job()):
        outbox.enqueue_stalled()

    assert stored(jobs=True) == 1


def test_endpoint_in_back_off_gets_no_further_jobs(subscribe, publish, superuser, stored, brand):
    subscribe()
    with superuser.cursor() as cursor:
        cursor.execute("update app.webhook_endpoints set retry_at = now() + interval '1 hour'")

    publish(3)

    assert (len(stored()), stored(jobs=True)) == (3, 0)
    with transaction(context.for_brand_job(brand["id"])):
        assert execute("UPDATE app.webhook_endpoints SET retry_at = NULL") == 1
    publish()
    assert stored(jobs=True) == 1
