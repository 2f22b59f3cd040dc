"""Test the gateway: outcomes of a call over both implementations, its record, and faults of the server."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import connection

from jobs.passport import openapi, policy
from jobs.passport.contract import ServiceRefused
from scripts.devstack.environment import ROOT
from tests.fixtures.queries import Query
from tests.jobs.passport.conftest import AsJob
from tests.support.echo import SERVICE, Note, Noted, echo

COUNTERPART = "echo"
DOCUMENT = ROOT / "var" / "echo.openapi.json"
DOCUMENT.parent.mkdir(exist_ok=True)
DOCUMENT.write_text(json.dumps(openapi.document(SERVICE, "Test service.")))


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch, superuser: connection, db_clean: str) -> Iterator[None]:
    """Create the table of the local implementation, and let jobs of brands call the service."""
    monkeypatch.setitem(policy.POLICY, ("echo", "note"), frozenset({"brand"}))
    with superuser.cursor() as cursor:
        cursor.execute("create table app.echo_notes (id int generated always as identity primary key, text text)")
        cursor.execute("grant insert, select on app.echo_notes to app_job")
        yield
        cursor.execute("drop table app.echo_notes")


@pytest.fixture
def brand_id(make_brand: Any) -> UUID:
    return UUID(str(make_brand()["id"]))


@pytest.mark.usefixtures("implementation")
def test_repeated_call_has_one_effect_and_one_answer(as_job: AsJob, brand_id: UUID) -> None:
    with as_job(brand_id=brand_id) as job:
        first = echo().note(Note(text="a"), key=job.idempotency_key)
        second = echo().note(Note(text="a"), key=job.idempotency_key)
        other = echo().note(Note(text="a"), key="another")

    assert first == second == Noted(number=1, text="a")
    assert other.number == 2


@pytest.mark.usefixtures("implementation")
def test_key_of_other_request_is_refused(as_job: AsJob, brand_id: UUID) -> None:
    with as_job(brand_id=brand_id):
        echo().note(Note(text="a"), key="k")
        with pytest.raises(ServiceRefused) as refused:
            echo().note(Note(text="b"), key="k")

    assert refused.value.code == "idempotency_key_reused"


@pytest.mark.usefixtures("implementation")
def test_refusal_has_its_code_and_is_recorded(as_job: AsJob, brand_id: UUID, query: Query) -> None:
    with as_job(brand_id=brand_id), pytest.raises(ServiceRefused) as refused:
        echo().note(Note(text="full"), key="k")

    assert (refused.value.code, refused.value.status, refused.value.detail) == (
        "conflict",
        409,
        "The notebook is full.",
    )
    assert query("select outcome, error_code from passport_calls") == [("refused", "conflict")]
