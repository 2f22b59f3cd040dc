import json
import subprocess

from scripts.setup.environment import ROOT


def measured(*arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [ROOT / "scripts" / "bench", *arguments, "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_draining_jobs_is_compared_with_stock_dramatiq_and_loses_and_repeats_nothing():
    sizes = ("--transactions", "20", "--million", "2000", "--rows", "500")
    times = ("--seconds", "1", "--timers", "200", "--timer-seconds", "4", "--fairness-seconds", "1")
    numbers = measured("jobs", "--jobs", "200", "--rounds", "1", *sizes, *times)

    assert numbers["ratio_dramatiq"] > 0
    assert numbers["commit_to_start_p95_ms"] >= numbers["commit_to_start_p50_ms"] > 0
    assert numbers["idle_start_p95_ms"] > 0
    assert numbers["timer_lateness_p99_ms"] >= numbers["timer_lateness_p50_ms"] >= 0
    assert numbers["fairness_ratio"] > 0
    assert {"enqueue_cost", "doorbell_ms"} < set(numbers)
    assert numbers["claim_ms_at_1m"] > 0
    assert numbers["console_ms_at_1m"] > 0
    assert (numbers["lost"], numbers["duplicate"], numbers["ghost"]) == (0, 0, 0)


def test_scans_over_http_are_compared_with_pgbench_and_each_accepted_one_is_there_once():
    numbers = measured("scan", "--rounds", "1", "--seconds", "1", "--fans", "200")

    assert numbers["ratio_pgbench"] > 0
    assert numbers["p95_ms"] >= numbers["p50_ms"] > 0
    assert numbers["accepted"] > 0
    assert (numbers["not_accepted"], numbers["lost"], numbers["duplicate"]) == (0, 0, 0)


def test_sign_ins_are_counted_by_core_and_other_requests_go_on_beside_them():
    numbers = measured("logins", "--rounds", "1", "--seconds", "1")

    assert numbers["logins_per_s_per_core"] > 0
    assert numbers["others_p95_ms"] > 0
    assert numbers["others_p95_ratio"] > 0
    assert numbers["refused"] == 0


def test_an_audit_entry_is_priced_and_every_entry_gets_its_place_in_the_chain():
    numbers = measured("audit", "--pairs", "20", "--rounds", "1", "--backlog", "500", "--seconds", "1")

    assert numbers["plain_us"] > 0
    assert numbers["seal_per_s"] > 0
    assert numbers["seal_lag_p95_ms"] >= numbers["seal_lag_p50_ms"] > 0
    assert (numbers["gaps"], numbers["unsealed"]) == (0, 0)


def test_a_request_s_context_and_policies_are_compared_with_the_same_query_without_them():
    numbers = measured("rls", "--requests", "100")

    assert 0 < numbers["rls_context_share"] < 0.5
    assert numbers["request_us"] > numbers["session_us"] > numbers["context_us"] > numbers["plain_us"] > 0
