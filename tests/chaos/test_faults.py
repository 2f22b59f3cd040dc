"""Relays and workers under faults of their dependencies: no job is lost or runs twice."""

import pytest

from scripts.commands.soak.faults import FAULTS
from scripts.commands.soak.run import FaultRunner, Plan
from scripts.commands.soak.testbed import FaultTestbed
from tests.chaos.conftest import SEED

pytestmark = pytest.mark.xdist_group("chaos")

SHORT = Plan(jobs=400, seconds=7.0, faults=8, seed=SEED)
LONG = Plan(jobs=12_000, seconds=240.0, faults=5 * len(FAULTS), seed=SEED + 1)
"""Each kind of fault five times."""


@pytest.mark.parametrize("plan", [SHORT, pytest.param(LONG, marks=pytest.mark.slow)], ids=["short", "long"])
def test_jobs_under_faults_run_exactly_once(testbed: FaultTestbed, plan: Plan) -> None:
    report = FaultRunner(testbed, plan).run()

    print(report.numbers())
    assert report.is_clean, f"seed {plan.seed}: {report.numbers()}\n{report.details}"
    assert report.jobs >= plan.jobs
    assert sum(report.faults.values()) >= plan.faults
