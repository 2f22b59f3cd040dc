"""Transactions: identity, begin and end, deferred statements, lost connections."""

import peewee
import pytest
from psycopg2.extensions import connection

from models.core import context
from models.core.context import Identity
from models.core.database import db, execute, row, rows, transaction, value
from models.core.errors import Problem

pytestmark = pytest.mark.usefixtures("db_clean")

ENGINE = Identity("worker", "none")


def backend() -> int:
    return int(value("SELECT pg_backend_pid()"))


def test_transaction_runs_with_role_and_claims_of_identity() -> None:
    with transaction(context.unauthenticated()):
        assert row("SELECT current_user::text, current_setting('request.jwt.claims') AS claims") == {
            "current_user": "app_public",
            "claims": "{}",
        }


def test_next_transaction_of_a_connection_starts_clean() -> None:
    with transaction(context.for_system_job()):
        first = backend()
    with transaction(ENGINE):
        assert backend() == first
        assert value("SELECT current_user::text") == "app_worker"
        assert value("SELECT current_setting('request.jwt.claims', true)") == "{}"


def test_statement_without_an_identity_fails() -> None:
    with pytest.raises(peewee.InterfaceError):
        rows("SELECT 1")


@pytest.mark.parametrize("params", [(), ("x",)], ids=["without parameters", "with parameters"])
def test_percent_signs_in_claims_are_kept(params: tuple[str, ...]) -> None:
    asking = Identity("worker", "none", {"email": "100%s%%@example.org"})
    ask = "SELECT current_setting('request.jwt.claims')::jsonb ->> 'email'"

    with transaction(asking):
        assert value(ask + " WHERE %s = 'x'" if params else ask, params) == "100%s%%@example.org"


def test_transaction_without_a_statement_sends_nothing() -> None:
    with transaction(ENGINE):
        assert db.in_transaction()
    assert not db.in_transaction()


def test_invalid_session_is_refused_without_any_statement() -> None:
    claims = {"sub": "0197a000-0000-7000-8000-000000000009", "session_id": "0197a000-0000-7000-8000-000000000008"}
    stranger = context.of_claims({**claims, "app_metadata": {"user_role": "Fan"}})

    def enter() -> None:
        with transaction(stranger):
            assert db.in_transaction()

    with pytest.raises(Problem) as refused:
        enter()
    assert (refused.value.status, refused.value.code) == (401, "session_ended")


def test_closing_statement_is_committed_with_the_others(superuser: connection) -> None:
    closing = ("SELECT set_config('application_name', %s, false)", ("closed",))
    with transaction(ENGINE, closing=closing):
        pid = backend()

    with superuser.cursor() as cursor:
        cursor.execute("select application_name, state from pg_stat_activity where pid = %s", (pid,))
        assert cursor.fetchone() == ("closed", "idle")


def test_commit_is_asynchronous_only_if_not_durable() -> None:
    def chosen(*, durable: bool) -> tuple[str, bool]:
        with transaction(ENGINE, durable=durable):
            found = row("SELECT setting, source = 'session' AS here FROM pg_settings WHERE name = 'synchronous_commit'")
        assert found is not None
        return found["setting"], found["here"]

    assert chosen(durable=False) == ("off", True)
    assert chosen(durable=True)[1] is False


def test_connection_closed_while_idle_is_replaced(superuser: connection) -> None:
    with transaction(ENGINE):
        pid = backend()
    with superuser.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(%s, 2000)", (pid,))

    with transaction(ENGINE), db.atomic():
        assert backend() != pid


def test_connection_lost_in_a_transaction_is_an_error_once(
    superuser: connection,
) -> None:
    def work() -> None:
        with transaction(ENGINE):
            pid = backend()
            with superuser.cursor() as cursor:
                cursor.execute("select pg_terminate_backend(%s, 2000)", (pid,))
            execute("SELECT 1")

    with pytest.raises(peewee.OperationalError):
        work()
    with transaction(ENGINE):
        assert value("SELECT 1") == 1


def test_statement_longer_than_its_time_limit_is_cancelled() -> None:
    def work() -> None:
        with transaction(ENGINE, timeout=0.05):
            execute("SELECT pg_sleep(5)")

    with pytest.raises(peewee.OperationalError):
        work()


def test_nested_transaction_of_one_login_is_refused() -> None:
    with transaction(ENGINE):
        with pytest.raises(RuntimeError, match="open already"), transaction(ENGINE):
            pass
        assert value("SELECT 1") == 1
