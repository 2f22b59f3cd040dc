"""A benchmark runs whole, says every figure it promises, and counts what must be exact.

No figure of time is judged here: on a busy machine a difference of two of them may be anything, also negative.
"""

import json
import math
import subprocess

from scripts.setup.environment import ROOT


def measured(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [ROOT / "scripts" / "bench", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    numbers: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    assert [name for name, number in numbers.items() if not math.isfinite(number)] == []
    return numbers


def test_draining_jobs_is_compared_with_stock_dramatiq_and_loses_and_repeats_nothing():
    sizes = ("--transactions", "20", "--million", "2000", "--rows", "500")
    times = ("--seconds", "1", "--timers", "200", "--timer-seconds", "4", "--fairness-seconds", "1")
    numbers = measured("jobs", "--jobs", "200", "--rounds", "1", *sizes, *times)

    assert {
        *("ratio_dramatiq", "ratio_dramatiq_autocommit", "commit_to_start_p95_ms", "idle_start_p95_ms", "enqueue_cost"),
        *("doorbell_ms", "timer_lateness_p99_ms", "fairness_ratio", "claim_ms_at_1m", "console_ms_at_1m"),
    } < set(numbers)
    assert (numbers["lost"], numbers["duplicate"], numbers["ghost"]) == (0, 0, 0)


def test_scans_over_http_are_compared_with_pgbench_and_each_accepted_one_is_there_once():
    numbers = measured("scan", "--rounds", "1", "--seconds", "1", "--fans", "200")

    assert {"ratio_pgbench", "p50_ms", "p95_ms"} < set(numbers)
    assert numbers["accepted"] > 0
    assert (numbers["lost"], numbers["duplicate"]) == (0, 0)


def test_sign_ins_are_counted_by_core_and_other_requests_go_on_beside_them():
    numbers = measured("logins", "--rounds", "1", "--seconds", "1")

    assert {"logins_per_s_per_core", "offered_share", "others_p95_ms", "others_p95_ratio", "refused"} < set(numbers)


def test_an_audit_entry_is_priced_and_every_entry_gets_its_place_in_the_chain():
    numbers = measured("audit", "--pairs", "20", "--rounds", "1", "--backlog", "500", "--seconds", "1")

    assert {"audit_cost", "plain_us", "seal_per_s", "seal_lag_p95_ms"} < set(numbers)
    assert (numbers["gaps"], numbers["unsealed"]) == (0, 0)


def test_a_request_s_context_policies_and_session_are_each_priced_by_the_same_query_without():
    numbers = measured("rls", "--requests", "100")

    assert {"rls_context_share", "rls_policies_share", "session_check_share", "request_us", "plain_us"} < set(numbers)
