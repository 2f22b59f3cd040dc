"""Real relays and workers, while what they depend on fails: nothing is lost, nothing happens twice."""

import pytest

from scripts.commands.soak.run import Director, Plan
from scripts.commands.soak.stage import Stage
from tests.chaos.conftest import SEED

pytestmark = pytest.mark.xdist_group("chaos")


def test_whatever_fails_each_job_that_was_asked_for_happens_once(stage: Stage) -> None:
    plan = Plan(jobs=400, seconds=7.0, faults=8, seed=SEED)

    report = Director(stage, plan).run()

    print(report.numbers())
    assert report.is_clean, f"seed {plan.seed}: {report.numbers()}\n{report.details}"
    assert report.jobs >= plan.jobs
    assert sum(report.faults.values()) >= plan.faults
