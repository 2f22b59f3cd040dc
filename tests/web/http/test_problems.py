"""Test errors: every failure returns a problem document without internal details."""

import threading
from contextlib import contextmanager

import peewee
import psycopg2
import pytest
from psycopg2 import sql

from models.core.context import Identity, unauthenticated
from models.core.database import db, execute, transaction, value
from models.core.errors import FieldError, Forbidden, Invalid, NotFound, Problem
from settings import settings
from web.http.endpoint import endpoint
from web.http.problems import MethodNotAllowed, problem_of_database_error, problem_of_status


class Failing:
    """Raise the exception that the test sets."""

    error: BaseException = RuntimeError("the password is hunter2")

    @endpoint(permission="public")
    def on_get(self, req, resp):
        resp.location = "/somewhere"
        raise self.error

    @endpoint(permission="public", mode="async")
    async def on_post(self, req, resp):
        raise self.error


@pytest.fixture
def failing():
    return Failing()


@pytest.fixture
def api(serve, failing):
    return serve({"/failing": failing})


def test_problem_document_has_members_of_rfc_9457_and_code(api, failing):
    failing.error = Forbidden("Ask an administrator.", permission="things:write")

    answer = api.get("/failing", headers={"X-Request-Id": "request-77"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == 403
    assert answer.json == {
        "type": f"{settings.public_url}/docs/errors#forbidden",
        "title": Forbidden.title,
        "status": 403,
        "code": "forbidden",
        "detail": "Ask an administrator.",
        "request_id": "request-77",
        "permission": "things:write",
    }
    assert "location" not in answer.headers


def test_problem_of_status_has_code_and_title_of_its_class():
    assert (problem_of_status(405).code, problem_of_status(405).title) == (
        MethodNotAllowed.code,
        MethodNotAllowed.title,
    )
    assert (problem_of_status(502).code, problem_of_status(502).title) == (Problem.code, Problem.title)
    assert (problem_of_status(418).code, problem_of_status(418).status) == ("bad_request", 418)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unexpected_exception_is_logged_and_not_shown(api, failing, caplog, method):
    answer = api.request(method, "/failing")

    assert (answer.status_code, answer.json["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert "RuntimeError" not in answer.text
    assert any(record.exc_info and "hunter2" in str(record.exc_info[1]) for record in caplog.records)


def test_refusal_names_every_invalid_field(api, failing):
    failing.error = Invalid(errors=[FieldError("starts_at", "has passed"), FieldError("name", "is too short")])

    answer = api.get("/failing")

    assert (answer.status_code, answer.json["detail"]) == (422, "starts_at: has passed; name: is too short")
    assert answer.json["errors"] == [
        {"field": "starts_at", "reason": "has passed"},
        {"field": "name", "reason": "is too short"},
    ]


def test_unknown_route_returns_problem_document(api):
    answer = api.get("/nowhere")

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("method", ["FOO", "WEBSOCKET"])
def test_unknown_method_returns_400(api, method):
    answer = api.request(method, "/failing")

    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")


def of(work, identity=None):
    """Return the problem that a database error of `work` maps to."""
    with pytest.raises(Exception) as error, transaction(identity or unauthenticated()):
        work()
    return problem_of_database_error(error.value)


@pytest.mark.parametrize(
    ("statement", "status", "code"),
    [
        ("set local statement_timeout = 20; select pg_sleep(600)", 503, "unavailable"),
        ("select * from public.users", 403, "forbidden"),
        ("select 2147483647 + 1", 422, "invalid"),
        ("select 'x'::int", 422, "invalid"),
        ("select E'\\\\x'::bytea::text::date", 422, "invalid"),
        ("do $$ begin raise exception using errcode = '23505'; end $$", 409, "conflict"),
        ("do $$ begin raise exception using errcode = '23503'; end $$", 409, "conflict"),
        ("do $$ begin raise exception using errcode = '40001'; end $$", 503, "unavailable"),
        ("do $$ begin raise exception using errcode = '40P01'; end $$", 503, "unavailable"),
        ("do $$ begin raise exception using errcode = '55P03'; end $$", 503, "unavailable"),
        ("do $$ begin raise exception using errcode = '22P05'; end $$", 422, "invalid"),
        ("do $$ begin raise exception using errcode = '53300'; end $$", 503, "unavailable"),
    ],
)
def test_database_errors_are_mapped_to_statuses(database, statement, status, code):
    problem = of(lambda: execute(statement))

    assert (problem.status, problem.code) == (status, code)
    assert (problem.status != 503) or problem.headers["Retry-After"]


@pytest.mark.parametrize("statement", ["select nonsense from nowhere", "select 1/", "select 1 where 1"])
def test_invalid_sql_is_not_mapped_to_a_problem(database, statement):
    assert of(lambda: execute(statement)) is None


def test_lost_connection_returns_503(database, superuser):
    def cut():
        pid = value("select pg_backend_pid()")
        superuser.cursor().execute("select pg_terminate_backend(%s, 5000)", [pid])
        value("select 1")

    problem = of(cut)

    assert (problem.status, problem.code) == (503, "unavailable")
    with transaction(unauthenticated()):
        assert value("select 1") == 1


def test_unreachable_database_returns_503():
    with pytest.raises(psycopg2.OperationalError) as error:
        psycopg2.connect("postgresql://nobody@/nothing?host=/nonexistent")

    assert problem_of_database_error(error.value).status == 503


@pytest.mark.parametrize("kind", [psycopg2.DatabaseError, peewee.DatabaseError, psycopg2.InterfaceError])
def test_driver_error_without_sqlstate_of_a_lost_connection_is_503(kind):
    assert (
        problem_of_database_error(kind("error with status PGRES_TUPLES_OK and no message from the libpq")).status == 503
    )


@pytest.mark.parametrize("kind", [psycopg2.DataError, peewee.ProgrammingError, psycopg2.NotSupportedError])
def test_other_driver_error_without_sqlstate_is_not_mapped(kind):
    assert problem_of_database_error(kind("no such thing")) is None


def test_statement_is_repeated_after_a_loss_without_sqlstate(database, monkeypatch):
    sent = []

    def break_first(connection, *statement):
        sent.append(statement)
        if len(sent) > 1:
            return send(connection, *statement)
        db.connection().close()
        raise peewee.DatabaseError("error with status PGRES_TUPLES_OK and no message from the libpq")

    send = peewee.PostgresqlDatabase.execute_sql
    monkeypatch.setattr(peewee.PostgresqlDatabase, "execute_sql", break_first)

    with transaction(unauthenticated()):
        assert value("select 1") == 1


def test_other_errors_are_not_mapped():
    assert problem_of_database_error(ValueError("x")) is None
    assert problem_of_database_error(NotFound()) is None


def test_transaction_without_connection_returns_503(api, failing, monkeypatch):
    def refuse(login):
        raise psycopg2.OperationalError("connection refused")

    monkeypatch.setattr("models.core._connection.connect", refuse)

    def work():
        with transaction(Identity("scan", "app_scan")):
            raise AssertionError("there is no connection")

    errors = []

    def fresh_thread():
        try:
            work()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=fresh_thread)
    thread.start()
    thread.join()

    assert problem_of_database_error(errors[0]).code == "unavailable"


def cut_connections(superuser):
    superuser.cursor().execute(
        """
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and usename = 'app_web'
        """
    )


def test_connections_lost_between_requests_cause_no_error(client, fan, superuser):
    token = fan().token
    assert client.get("/api/v1/users/me", token=token).status_code == 200

    cut_connections(superuser)

    assert [client.get("/api/v1/users/me", token=token).status_code for _ in range(20)] == [200] * 20


@contextmanager
def closed(superuser, database):
    """Limit the database to superusers within the block."""
    allow = sql.SQL("alter database {} connection limit {}")
    superuser.cursor().execute(allow.format(sql.Identifier(database), sql.Literal(0)))
    cut_connections(superuser)
    try:
        yield
    finally:
        superuser.cursor().execute(allow.format(sql.Identifier(database), sql.Literal(-1)))


def test_closed_database_returns_503_until_it_opens(client, fan, superuser, database):
    token = fan().token

    with closed(superuser, database):
        answers = [client.get("/api/v1/users/me", token=token) for _ in range(5)]
        alive, ready = client.get("/healthz"), client.get("/readyz")

    assert {(answer.status_code, answer.json["code"]) for answer in answers} == {(503, "unavailable")}
    assert all(answer.headers["retry-after"] for answer in answers)
    assert alive.status_code == 200
    assert (ready.status_code, ready.json["checks"]["postgres"]["ok"]) == (503, False)
    assert client.get("/api/v1/users/me", token=token).status_code == 200
    assert client.get("/readyz").status_code == 200
