"""Copy the sources of this checkout, with uncommitted changes, to try something without changing them."""

import shutil
import subprocess
from importlib.util import cache_from_source
from pathlib import Path

from scripts.devstack.environment import ROOT, VENV


def copy_sources(folder: Path) -> None:
    """Copy all files that git knows or would add, with their bytecode, and link the virtual environment."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
            _copy_bytecode(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(VENV)


def _copy_bytecode(source: Path, target: Path) -> None:
    # Python accepts bytecode by time and size of its source, which the copy keeps.
    cache = Path(cache_from_source(str(source))).parent
    for cached in cache.glob(f"{source.stem}.*.pyc") if source.suffix == ".py" else ():
        (target.parent / "__pycache__").mkdir(exist_ok=True)
        shutil.copy2(cached, target.parent / "__pycache__")
