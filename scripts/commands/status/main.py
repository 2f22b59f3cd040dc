"""`./scripts/status`: processes, heartbeats, queues, migrations and audit trail, from the API's probes and metrics."""

import json
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from scripts.commands.status import options
from scripts.devstack import processes
from scripts.devstack.progress import SetupError, say

TIMEOUT = 5.0
"""Seconds to wait for one answer."""
QUEUES = ("scans", "default", "outward", "mail", "webhooks")
"""Queues of jobs. Workers of one queue may run while those of another do not."""
HEARTBEATS = ("relay", *(f"worker-{queue}" for queue in QUEUES), "clock", "seal")
STATES = ("waiting", "due", "published", "running")


@dataclass(frozen=True)
class Line:
    """State of one part; `ok` is None for information only."""

    name: str
    text: str
    ok: bool | None = True


def main(argv: list[str]) -> int:
    """Print one line for each part. Return 0 only if all parts are well.

    Raises:
        SetupError: no system runs here.
    """
    given = options.parse(argv)
    run = _run(given.run) if given.api is None else {}
    lines = list(state(Probes(given.api or run["api"]), run))
    for line in lines:
        mark = {True: "✓", False: "✗", None: " "}[line.ok]
        say(f"{mark} {line.name:<15} {line.text}")
    return 1 if any(line.ok is False for line in lines) else 0


def _run(path: Path) -> dict[str, Any]:
    try:
        run: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise SetupError(
            f"No system is running here ({path} is missing): start one with ./scripts/up, or pass --api"
        ) from None
    return run


class Probes:
    """The public probes and the metrics of an API."""

    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body; status 0 and the reason if the API does not answer."""
        try:
            request = urllib.request.Request(self.base + path, headers={"Accept": "*/*"})
            if path == "/metrics" and (token := os.environ.get("METRICS_TOKEN")):
                request.add_header("Authorization", f"Bearer {token}")
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, ValueError, HTTPException) as error:  # also no URL, and no HTTP server
            return 0, str(getattr(error, "reason", error))

    def read(self, path: str) -> tuple[bool, Any]:
        """Return whether a probe succeeded, and its JSON."""
        status, text = self.get(path)
        return status == 200, json.loads(text) if status and text else {"detail": text}


def state(probes: Probes, run: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the state of each part. Without an answer of the API, only its line and the local processes."""
    status, text = probes.get("/readyz")
    if status not in (200, 503):
        yield Line("api", f"{probes.base} does not answer: {status or ''} {text[:200]}".replace("  ", " "), False)
    else:
        ready = json.loads(text)
        yield Line("api", f"{probes.base} is {ready['status']}", status == 200)
        for name, check in ready.get("checks", {}).items():
            yield Line(name, f"{check['detail']} ({check['ms']:g} ms)", check["ok"])
        yield from heartbeats(probes)
        yield audit(probes)
        yield jobs(probes)
    yield from local_processes(run)


def heartbeats(probes: Probes) -> Iterator[Line]:
    """Yield the age of the newest heartbeat of each kind of process without an HTTP server."""
    for name in HEARTBEATS:
        ok, found = probes.read(f"/healthz/{name}")
        yield Line(name, f"heartbeat {found['seconds']:g} s ago" if ok else _reason(found), ok)


def audit(probes: Probes) -> Line:
    """Return the state of the sealing and of the checkpoints."""
    ok, found = probes.read("/healthz/audit")
    if not ok:
        return Line("audit", _reason(found), False)
    age = found["checkpoint_seconds"]
    newest = "no checkpoint stored yet" if age is None else f"newest checkpoint {age:g} s ago"
    return Line("audit", f"{found['unsealed']} entries unsealed, {newest}")


def jobs(probes: Probes) -> Line:
    """Return the number of jobs by state, and the dead letters."""
    status, text = probes.get("/metrics")
    if status != 200:
        return Line("jobs", "unknown: /metrics is for this machine, or needs METRICS_TOKEN", None)
    counted = counts(text_string_to_metric_families(text))
    dead = counted.pop("dead")
    return Line("jobs", ", ".join(f"{counted[name]} {name}" for name in STATES) + f", {dead} dead", None)


def counts(families: Iterable[Metric]) -> Counter[str]:
    """Return the number of jobs of all actors by state, and of dead letters as `dead`."""
    found: Counter[str] = Counter(dict.fromkeys((*STATES, "dead"), 0))
    for family in families:
        for sample in family.samples:
            if family.name == "companon_jobs":
                found[sample.labels["state"]] += int(sample.value)
            elif family.name == "companon_jobs_dead":
                found["dead"] += int(sample.value)
    return found


def local_processes(run: Mapping[str, Any]) -> Iterator[Line]:
    """Yield the processes that `./scripts/up` has started here, and whether each runs."""
    started: Mapping[str, list[int]] = run.get("processes", {})
    if not started:
        return
    gone = [name for name, pids in started.items() if not all(_runs(pid) for pid in pids)]
    yield Line("processes", ", ".join(f"{name} {pids[0]}" for name, pids in started.items()), not gone)
    if gone:
        yield Line("", f"not running: {', '.join(gone)} (see var/log)", False)


def _runs(pid: int) -> bool:
    found = processes.stat(pid)
    return found is not None and found.alive


def _reason(problem: Mapping[str, Any]) -> str:
    return str(problem.get("detail") or problem.get("title") or "unknown")
