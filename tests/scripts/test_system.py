"""Tests of the real system that `./scripts/up` starts."""

import json
import socket
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from scripts.devstack import procfile
from scripts.devstack.environment import ROOT
from settings import PROCESSES, variables
from tests.scripts.conftest import is_running


def test_system_runs_each_process_of_the_procfile_and_is_ready(system):
    expected = {"postgres", "redis", "mail", *procfile.read(ROOT / "Procfile")} - {"release"}

    with urllib.request.urlopen(f"{system.api}/readyz", timeout=60) as response:
        ready = json.load(response)

    assert ready["status"] == "ok"
    assert set(system.run["processes"]) == expected
    # Read the file again: other tests kill processes, and the supervisor replaces them.
    processes = json.loads((system.var / "run.json").read_text())["processes"]
    assert [name for name, pids in processes.items() if not is_running(pids[0])] == []


def test_process_environment_has_only_variables_that_it_reads(system):
    for name in PROCESSES[1:]:
        pid = json.loads((system.var / "run.json").read_text())["processes"][name][0]
        given = {entry.partition("=")[0] for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")}

        assert given & variables() <= variables(name), name
        assert ("SECRET_KEYS" in given) == (name in ("web", "worker", "seal"))


def test_api_listens_on_the_loopback_interface_only(system):
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as routed:
        routed.connect(("192.0.2.1", 9))  # Sends no packet; selects the local address of the route.
        address = routed.getsockname()[0]

    with closing(socket.socket()) as other:
        other.settimeout(2)
        assert address.startswith("127.") or other.connect_ex((address, urlsplit(system.api).port)) != 0
