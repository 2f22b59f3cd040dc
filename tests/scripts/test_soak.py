import json

import pytest

from scripts.commands.soak import main
from scripts.commands.soak.run import Plan, Report


@pytest.fixture
def printed(monkeypatch):
    """Return the lines that the command prints."""
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


def test_soak_clean_run_prints_json_summary_last(monkeypatch, printed):
    code, plans = soaked(monkeypatch, Report(jobs=100, faults={"kill_redis": 4}), "--jobs", "100", "--seed", "7")

    numbers = json.loads(printed[-1])
    assert (code, numbers["jobs"], numbers["faults"], numbers["lost"]) == (0, 100, {"kill_redis": 4}, 0)
    assert (plans[0].jobs, plans[0].seed) == (100, 7)


def test_soak_minutes_set_duration_and_number_of_faults(monkeypatch):
    _, (plan,) = soaked(monkeypatch, Report(), "--minutes", "5")

    assert (plan.seconds, plan.faults) == (300, 120)


@pytest.mark.parametrize("count", ["lost", "duplicate", "ghost", "dead", "left"])
def test_soak_fails_and_explains_each_count_above_zero(monkeypatch, printed, count):
    code, _ = soaked(monkeypatch, Report(**{count: 1}, details="log of the worker"))

    assert code == 1
    assert "log of the worker" in "\n".join(printed)
