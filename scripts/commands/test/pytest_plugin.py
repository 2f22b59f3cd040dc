"""pytest plugin of `./scripts/test`: its summary waits for the other checks and names those that failed."""

import os
import time
from pathlib import Path
from typing import Any

OUTCOME = "COMPANON_CHECKS"
"""Environment variable: path of the file with the names of failed checks, written when all have finished."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the failed checks above the last line."""
    outcome = Path(os.environ[OUTCOME])
    while not outcome.exists():
        time.sleep(0.05)
    if failed := outcome.read_text():
        terminalreporter.section("failed checks", red=True)
        terminalreporter.line(f"{failed} (details are above)")
