"""The server log of PostgreSQL: no values of statements, whatever fails."""

from contextlib import closing
from uuid import uuid4

import psycopg2
import pytest

from tests.support.servers import LOGINS

FAILING = {
    "a value of the wrong type": "select '{0}'::int",
    "a name that there is none of": "select '{0}' from nowhere",
    "a refusal that quotes it": "select app.refuse(409, 'conflict', '{0}')",
    "a notice": "do $$ begin raise warning '%', '{0}'; end $$",
    "a statement that is logged if it is slow": "select pg_sleep(0.001), '{0}'",
}


def fails(dsn, statement):
    """Execute a statement that may fail."""
    with closing(psycopg2.connect(dsn)) as connected, connected.cursor() as cursor:
        try:
            cursor.execute(statement)
        except psycopg2.Error:
            connected.rollback()


@pytest.fixture
def logged(postgres):
    """`logged(text)`: whether the server log contains the text. The server logs before it responds."""
    return lambda text: text in (postgres.home / "server.log").read_text(errors="replace")


@pytest.mark.parametrize("login", sorted(set(LOGINS.values()) - {"postgres"}))
def test_server_log_has_no_value_of_a_statement(postgres, database, logged, login):
    markers = {kind: f"canary-{uuid4().hex}@people.example" for kind in FAILING}

    for kind, statement in FAILING.items():
        fails(postgres.dsn(login, database), statement.format(markers[kind]))

    assert [kind for kind, marker in markers.items() if logged(marker)] == []


def test_server_log_has_values_of_other_logins(postgres, database, logged):
    marker = uuid4().hex

    fails(postgres.dsn("supabase_admin", database), f"select '{marker}'::int")

    assert logged(marker)
