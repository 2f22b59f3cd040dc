"""Tests of `./scripts/status` against a running system and against answers of a broken one."""

import json
from itertools import chain
from pathlib import Path

import pytest

from scripts.commands.status import main as status
from scripts.devstack import procfile
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError, output
from tests.scripts.conftest import eventually

ENDED = 2**22 + 1
"""PID that no process has: the kernel's maximum is 2^22."""

READY = {"status": "ok", "checks": {"postgres": {"ok": True, "detail": "answers", "ms": 1.5}}}
BEAT = {"process": "any", "seconds": 0.5}
AUDIT = {"unsealed": 2, "oldest_unsealed_seconds": 0.1, "checkpoint_seconds": 31.0}
METRICS = """
companon_jobs{actor="scan.score",state="waiting"} 3
companon_jobs{actor="contact.upsert",state="waiting"} 4
companon_jobs{actor="scan.score",state="due"} 1
companon_jobs_dead{actor="scan.score"} 2
"""


class Broken(status.Probes):
    """Answers of a system by path; the default is that of a system in order."""

    def __init__(self, **answers: tuple[int, str]) -> None:
        super().__init__("http://127.0.0.1:1")
        beats = {f"/healthz/{name}": (200, json.dumps(BEAT)) for name in status.HEARTBEATS}
        probes = {"/readyz": (200, json.dumps(READY)), "/healthz/audit": (200, json.dumps(AUDIT))}
        self._answers = {**beats, **probes, "/metrics": (200, METRICS), **answers}

    def get(self, path: str) -> tuple[int, str]:
        """Return the stored answer."""
        return self._answers[path]


def lines(**answers: tuple[int, str]) -> dict[str, status.Line]:
    return {line.name: line for line in status.state(Broken(**answers), {})}


def test_status_of_running_system_is_well_and_names_each_process(system, monkeypatch):
    monkeypatch.setattr(output, "streams", [])
    said = []
    monkeypatch.setattr(status, "say", said.append)

    # Each process records its first heartbeat soon after its start.
    eventually(lambda: said.clear() or status.main(["--run", str(system.var / "run.json")]) == 0)

    text = "\n".join(said)
    assert f"✓ {'api':<15} {system.api} is ok" in text
    assert f"✓ {'migrations':<15} at head" in text
    assert [name for name in status.HEARTBEATS if f"✓ {name:<15} heartbeat" not in text] == []
    assert [name for name in system.run["processes"] if f"{name} " not in text] == []


def test_status_checks_the_workers_of_every_queue():
    lines_of_workers = [line for line in procfile.read(ROOT / "Procfile").values() if "--queues" in line]
    queues = [line.partition("--queues ")[2].partition(" --")[0].split() for line in lines_of_workers]
    assert sorted(status.QUEUES) == sorted(chain(*queues))

    found = lines(**{"/healthz/worker-scans": (503, '{"detail": "No worker-scans has recorded a heartbeat"}')})

    assert [line.name for line in found.values() if line.ok is False] == ["worker-scans"]


def test_status_adds_the_jobs_of_all_actors():
    found = lines()

    assert found["jobs"].text == "7 waiting, 1 due, 0 published, 0 running, 2 dead"
    assert found["audit"].text == "2 entries unsealed, newest checkpoint 31 s ago"
    assert all(line.ok is not False for line in found.values())


@pytest.mark.parametrize(
    ("path", "answer", "name", "text"),
    [
        ("/healthz/clock", (503, '{"detail": "No clock has recorded a heartbeat"}'), "clock", "No clock has recorded"),
        ("/healthz/audit", (503, '{"title": "Seals are overdue"}'), "audit", "Seals are overdue"),
        ("/readyz", (0, "Connection refused"), "api", "does not answer: Connection refused"),
    ],
)
def test_status_marks_the_part_that_is_not_well(path, answer, name, text):
    found = lines(**{path: answer})

    assert text in found[name].text
    assert [line.name for line in found.values() if line.ok is False] == [name]


def test_status_of_degraded_system_marks_the_missing_dependency():
    ready = {"status": "degraded", "checks": {"redis": {"ok": False, "detail": "ConnectionError", "ms": 3.0}}}

    found = lines(**{"/readyz": (200, json.dumps(ready))})

    assert (found["api"].ok, found["redis"].ok) == (True, False)


def test_status_without_access_to_metrics_says_what_is_needed():
    found = lines(**{"/metrics": (403, "{}")})

    assert "METRICS_TOKEN" in found["jobs"].text
    assert found["jobs"].ok is None


@pytest.mark.parametrize("url", ["nonsense", "http://127.0.0.1:port", "http://[::1"])
def test_status_of_a_malformed_url_says_that_it_does_not_answer(url):
    (found,) = [line for line in status.state(status.Probes(url), {}) if line.name == "api"]

    assert (found.ok, found.text.startswith(f"{url} does not answer: ")) == (False, True)


def test_status_marks_processes_that_have_ended():
    found = list(status.local_processes({"processes": {"web": [1], "relay": [ENDED]}}))

    assert [line.ok for line in found] == [False, False]
    assert "not running: relay" in found[1].text


def test_status_without_running_system_names_the_command(tmp_path: Path):
    with pytest.raises(SetupError, match=r"start one with \./scripts/up, or pass --api"):
        status.main(["--run", str(tmp_path / "run.json")])
