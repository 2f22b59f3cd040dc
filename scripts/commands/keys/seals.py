"""Check for audit entries whose chain needs a root secret that is to be removed."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.commands.audit.main import environment
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail

ADVICE = (
    "nobody could verify them any more. They go by themselves in time (AUDIT_RETENTION_YEARS). Or keep what verifies"
    " them elsewhere (./scripts/audit export, ./scripts/audit keys --mac), and say --abandon-seals"
)


def require_none(version: int, var: Path | None) -> None:
    """Refuse the removal while there are such entries.

    Args:
        version: version of the root secret.
        var: directory of the system on this machine; None: the environment has the database's address.

    Raises:
        SetupError: there are such entries, or the database is unavailable.
    """
    entries = _entries_by_version(var)
    if entries is None:
        fail("The database doesn't say whether audit entries are sealed under it; --abandon-seals doesn't ask")
    if found := entries.get(str(version)):
        fail(f"{found:,} audit entries are sealed under version {version}: {ADVICE}")


def _entries_by_version(var: Path | None) -> dict[str, int] | None:
    env = dict(os.environ)
    if var is not None:
        if not (var / "run.json").exists():
            return None
        env = environment(var, {name: text for name, text in env.items() if name != "SECRET_KEYS"})
    command = [sys.executable, "-m", "scripts.commands.audit.commands", "versions"]
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, check=False)
    found: dict[str, int] | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found
