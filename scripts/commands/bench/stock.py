"""Stock Dramatiq: its Redis broker with the default middleware, and one connection per thread.

The job's statement runs in a psycopg2 transaction. With STOCK_AUTOCOMMIT it commits by itself: fewer round trips, for
jobs of one statement.
"""

import os
import threading

import dramatiq
import psycopg2
import psycopg2.extensions
from dramatiq.brokers.redis import RedisBroker

from scripts.commands.bench.readiness import StartLine
from scripts.commands.bench.statement import INSERT
from settings import settings

broker = RedisBroker(url=settings.redis_url)  # type: ignore[no-untyped-call]
broker.add_middleware(StartLine())
dramatiq.set_broker(broker)

_local = threading.local()


def _connection() -> psycopg2.extensions.connection:
    if not hasattr(_local, "connection"):
        _local.connection = psycopg2.connect(settings.database_worker_url)
        _local.connection.autocommit = "STOCK_AUTOCOMMIT" in os.environ
    connection: psycopg2.extensions.connection = _local.connection
    return connection


@dramatiq.actor(actor_name="bench.insert")
def insert(n: int) -> None:
    """Record that job `n` ran."""
    connection = _connection()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, (n,))
    connection.commit()
