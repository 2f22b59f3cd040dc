"""A process that stands still keeps its lock and its connections; its jobs are not kept with it."""

import os
import signal
import time

import pytest

from scripts.commands.soak.run import tally
from scripts.commands.soak.stage import RELAYS, WORKERS, Stage
from scripts.commands.soak.variables import LIMIT

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0


def until(stage: Stage, sql: str, *params: object) -> None:
    """Wait until a query is true."""
    deadline = time.monotonic() + LONG
    while not stage.rows(sql, params)[0][0]:
        assert time.monotonic() < deadline, f"{sql} took too long\n{stage.logs()}"
        time.sleep(0.05)  # each look is a connection


def test_a_stopped_workers_job_runs_elsewhere_and_what_it_did_itself_is_refused_when_it_goes_on(stage: Stage) -> None:
    id = stage.ask("brief", "brief")
    # The relay believes in a limit of 1 s, the workers in that of a minute: nothing but the fence refuses the late one.
    stage.enter({"relay-1": RELAYS["relay-1"]}, **{LIMIT: "1"})
    stage.enter({"worker-1": WORKERS["worker-1"]})
    until(stage, "select exists (select from app.jobs where id = %s and state = 'running')", id)
    stopped = stage.cast["worker-1"].family()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    stage.enter({"worker-2": WORKERS["worker-2"]})

    until(stage, "select exists (select from app.job_status where id = %s and state = 'done')", id)
    assert stage.rows("select crashes from app.job_status where id = %s", [id]) == [(1,)]
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    another = stage.ask("insert", "after")
    until(stage, "select exists (select from app.job_status where id = %s and state = 'done')", another)
    until(stage, "select count(*) = 0 from pg_stat_activity where wait_event = 'PgSleep' or state like 'idle in%%'")

    report = tally(stage)
    assert report.is_clean, report.details
    assert stage.rows("select fence from chaos.effects where key = 'brief'") == [(2,)]
