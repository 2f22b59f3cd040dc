"""Tests of refusals that the data layer records."""

from models.audit import refusals
from models.audit.refusals import NOT_FOUND, Refused
from models.core.database import new_id
from tests.fixtures.audit import entries


def refusal(**changes):
    return Refused(
        **{"action": "x.refused", "reason": NOT_FOUND, "status": 404, "operation": "GET /things/{thing_id}", **changes}
    )


def test_record_that_does_not_exist_is_not_recorded_unless_counted(db_clean):
    missing = {"table": "campaigns", "record_id": new_id()}

    assert not refusals.record(refusal(**missing))
    assert not refusals.record(refusal(table="no_such_table", record_id=new_id()))
    assert refusals.record(refusal(count=3, **missing))

    (entry,) = entries("x.refused")
    assert (entry.outcome, entry.reason) == ("refused", NOT_FOUND)
    assert entry.details == {"operation": "GET /things/{thing_id}", "status": 404, "count": 3}


def test_refusal_has_the_claims_of_its_caller(db_clean):
    person, session, brand = new_id(), new_id(), new_id()
    claims = {
        "sub": str(person),
        "session_id": str(session),
        "app_metadata": {"brand_id": str(brand), "user_role": "Creator"},
    }

    assert refusals.record(refusal(reason="forbidden", status=403, claims=claims))

    (entry,) = entries("x.refused")
    assert (entry.user_id, entry.session_id, entry.brand_id, entry.actor_role) == (person, session, brand, "Creator")
    assert entry.details == {"operation": "GET /things/{thing_id}", "status": 403}


def test_own_records_are_not_recorded_and_records_of_others_are(db_clean, query):
    person, stranger, job, live = (new_id() for _ in range(4))
    query("insert into app.jobs (id, actor, user_id) values (%s, 'x.y', %s)", live, person)
    query("insert into public.users (id, role_id, is_anonymous) values (%s, 4, true)", person)
    query(
        "insert into app.job_history (id, actor, args, version, state, attempts, crashes, user_id, created_at)"
        " values (%s, 'x.y', '[]', 1, 'done', 1, 0, %s, now())",
        job,
        person,
    )

    for table, record_id in (("users", person), ("jobs", job), ("jobs", live)):
        assert not refusals.record(refusal(table=table, record_id=record_id, claims={"sub": str(person)})), table
        assert refusals.record(refusal(table=table, record_id=record_id, claims={"sub": str(stranger)})), table
    assert {entry.reason for entry in entries("x.refused")} == {"out_of_reach"}
