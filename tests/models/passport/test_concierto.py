"""Test the local Concierto under concurrency: the second of two arrivals waits for the first."""

import threading
from datetime import timedelta
from uuid import uuid4

from models.core import context
from models.core.database import close_thread_connections, now, transaction
from models.core.errors import Problem
from models.passport import concierto
from models.passport.concierto import Arrival, Plan

WAITERS = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


def _arrive(event_id):
    concierto.check_in(event_id, Arrival(uuid4(), None, None, None, 1, now(), None))


def test_second_arrival_at_the_last_place_waits_and_is_refused(brand, query):
    identity, event_id, outcome = context.for_brand_job(brand["id"]), uuid4(), []
    with transaction(identity):
        concierto.publish(event_id, 1, Plan("Night", None, "open", 1, None, now() + timedelta(hours=1)))

    def arrive_later():
        try:
            with transaction(identity):
                _arrive(event_id)
            outcome.append("admitted")
        except Problem as refusal:
            outcome.append(refusal.code)
        finally:
            close_thread_connections()

    second = threading.Thread(target=arrive_later)
    with transaction(identity):
        _arrive(event_id)
        second.start()
        while second.is_alive() and not query(WAITERS)[0][0]:
            second.join(0.01)
    second.join()

    assert outcome == ["at_capacity"]
    assert query("select inside from concierto_events") == [(1,)]
