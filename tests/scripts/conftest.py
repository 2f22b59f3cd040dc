"""Fixtures that start systems of toy processes: real servers, and a Procfile whose processes start quickly."""

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
    """Wait until a condition holds; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {within:g} s"
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Return whether a process runs."""
    found = processes.stat(pid)
    return found is not None and found.alive


@pytest.fixture
def sleeper() -> Iterator["subprocess.Popen[bytes]"]:
    """Yield an unrelated process."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


class Up:
    """`scripts/up` in the foreground, in a directory that earlier systems may have used."""

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
        """Return the content of run.json."""
        return json.loads((self.var / "run.json").read_text())

    @property
    def printed(self) -> str:
        """Return the output of the terminal."""
        return self.output.read_text()

    def log(self, name: str) -> str:
        """Return the output of a process."""
        return (self.var / "log" / f"{name}.log").read_text()

    def until_ready(self) -> "Up":
        """Wait until the system is ready."""
        eventually(lambda: "Ready after" in self.printed or self.process.poll() is not None)
        assert self.process.poll() is None, self.printed
        eventually(lambda: (self.var / "run.json").exists())
        return self

    def pid(self, name: str) -> int:
        """Return the main process of a name."""
        return self.run["processes"][name][0]

    def worker_child(self) -> int:
        """Return the newest child of the toy worker."""
        return int(self.log("worker").rpartition("child ")[2].split()[0])

    def all_pids(self) -> list[int]:
        """Return the processes of run.json and the child of the worker."""
        return [pid for pids in self.run["processes"].values() for pid in pids] + [self.worker_child()]

    def interrupt(self) -> None:
        """Send the signal of Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def exit_status(self, within: float = 120.0) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(timeout=within)


@pytest.fixture(scope="module")
def used(migrated_cluster: Path) -> Iterator[Path]:
    """Return a directory with a migrated database for the systems of this module: their starts are quick."""
    folder = Path(tempfile.mkdtemp(prefix="companon-toys-", dir="/tmp"))
    folder.chmod(0o711)
    subprocess.run(["cp", "--archive", migrated_cluster, folder / "pg"], check=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def start(used: Path) -> Iterator[Callable[..., Up]]:
    """Return a function that starts a toy system, and end all its processes afterwards."""
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
