import json

import pytest

from scripts.commands.soak import main
from scripts.commands.soak.run import Plan, Report


@pytest.fixture
def said(monkeypatch):
    """What the command says."""
    lines: list[str] = []
    monkeypatch.setattr(main, "say", lines.append)
    return lines


def soaked(monkeypatch: pytest.MonkeyPatch, report: Report, *arguments: str) -> tuple[int, list[Plan]]:
    plans: list[Plan] = []

    def run(plan: Plan) -> Report:
        plans.append(plan)
        return report

    monkeypatch.setattr(main, "run", run)
    return main.main(["--json", *arguments]), plans


def test_the_summary_of_a_clean_run_is_one_object_on_the_last_line(monkeypatch, said):
    code, plans = soaked(monkeypatch, Report(jobs=100, faults={"kill_redis": 4}), "--jobs", "100", "--seed", "7")

    numbers = json.loads(said[-1])
    assert (code, numbers["jobs"], numbers["faults"], numbers["lost"]) == (0, 100, {"kill_redis": 4}, 0)
    assert (plans[0].jobs, plans[0].seed) == (100, 7)


def test_minutes_say_how_long_jobs_are_asked_for_and_faults_come_at_the_same_pace(monkeypatch):
    _, (plan,) = soaked(monkeypatch, Report(), "--minutes", "5")

    assert (plan.seconds, plan.faults) == (300, 120)


@pytest.mark.parametrize("count", ["lost", "duplicate", "ghost", "dead", "left"])
def test_anything_that_is_not_0_fails_the_command_and_is_explained(monkeypatch, said, count):
    code, _ = soaked(monkeypatch, Report(**{count: 1}, details="what the worker said"))

    assert code == 1
    assert "what the worker said" in "\n".join(said)
