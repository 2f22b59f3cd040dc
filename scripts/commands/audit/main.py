"""Run `./scripts/audit` in the environment of the chosen system."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping

from scripts.commands.audit import options
from scripts.devstack import secrets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import SetupError

DATABASE_VARIABLES = (
    "DATABASE_URL",
    "DATABASE_ACCOUNT_URL",
    "DATABASE_SCAN_URL",
    "DATABASE_WORKER_URL",
    "DATABASE_SEAL_URL",
    "DATABASE_DIRECT_URL",
)


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    command = [sys.executable, "-m", "scripts.commands.audit.commands", *argv]
    return subprocess.run(command, env=environment(given.var, os.environ), check=False).returncode


def environment(var: os.PathLike[str], own: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment. If it names no system, add the settings of this machine's system.

    Raises:
        SetupError: the files of that system can't be read.
    """
    folder = ROOT / var
    env = {**own, "PYTHONPATH": str(ROOT)}
    if "SECRET_KEYS" in own or not (folder / "secrets.json").exists():
        return env
    try:
        env["SECRET_KEYS"] = secrets.load_or_make(folder / "secrets.json").secret_keys
        env["AUDIT_CHECKPOINT_URL"] = f"file://{folder.resolve() / 'checkpoints'}"
        if (folder / "run.json").exists():
            run = json.loads((folder / "run.json").read_text())
            env |= {name: run[name.lower()] for name in DATABASE_VARIABLES}
    except (OSError, ValueError, KeyError) as error:
        raise SetupError(f"{folder}: {error}") from None
    return env
