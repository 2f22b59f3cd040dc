"""A job that kills its worker becomes a dead letter, and other jobs are not affected."""

import time

import pytest

from scripts.commands.soak.run import LEFT, count_results
from scripts.commands.soak.testbed import RELAYS, WORKERS, FaultTestbed

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0


def drain(testbed: FaultTestbed) -> None:
    """Restart ended processes until no job is left."""
    deadline = time.monotonic() + LONG
    while testbed.rows(LEFT)[0][0] and time.monotonic() < deadline:
        testbed.restart_ended()
        time.sleep(0.1)


def test_job_killing_its_worker_is_dead_after_three_crashes(testbed: FaultTestbed) -> None:
    asked = [testbed.enqueue("slow" if number % 10 == 0 else "insert", str(number)) for number in range(60)]
    poison = testbed.enqueue("poison", "poison")
    testbed.rows("delete from chaos.intents where key = 'poison'")
    testbed.start_members(RELAYS | WORKERS)

    drain(testbed)

    report = count_results(testbed)
    status = "select state, crashes, error ->> 'kind' from app.job_status where id = %s"
    assert testbed.rows(status, [poison]) == [("dead", 3, "crash")], report.details
    assert {"poison 1", "poison 2", "poison 3"} == {key for key in testbed.vendor.acts() if key.startswith("poison")}
    assert (report.lost, report.duplicate, report.ghost, report.left, report.dead) == (0, 0, 3, 0, 1), report.details
    assert testbed.rows("select count(*) from app.job_status where state = 'done'") == [(len(asked),)]
