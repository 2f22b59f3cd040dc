"""Whole systems of toy processes: the real servers, and a Procfile whose processes start at once."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.devstack import processes, sockets
from scripts.devstack.environment import PYTHON, ROOT
from scripts.devstack.processes import Record

TOY = Path(__file__).parent / "toy" / "Procfile"


def eventually(condition: Callable[[], object], within: float = 120.0) -> None:
    """Wait until a condition holds, and fail when it doesn't."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def living(pid: int) -> bool:
    """Whether a process runs."""
    found = processes.stat(pid)
    return found is not None and found.alive


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Yield an unrelated process."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


class Up:
    """A `scripts/up` in the foreground, on a directory that may have been used before."""

    def __init__(self, var: Path, *options: object, procfile: Path = TOY, **env: str) -> None:
        self.var = var
        self.output = var / "terminal"
        var.mkdir(exist_ok=True)
        argv = [PYTHON, ROOT / "scripts" / "up", "--var", var, "--procfile", procfile, *options]
        with self.output.open("w") as terminal:
            self.process = subprocess.Popen(
                [str(word) for word in argv], stdout=terminal, stderr=subprocess.STDOUT, env=os.environ | env
            )

    @property
    def run(self) -> dict:
        """What run.json says."""
        return json.loads((self.var / "run.json").read_text())

    @property
    def said(self) -> str:
        """What the terminal shows."""
        return self.output.read_text()

    def log(self, name: str) -> str:
        """Return the output of a process."""
        return (self.var / "log" / f"{name}.log").read_text()

    def until_ready(self) -> "Up":
        """Wait for it."""
        eventually(lambda: "Ready after" in self.said or self.process.poll() is not None)
        assert self.process.poll() is None, self.said
        eventually(lambda: (self.var / "run.json").exists())
        return self

    def pid(self, name: str) -> int:
        """Return the main process of a name."""
        return self.run["processes"][name][0]

    def worker_child(self) -> int:
        """Return the newest child of the toy worker."""
        return int(self.log("worker").rpartition("child ")[2].split()[0])

    def everything(self) -> list[int]:
        """All that it has started, as far as it says so."""
        return [pid for pids in self.run["processes"].values() for pid in pids] + [self.worker_child()]

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def ends(self, within: float = 120.0) -> int:
        """Its exit status."""
        return self.process.wait(timeout=within)


@pytest.fixture(scope="module")
def used(migrated_cluster: Path) -> Iterator[Path]:
    """Return a directory for systems of this module with a migrated database, so that starts are quick."""
    folder = Path(tempfile.mkdtemp(prefix="companon-toys-", dir="/tmp"))
    folder.chmod(0o711)
    subprocess.run(["cp", "--archive", migrated_cluster, folder / "pg"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(used: Path) -> Iterator[Callable[..., Up]]:
    """Start a toy system; whatever the test does, nothing of it is left afterwards."""
    started = []

    def begin(*options: object, **rest) -> Up:
        if "--port" not in options:
            options = ("--port", sockets.free_port(), *options)
        started.append(Up(used, *options, **rest))
        return started[-1]

    yield begin
    for up in started:
        if up.process.poll() is None:
            up.process.kill()
            up.process.wait()
    subprocess.run([ROOT / "scripts" / "down", "--var", used], check=True, capture_output=True)
    assert [record for path in (used / "run").glob("*.pid") if (record := Record.read(path)) and record.alive] == []
