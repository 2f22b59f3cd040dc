"""Transactions: identity, begin and end, deferred statements, lost connections."""

from datetime import timedelta
from uuid import UUID, uuid4

import peewee
import pytest
from psycopg2.extensions import connection

from models.core import context
from models.core.context import Identity
from models.core.database import (
    after_commit,
    db,
    denied_access,
    execute,
    execute_deferred,
    new_id,
    now,
    row,
    rows,
    transaction,
    uuid7_time,
    value,
)
from models.core.errors import Conflict, Problem

pytestmark = pytest.mark.usefixtures("db_clean")

ENGINE = Identity("worker", "none")
APPEND = "SELECT set_config('test.said', trim(coalesce(current_setting('test.said', true), '') || ' ' || %s), true)"


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
        with pytest.raises(RuntimeError, match="already open"), transaction(ENGINE):
            pass
        assert value("SELECT 1") == 1


def test_deferred_statements_run_in_order_before_the_next_one() -> None:
    with transaction(context.unauthenticated()):
        execute_deferred(APPEND.replace("%s", "current_user"))
        for text in ("second", "third"):
            execute_deferred(APPEND, (text,))
        assert value("SELECT current_setting('test.said')") == "app_public second third"


def test_deferred_statements_run_before_a_statement_with_named_parameters() -> None:
    with transaction(ENGINE):
        execute_deferred(APPEND, ("100%s",))
        assert row("SELECT current_setting('test.said') AS said, %(n)s AS n", {"n": 7}) == {"said": "100%s", "n": 7}


def test_deferred_statement_without_a_next_one_runs_with_commit(superuser: connection) -> None:
    with transaction(ENGINE):
        execute_deferred("SELECT set_config('application_name', %s, false)", ("deferred",))
    with transaction(ENGINE):
        assert value("SELECT current_setting('application_name')") == "deferred"
        execute_deferred("SELECT set_config('application_name', 'again', false)")
        value("SELECT 1")
        assert value("SELECT current_setting('application_name')") == "again"


def test_deferred_statement_does_not_run_after_a_rollback() -> None:
    def work() -> None:
        with transaction(ENGINE):
            value("SELECT 1")
            execute_deferred("SELECT set_config('application_name', 'lost', false)")
            raise KeyError

    with pytest.raises(KeyError):
        work()
    with transaction(ENGINE):
        assert value("SELECT current_setting('application_name')") != "lost"


def test_error_of_a_deferred_statement_is_raised_by_the_next_one() -> None:
    def work(*, with_next: bool) -> None:
        with transaction(context.unauthenticated()):
            execute_deferred("SELECT app.refuse(409, 'group_is_over')")
            if with_next:
                value("SELECT 1")
                raise AssertionError("the error comes with the next statement")

    for with_next in (True, False):
        with pytest.raises(Conflict) as refused:
            work(with_next=with_next)
        assert refused.value.code == "group_is_over"


def test_transaction_that_failed_to_commit_leaves_a_usable_connection() -> None:
    with pytest.raises(Conflict), transaction(ENGINE, closing=("SELECT app.refuse(409, 'conflict')", ())):
        first = backend()

    with transaction(ENGINE):
        assert (backend(), value("SELECT current_user::text")) == (first, "app_worker")


def test_connection_lost_after_the_first_statement_is_not_retried(superuser: connection) -> None:
    ran = []

    def work() -> None:
        with transaction(ENGINE):
            ran.append(backend())
            with superuser.cursor() as cursor:
                cursor.execute("select pg_terminate_backend(%s, 2000)", (ran[0],))
            execute_deferred("SELECT 1")
            ran.append(backend())

    with pytest.raises(peewee.OperationalError):
        work()
    assert len(ran) == 1


def test_after_commit_calls_back_once_and_not_after_a_rollback() -> None:
    called: list[str] = []
    with transaction(ENGINE):
        after_commit(lambda: called.append("committed"))
        value("SELECT 1")
        assert called == []

    def fail() -> None:
        with transaction(ENGINE):
            after_commit(lambda: called.append("rolled back"))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with transaction(ENGINE):
        value("SELECT 1")
    assert called == ["committed"]


def test_transactions_of_two_logins_are_independent() -> None:
    with transaction(ENGINE):
        with transaction(context.unauthenticated()):
            assert value("SELECT current_user::text") == "app_public"
        assert value("SELECT current_user::text") == "app_worker"


def test_uuid7_time_is_the_creation_time_or_none() -> None:
    made = uuid7_time(new_id())

    assert made is not None
    assert abs(now() - made) < timedelta(minutes=1)
    assert uuid7_time(uuid4()) is None
    assert uuid7_time(UUID(int=0xFFFFFFFFFFFF << 80 | 7 << 76 | 2 << 62)) is None


def test_closing_statement_runs_in_a_transaction_without_others() -> None:
    closing = ("SELECT set_config('application_name', 'closed alone', false)", ())
    with transaction(ENGINE, closing=closing):
        pass

    with transaction(ENGINE):
        assert value("SELECT current_setting('application_name')") == "closed alone"


def test_interrupted_transaction_discards_its_connection() -> None:
    pids = []

    def work() -> None:
        with transaction(ENGINE):
            pids.append(backend())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    with transaction(ENGINE):
        assert backend() not in pids


def test_connection_left_in_a_transaction_is_discarded(monkeypatch: pytest.MonkeyPatch) -> None:
    pids = []

    def work() -> None:
        with transaction(ENGINE):
            pids.append(backend())
            raise KeyError

    monkeypatch.setattr(db, "rollback", lambda: None)
    with pytest.raises(KeyError):
        work()
    with transaction(ENGINE):
        assert backend() not in pids


def test_error_of_another_kind_denies_no_access() -> None:
    assert denied_access(ValueError("no error of the database")) is None
