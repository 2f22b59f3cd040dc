"""A stopped worker keeps its lock and connections, but not its jobs."""

import os
import signal
import time

import pytest

from scripts.commands.soak.run import count_results
from scripts.commands.soak.testbed import RELAYS, WORKERS, FaultTestbed
from scripts.commands.soak.variables import TIME_LIMIT

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0


def until(testbed: FaultTestbed, sql: str, *params: object) -> None:
    """Wait until a query is true."""
    deadline = time.monotonic() + LONG
    while not testbed.rows(sql, params)[0][0]:
        assert time.monotonic() < deadline, f"{sql} took too long\n{testbed.logs()}"
        time.sleep(0.05)  # Each poll opens a connection.


def test_job_of_stopped_worker_runs_elsewhere_and_its_late_end_is_refused(testbed: FaultTestbed) -> None:
    id = testbed.enqueue("brief", "brief")
    # The relay applies a limit of 1 second and the workers one of a minute, so only the fence refuses the late end.
    testbed.start_members({"relay-1": RELAYS["relay-1"]}, **{TIME_LIMIT: "1"})
    testbed.start_members({"worker-1": WORKERS["worker-1"]})
    until(testbed, "select exists (select from app.jobs where id = %s and state = 'running')", id)
    stopped = testbed.members["worker-1"].family()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    testbed.start_members({"worker-2": WORKERS["worker-2"]})

    until(testbed, "select exists (select from app.job_status where id = %s and state = 'done')", id)
    assert testbed.rows("select crashes from app.job_status where id = %s", [id]) == [(1,)]
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    another = testbed.enqueue("insert", "after")
    until(testbed, "select exists (select from app.job_status where id = %s and state = 'done')", another)
    until(testbed, "select count(*) = 0 from pg_stat_activity where wait_event = 'PgSleep' or state like 'idle in%%'")

    report = count_results(testbed)
    assert report.is_clean, report.details
    assert testbed.rows("select fence from chaos.effects where key = 'brief'") == [(2,)]
