"""`./scripts/test`: every check beside the tests, whose summary is the last thing said."""

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
"""What pytest, too, is told: without it there are no tests with RabbitMQ, and it needn't be installed."""


def main(argv: list[str]) -> int:
    """Run everything; 0 only if nothing failed. Arguments go to pytest.

    Raises:
        SetupError: something that only the tests need can't be installed.
    """
    packages.ensure_program("curl")  # for the README's tour
    packages.ensure_pgbouncer()
    packages.ensure_plpgsql_check()
    packages.ensure_browser()  # for the pages
    if WITH_RABBITMQ in argv:
        packages.ensure_rabbitmq()
    env = os.environ | {"PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"}
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "failed"
        # pytest is busy with one thing after the other when it begins: there is a processor for them.
        checking = threading.Thread(target=_check, args=(env, outcome))
        checking.start()
        code = _pytest(argv, env | {OUTCOME: str(outcome)})
        checking.join()
        return code or (1 if outcome.read_text() else 0)


def _check(env: dict[str, str], outcome: Path) -> None:
    """Run all checks at once, and write down which failed."""
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
    """Ctrl-C reaches pytest from the terminal; this process only has to outlive it."""
    # A process of tests that dies is a failure to be looked at; pytest-xdist can stand still after replacing one.
    stays = ["--max-worker-restart", "0"]
    # One more than two processors: tests that wait for other processes leave theirs to the next one. The order is ours.
    spread = ["-n", "3", "--dist", "loadgroup", "--no-loadscope-reorder", *stays]
    command = [sys.executable, "-m", "pytest", "-p", "scripts.commands.test.pytest_plugin", *spread, *argv]
    tests = subprocess.Popen(command, cwd=ROOT, env=env)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: tests.terminate())
    return tests.wait()
