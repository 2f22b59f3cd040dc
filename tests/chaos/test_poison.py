"""A job that kills whoever runs it is found out, and nobody else pays for it."""

import time

import pytest

from scripts.commands.soak.run import LEFT, tally
from scripts.commands.soak.stage import RELAYS, WORKERS, Stage

pytestmark = pytest.mark.xdist_group("chaos")

LONG = 240.0


def drain(stage: Stage) -> None:
    """Keep the cast alive until no job is left."""
    deadline = time.monotonic() + LONG
    while stage.rows(LEFT)[0][0] and time.monotonic() < deadline:
        stage.revive()
        time.sleep(0.1)


def test_a_job_that_kills_its_worker_is_buried_after_three_crashes_and_all_others_run_once(stage: Stage) -> None:
    asked = [stage.ask("slow" if number % 10 == 0 else "insert", str(number)) for number in range(60)]
    poison = stage.ask("poison", "poison")
    stage.rows("delete from chaos.intents where key = 'poison'")
    stage.enter(RELAYS | WORKERS)

    drain(stage)

    report = tally(stage)
    status = "select state, crashes, error ->> 'kind' from app.job_status where id = %s"
    assert stage.rows(status, [poison]) == [("dead", 3, "crash")], report.details
    assert {"poison 1", "poison 2", "poison 3"} == {key for key in stage.outside.acts() if key.startswith("poison")}
    assert (report.lost, report.duplicate, report.ghost, report.left, report.dead) == (0, 0, 3, 0, 1), report.details
    assert stage.rows("select count(*) from app.job_status where state = 'done'") == [(len(asked),)]
