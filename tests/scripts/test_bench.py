"""Tests of `./scripts/bench`: each benchmark runs to its end, prints its figures, and finds nothing lost or duplicated.

No duration is checked: on a busy machine the difference of two of them can even be negative.
"""

import io
import json
import math
import os
import shutil
import subprocess
from http.client import HTTPConnection
from pathlib import Path

import pytest

from scripts.commands.bench import audit, fairness, jobs, main, requests, scan, segments, servers, timers
from scripts.devstack import progress
from scripts.devstack.environment import ROOT

pytestmark = pytest.mark.xdist_group("bench")

PATIENCE = 300.0
"""Seconds until a missing job counts as lost: a busy machine is slow."""
WAITING = [
    *((servers, "READY_WITHIN"), (jobs, "STALLED"), (audit, "STALLED"), (timers, "SETTLED"), (fairness, "SETTLED"))
]
FEW = {jobs: {"PROCESSES": 1}, timers: {"PROCESSES": 1}}
SHORT = {fairness: {"CALIBRATION": 80}, scan: {"CLIENTS": (8,)}}


@pytest.fixture
def measured(monkeypatch, migrated_cluster):
    """Return `measured("jobs", "--jobs", "9")`: it runs a small benchmark and returns the printed numbers."""
    monkeypatch.setattr(servers.Bench, "cluster", migrated_cluster)
    for module, name in WAITING:
        monkeypatch.setattr(module, name, PATIENCE)
    for module, changes in (FEW | SHORT).items():
        for name, value in changes.items():
            monkeypatch.setattr(module, name, value)
    printed = io.StringIO()
    monkeypatch.setattr(progress.output, "streams", [printed])

    def run(*arguments) -> dict[str, float]:
        assert main.main([*arguments, "--json"]) == 0, printed.getvalue()
        numbers: dict[str, float] = json.loads(printed.getvalue().splitlines()[-1])
        assert [name for name, number in numbers.items() if not math.isfinite(number)] == []
        return numbers

    return run


def test_bench_help_lists_every_benchmark():
    done = subprocess.run([ROOT / "scripts" / "bench", "--help"], capture_output=True, text=True, check=True)

    assert [name for name in main.BENCHMARKS if name not in done.stdout] == []


@pytest.mark.slow
def test_bench_jobs_compares_with_dramatiq_and_loses_no_job(measured):
    sizes = ("--transactions", "20", "--million", "1000", "--rows", "256")
    times = ("--seconds", "1", "--timers", "100", "--timer-seconds", "2", "--fairness-seconds", "1")
    rounds = ("--rounds", "1", "--fairness-rounds", "1")
    numbers = measured("jobs", "--jobs", "100", *rounds, *sizes, *times)

    assert {
        *("ratio_dramatiq", "ratio_dramatiq_autocommit", "commit_to_start_p95_ms", "idle_start_p95_ms", "enqueue_cost"),
        *("wakeup_ms", "timer_lateness_p99_ms", "fairness_ratio", "claim_ms_at_1m", "console_ms_at_1m"),
    } < set(numbers)
    assert (numbers["lost"], numbers["duplicate"], numbers["ghost"]) == (0, 0, 0)


@pytest.mark.slow
def test_bench_scan_compares_with_pgbench_and_loses_no_scan(measured):
    numbers = measured("scan", "--rounds", "1", "--seconds", "1", "--fans", "100")

    assert {"ratio_pgbench", "p50_ms", "p95_ms"} < set(numbers)
    assert numbers["accepted"] > 0
    assert (numbers["lost"], numbers["duplicate"]) == (0, 0)


@pytest.mark.slow
def test_bench_logins_measures_logins_and_other_requests(measured):
    numbers = measured("logins", "--rounds", "1", "--seconds", "1")

    assert {"logins_per_s_per_core", "offered_share", "others_p95_ms", "others_p95_ratio", "refused"} < set(numbers)


@pytest.mark.slow
def test_bench_audit_measures_cost_and_seals_every_entry(measured):
    numbers = measured("audit", "--pairs", "20", "--rounds", "1", "--backlog", "500", "--seconds", "1")

    assert {"audit_cost", "plain_us", "seal_per_s", "seal_lag_p95_ms"} < set(numbers)
    assert (numbers["gaps"], numbers["unsealed"]) == (0, 0)


@pytest.mark.slow
def test_bench_rls_measures_context_policies_and_session_check(measured):
    numbers = measured("rls", "--requests", "50")

    assert {"rls_context_share", "rls_policies_share", "session_check_share", "request_us", "plain_us"} < set(numbers)


@pytest.mark.slow
def test_bench_segments_finds_the_same_contacts_as_sql_by_hand(measured, monkeypatch, tmp_path):
    monkeypatch.setattr(segments, "KEPT", Path("/var/tmp"))
    monkeypatch.setattr(segments, "PREFIX", f"companon-test-segments-{os.getpid()}-")
    few = ("--contacts", "3000", "--events", "9000", "--previews", "3", "--rounds", "1", "--lags", "2", "--rows", "500")
    try:
        made = measured("segments", *few, "--plans", str(tmp_path / "plans"))
        kept = measured("segments", *few)
    finally:
        for folder in segments.KEPT.glob(f"{segments.PREFIX}*"):
            shutil.rmtree(folder)

    assert made.keys() == kept.keys() >= {"preview_p95_ms", "ratio_handwritten", "membership_lag_p95_ms", "page_p95_ms"}
    assert "regulars by hand" in (tmp_path / "plans").read_text()


def test_bench_requests_figures_compare_each_kind_with_the_other_checkout():
    costs = {
        (side, kind): [cost * factor, cost * factor * 3]
        for side, factor in (("ours", 2.0), ("theirs", 1.0))
        for kind, cost in (("health", 100.0), ("get", 400.0), ("post", 800.0))
    }

    numbers = requests.figures(costs)

    assert (numbers["get_us"], numbers["their_get_us"], numbers["get_of_theirs"]) == (1600, 800, 2)
    assert (numbers["post_of_health"], numbers["post_of_theirs"]) == (8, 2)


def test_bench_requests_block_below_the_kernels_step_costs_one_step(monkeypatch):
    monkeypatch.setattr(requests, "cpu_seconds_of", lambda pid: 1.0)
    side = requests.Side(1, HTTPConnection("127.0.0.1"), "token")
    monkeypatch.setattr(side, "send", lambda kind: None)

    assert side.cost("health", 20) == pytest.approx(500)


@pytest.mark.slow
def test_bench_requests_measures_two_systems_side_by_side(measured):
    numbers = measured("requests", "--requests", "20", "--rounds", "1", "--against", str(ROOT))

    assert {"get_us", "post_us", "health_us", "get_of_theirs", "post_of_theirs"} < set(numbers)
