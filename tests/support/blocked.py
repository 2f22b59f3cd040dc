"""Waiting until somebody waits: for tests of what happens when two transactions meet."""

import time

from psycopg2.extensions import connection


def until_blocked(superuser: connection, transactions: int = 1) -> None:
    """Until so many of this database's transactions wait for another's locks.

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
    raise AssertionError("nobody waits")
