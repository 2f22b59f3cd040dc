"""`/metrics` of several web processes: sums that never fall, also when a process ends."""

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripts.devstack.environment import ROOT
from settings import settings
from tests.support.brokers import until
from tests.support.gunicorn import asking, gunicorn
from web.server import shared_metrics

CAPACITY = 'companon_pool_capacity{pool="responder"}'
HEALTH = 'companon_http_request_seconds_count{method="GET",route="/healthz",status="2xx"}'


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    temporary = tmp_path_factory.mktemp("metrics")
    with gunicorn(temporary, "web.app:application", WEB_CONCURRENCY="2", TMPDIR=str(temporary)) as running:
        # The second process may be ready later than the first one.
        until(lambda: scrape(running).get(CAPACITY) == 2 * (settings.web_threads + settings.web_queue))
        yield running


def scrape(server):
    status, _, body = server.talk(asking(b"GET /metrics"))
    assert status == 200, body
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def rising(found):
    return {name: value for name, value in found.items() if re.search(r"_(total|count|sum|bucket)(\{|$)", name)}


def fallen(before, after):
    return [name for name, value in rising(before).items() if after.get(name, 0.0) < value]


def worker_pids(server):
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    booted = [re.search(r"Booting worker with pid: (\d+)", line.get("message", "")) for line in lines]
    pids = [int(found[1]) for found in booted if found]
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_fifty_scrapes_of_two_processes_are_monotonic(server):
    def talk(number):
        return server.talk(asking(b"GET /healthz"))[0] if number % 2 else scrape(server)

    before = scrape(server)
    with ThreadPoolExecutor(4) as callers:
        list(callers.map(talk, range(40)))
    scrapes = [scrape(server) for _ in range(50)]

    assert scrapes[0][HEALTH] - before.get(HEALTH, 0.0) == 20
    assert [fallen(one, other) for one, other in zip([before, *scrapes], scrapes, strict=False)] == [[]] * 50
    assert {found[HEALTH] for found in scrapes} == {scrapes[0][HEALTH]}
    assert len({found[CAPACITY] for found in scrapes}) == 1


def test_counters_survive_the_end_of_a_process(server):
    for _ in range(20):
        assert server.talk(asking(b"GET /healthz"))[0] == 200
    pids = worker_pids(server)
    assert len(pids) == 2
    before = scrape(server)
    directory = next(server.log.parent.glob("companon-metrics-*"))

    os.kill(pids[0], signal.SIGKILL)

    until(lambda: not list(directory.glob(f"*_{pids[0]}.db")) and len(worker_pids(server)) == 2)
    after = scrape(server)
    assert after[HEALTH] >= before[HEALTH] >= 20
    assert fallen(before, after) == []
    assert list(directory.glob("gauge_*_dead.db")) == []
    until(lambda: scrape(server)[CAPACITY] == before[CAPACITY])  # the new process has the gauges of the dead one


def test_refusal_of_the_server_itself_is_counted(server):
    name = 'companon_http_refusals_total{code="bad_request"}'
    before = scrape(server).get(name, 0.0)

    assert server.talk(b"GET\r\n\r\n")[0] == 400

    assert scrape(server)[name] == before + 1


def test_directory_is_kept_by_a_reload_and_not_by_another_master(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.delenv(shared_metrics.DIRECTORY, raising=False)

    shared_metrics.begin()
    first = shared_metrics.directory()
    shared_metrics.begin()
    assert shared_metrics.directory() == first

    monkeypatch.setattr(shared_metrics.os, "getpid", lambda: 1)
    shared_metrics.begin()
    assert shared_metrics.directory() != first


def test_directories_of_killed_masters_are_deleted_and_held_ones_kept(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(shared_metrics.DIRECTORY, raising=False)
    left, new = tmp_path / "companon-metrics-1-left", tmp_path / "companon-metrics-2-new"
    for path in (left, new):
        path.mkdir()
        (path / "counter_1.db").touch()
    os.utime(left, (0, 0))

    shared_metrics.begin()
    held = shared_metrics.directory()
    os.utime(held, (0, 0))
    monkeypatch.delenv(shared_metrics.DIRECTORY)
    shared_metrics.begin()

    assert [path.exists() for path in (left, new, held)] == [False, True, True]


def test_unreadable_file_of_an_ended_process_does_not_end_the_master(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(shared_metrics.DIRECTORY, raising=False)
    shared_metrics.begin()
    broken = shared_metrics.directory() / "counter_7.db"
    broken.write_bytes(b"\xff\xff\xff\x7f" + b"\xff" * 100)

    shared_metrics.retire(7)

    assert "the counts of process 7 are lost" in caplog.text
    assert not broken.exists()
    shared_metrics.end()
    shared_metrics.retire(8)  # gunicorn may report processes after the end


def test_master_creates_the_directory_before_prometheus_client_and_deletes_it(tmp_path):
    script = f"""
import os, pathlib, runpy, sys
from web.server import shared_metrics
begin, early = shared_metrics.begin, []
shared_metrics.begin = lambda: (early.append("prometheus_client" not in sys.modules), begin())
master = runpy.run_path("web/server/gunicorn.conf.py")
assert early == [True], early
created = pathlib.Path(os.environ["{shared_metrics.DIRECTORY}"])
assert created.is_dir()
master["on_exit"](None)
assert not created.exists()
"""
    environ = os.environ | {"TMPDIR": str(tmp_path)}

    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environ, check=True)
