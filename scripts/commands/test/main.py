"""`./scripts/test`: run pytest, and every other check at the same time. pytest's summary is the last line."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.commands.test.pytest_plugin import OUTCOME
from scripts.devstack import packages
from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.progress import say

CHECKS = {
    "ruff check": ["ruff", "check", "--quiet", "."],
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
    "mypy": ["mypy", "--no-error-summary"],
    "import-linter": ["lint-imports"],
    "squawk": ["squawk", "models/supabase/migrations/*.sql"],
}
WITH_RABBITMQ = "--with-rabbitmq"
"""Option for this command and for pytest: without it, tests with RabbitMQ are left out."""


def main(argv: list[str]) -> int:
    """Run all checks and tests. Return 0 only if nothing failed. Arguments go to pytest.

    Raises:
        SetupError: a package that only the tests need can't be installed.
    """
    packages.ensure_program("curl")  # for the tour of docs/tour.md
    packages.ensure_pgbouncer()
    packages.ensure_plpgsql_check()
    packages.ensure_browser()  # for the pages
    if WITH_RABBITMQ in argv:
        packages.ensure_rabbitmq()
    env = os.environ | {"PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "failed"
        # pytest uses one processor while it collects, so run the checks meanwhile.
        checking = threading.Thread(target=_check, args=(env, outcome))
        checking.start()
        code = _pytest(argv, env | {OUTCOME: str(outcome)})
        checking.join()
        return code or (1 if outcome.read_text() else 0)


def _check(env: dict[str, str], outcome: Path) -> None:
    """Run all checks at once and write the names of those that failed."""
    with ThreadPoolExecutor(len(CHECKS)) as at_once:
        passed = list(at_once.map(lambda name: _passes(name, CHECKS[name], env), CHECKS))
    unfinished = outcome.with_suffix(".unfinished")
    unfinished.write_text(", ".join(name for name, ok in zip(CHECKS, passed, strict=True) if not ok))
    unfinished.rename(outcome)


def _passes(name: str, command: list[str], env: dict[str, str]) -> bool:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    mark = "✓" if done.returncode == 0 else "✗"
    say(f"{mark} {name} ({time.monotonic() - started:.1f} s)")
    if done.returncode != 0:
        say((done.stdout + done.stderr).rstrip())
    return done.returncode == 0


def _pytest(argv: list[str], env: dict[str, str]) -> int:
    """Run pytest. Ctrl-C reaches it from the terminal; this process waits for its exit."""
    # Don't replace a test process that died: pytest-xdist can hang afterwards.
    stays = ["--max-worker-restart", "0"]
    # Use one more process than processors, because some tests wait for others. Keep the order of tests/conftest.py.
    spread = ["-n", "4", "--dist", "loadgroup", "--no-loadscope-reorder", *stays]
    command = [sys.executable, "-m", "pytest", "-p", "scripts.commands.test.pytest_plugin", *spread, *argv]
    tests = subprocess.Popen(command, cwd=ROOT, env=env)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: tests.terminate())
    return tests.wait()
