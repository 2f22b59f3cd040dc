"""A private copy of the checkout with its own servers, in which faults are tried."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from scripts.commands.mutate.faults import Fault
from scripts.devstack.checkout import copy_sources
from scripts.devstack.progress import output

TEST_SECONDS = 120
"""Seconds that one test may take; a fault that makes a test longer counts as noticed."""
GRACE_SECONDS = 30
"""Seconds that pytest has to end its processes after SIGINT."""
NO_TEST = "(no test: pytest ended before)"
MIGRATE = "from tests.support.servers import Servers; Servers().fresh_database('companon_main')"


class Outcome(StrEnum):
    """Result of one fault."""

    NOTICED = "noticed"
    SURVIVED = "survived"
    INVALID = "invalid"
    """The file doesn't compile or migrate."""
    UNRELIABLE = "unreliable"
    """The test that failed also fails without the fault."""


@dataclass(frozen=True)
class Trial:
    """One fault and its result."""

    fault: Fault
    outcome: Outcome
    seconds: float
    test: str = ""
    """The test that failed."""


@contextmanager
def private_copy() -> Iterator["Checkout"]:
    """Copy the checkout with its uncommitted changes, and start servers for its tests. Remove both afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="companon-mutate-", dir="/tmp"))
    try:
        copy_sources(folder)
        folder.chmod(0o755)  # PostgreSQL of tests runs as another user when root runs the tests.
        with _servers() as environment:
            yield Checkout(folder, environment)
    finally:
        shutil.rmtree(folder)


@contextmanager
def _servers() -> Iterator[dict[str, str]]:
    """Start PostgreSQL and Redis as pytest does, and yield the environment that leads to them."""
    from tests.support.servers import Servers  # Sets the environment of this process.

    streams = output.streams
    servers = Servers()
    output.streams = streams  # `Servers` silences them for pytest.
    try:
        servers.start()
        yield dict(os.environ)
    finally:
        servers.stop()


class Checkout:
    """A copy of the sources and the servers of its tests."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = {**environment, "PYTHONDONTWRITEBYTECODE": "1"}
        self._confirmed: set[str] = set()

    def try_fault(self, fault: Fault, tests: Sequence[str]) -> Trial:
        """Insert one fault, run the tests until the first failure, and remove the fault."""
        started = time.monotonic()
        file = self.folder / fault.path
        file.write_text(fault.mutated)
        try:
            if not self._is_valid(fault):
                return Trial(fault, Outcome.INVALID, time.monotonic() - started)
            failed = self._failing_test(tests)
        finally:
            file.write_text(fault.original)
        seconds = time.monotonic() - started
        if failed is None:
            return Trial(fault, Outcome.SURVIVED, seconds)
        if not self._passes_without_fault(failed):
            return Trial(fault, Outcome.UNRELIABLE, seconds, failed)
        return Trial(fault, Outcome.NOTICED, seconds, failed)

    def _is_valid(self, fault: Fault) -> bool:
        command = MIGRATE
        if fault.path.suffix == ".py":
            module = ".".join(fault.path.with_suffix("").parts).removesuffix(".__init__")
            command = f"import importlib; importlib.import_module({module!r})"
        return self._run([sys.executable, "-c", command]) == 0

    def _failing_test(self, tests: Sequence[str]) -> str | None:
        """Return the id of the first test that fails, `NO_TEST` if pytest fails without one, or None."""
        failures = self.folder / ".pytest_cache" / "v" / "cache" / "lastfailed"
        failures.unlink(missing_ok=True)
        if self._pytest("-x", "--timeout", str(TEST_SECONDS), *tests) == 0:
            return None
        return next(iter(json.loads(failures.read_text())), NO_TEST) if failures.exists() else NO_TEST

    def _passes_without_fault(self, test: str) -> bool:
        if test == NO_TEST:
            return self._pytest("--collect-only", "tests/models") == 0
        if test not in self._confirmed and self._failing_test([test]) is None:
            self._confirmed.add(test)
        return test in self._confirmed

    def _pytest(self, *arguments: str) -> int:
        return self._run([sys.executable, "-m", "pytest", "-q", "--no-header", *arguments])

    def _run(self, command: Sequence[str]) -> int:
        """Run a command in the copy, and end all its processes if this one is interrupted."""
        child = subprocess.Popen(
            command, cwd=self.folder, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait()
        finally:
            _end(child)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a process and its session: send SIGINT, then SIGKILL after `GRACE_SECONDS`."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
