"""Wait until a transaction is blocked, for tests of two concurrent transactions."""

import time

from psycopg2.extensions import connection


def until_blocked(superuser: connection, transactions: int = 1) -> None:
    """Wait until this many transactions of the database wait for locks of others.

    Raises:
        AssertionError: after two minutes.
    """
    until = time.monotonic() + 120
    with superuser.cursor() as cursor:
        while time.monotonic() < until:
            cursor.execute(
                "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
            )
            if cursor.rowcount >= transactions:
                return
    raise AssertionError("no session waits")
