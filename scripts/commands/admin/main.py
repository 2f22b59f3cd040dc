"""Run `./scripts/admin` in the environment of the chosen system."""

import os
import subprocess
import sys

from scripts.commands.admin import options
from scripts.commands.audit.main import environment


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    command = [sys.executable, "-m", "scripts.commands.admin.commands", *argv]
    return subprocess.run(command, env=environment(given.var, os.environ), check=False).returncode
