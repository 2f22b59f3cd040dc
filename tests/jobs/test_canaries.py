"""Test that logs and stored errors of workers contain no secrets and no personal data."""

import logging
from io import StringIO

import pytest

from jobs.engine.registry import actor
from models.core import context, database
from models.core.database import transaction
from models.core.errors import Problem
from models.core.logs import Formatter
from models.jobs import ledger
from tests.support.canaries import EMAIL, PASSWORD, WORDS, found_in

pytestmark = pytest.mark.usefixtures("temporary_actors")


@pytest.fixture
def log():
    """Return the log of this process."""
    written = StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield written
    root.setLevel(before)
    root.removeHandler(handler)


def stored_errors(superuser):
    """Return the stored errors of all jobs. Arguments are not searched: they contain ids only."""
    with superuser.cursor() as cursor:
        cursor.execute("select error::text from app.dead_jobs union all select error::text from app.jobs")
        return [error for (error,) in cursor.fetchall() if error]


@pytest.mark.parametrize("kind", [RuntimeError, Problem, OSError, TimeoutError], ids=lambda kind: kind.__name__)
def test_dead_letter_contains_no_secret(superuser, drain, log, kind):
    @actor("canary.fail", runs_as="system", max_attempts=2)
    def fail(number: int) -> None:
        try:
            raise ValueError(WORDS[number])
        except ValueError as error:
            raise kind(WORDS[number]) from error

    with transaction(context.for_system_job()):
        for number in range(len(WORDS)):
            ledger.enqueue("canary.fail", number)
    drain(allow_dead=True)

    assert len(stored_errors(superuser)) == len(WORDS)
    assert found_in("\n".join(stored_errors(superuser))) == []
    assert "canary.fail is a dead letter" in log.getvalue()
    assert [line for line in log.getvalue().splitlines() if found_in(line)] == []


def test_failed_statement_logs_no_values(superuser, drain, log):
    @actor("canary.query", runs_as="system", max_attempts=1)
    def query(number: int) -> None:
        statement = ["select %s::int", "select %s::uuid", "select nothing, %s", "select %s from nowhere"][number]
        database.row(statement, (PASSWORD if number else EMAIL,))

    with transaction(context.for_system_job()):
        for number in range(4):
            ledger.enqueue("canary.query", number)
    drain(allow_dead=True)

    assert len(stored_errors(superuser)) == 4
    assert found_in("\n".join(stored_errors(superuser)) + log.getvalue()) == []
