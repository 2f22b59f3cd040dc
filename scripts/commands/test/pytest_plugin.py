"""The part that pytest has in `./scripts/test`: its summary waits for the checks, and names those that failed."""

import os
import time
from pathlib import Path
from typing import Any

OUTCOME = "COMPANON_CHECKS"
"""Names the file that is there when all checks are over: the names of those that have failed."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say above the last line which checks have failed."""
    outcome = Path(os.environ[OUTCOME])
    while not outcome.exists():
        time.sleep(0.05)
    if failed := outcome.read_text():
        terminalreporter.section("failed beside the tests", red=True)
        terminalreporter.line(f"{failed} (details are above)")
