"""Count the audit entries that are sealed under a root secret, before it is retired."""

import json
import os
import subprocess
import sys
from pathlib import Path

from scripts.commands.audit.main import environment
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail

ADVICE = (
    "they could no longer be verified. Wait until they are deleted (AUDIT_RETENTION_YEARS), or export them with their"
    " keys (./scripts/audit export, ./scripts/audit keys --mac) and pass --abandon-seals"
)


def require_none(version: int, var: Path | None) -> None:
    """Fail if audit entries are sealed under a version of the root secret.

    Args:
        version: version of the root secret.
        var: directory of the system on this machine; None to use the database of the environment.

    Raises:
        SetupError: such entries exist, or the database can't be queried.
    """
    entries = _entries_by_version(var)
    if entries is None:
        fail(f"The database can't be queried for audit entries of version {version}; --abandon-seals skips the check")
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
