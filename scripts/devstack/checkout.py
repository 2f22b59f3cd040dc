"""Copy the sources of this checkout, with uncommitted changes, to try something without changing them."""

import shutil
import subprocess
from pathlib import Path

from scripts.devstack.environment import ROOT, VENV


def copy_sources(folder: Path) -> None:
    """Copy all files that git knows or would add, and link the virtual environment."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(VENV)
