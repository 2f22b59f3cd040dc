"""Generators and linters of the npm lock file, and the Python generator, as commands for one document."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scripts.devstack.environment import ROOT, VENV

HERE = ROOT / "tests" / "clients"
PROGRAMS = HERE / "programs"
NPM_FILES = ("package.json", "package-lock.json", ".npmrc")
INSTALLED = ROOT / "build" / "clients"
"""Ignored directory with one installation for each lock file."""

QUIET = {
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    "NO_COLOR": "1",
    "CI": "true",
}
"""Variables that switch off telemetry, update notices and colours."""


def run(command: Sequence[str | Path], cwd: Path, npm: Path | None = None, **more: str) -> str:
    """Run a command and return what it prints. Fail with all of it if its status is not 0.

    Args:
        command: a program and its arguments.
        cwd: the directory to run it in.
        npm: the directory of npm packages whose programs it may name, besides those of `.venv`.
        more: variables added to the environment.
    """
    folders = [*([npm / ".bin"] if npm else []), VENV / "bin", os.environ.get("PATH", "/usr/bin:/bin")]
    env = os.environ | QUIET | {"PATH": ":".join(map(str, folders))} | more
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, f"{command[0]} returned {done.returncode}:\n{done.stdout}"
    return done.stdout


def node_modules() -> Path:
    """Return the directory of the locked npm packages. Install them if this lock file is new."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in NPM_FILES)).hexdigest()[:16]
    INSTALLED.mkdir(parents=True, exist_ok=True)
    with (INSTALLED / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = INSTALLED / digest
        if not folder.exists():
            _install(folder)
    return folder / "node_modules"


def _install(folder: Path) -> None:
    """Install into another directory first: an interrupted installation is repeated."""
    for old in INSTALLED.iterdir():
        if old.is_dir():
            shutil.rmtree(old)
    unfinished = folder.with_suffix(".unfinished")
    unfinished.mkdir()
    for name in NPM_FILES:
        shutil.copy(HERE / name, unfinished)
    run(["npm", "ci"], unfinished)
    unfinished.rename(folder)


def python_client(document: Path, folder: Path) -> Path:
    """Run openapi-python-client with its defaults. Return the directory of the generated package."""
    command = ["openapi-python-client", "generate", "--path", document, "--output-path", folder / "generated"]
    printed = run(command, folder)
    (folder / "printed").write_text(printed)
    (package,) = (path.parent for path in (folder / "generated").glob("*/client.py"))
    return package


def typescript_clients(document: Path, node_modules: Path, folder: Path) -> Path:
    """Run openapi-typescript and hey-api with their defaults, and copy the programs beside their output."""
    for path in [*PROGRAMS.glob("*.ts"), PROGRAMS / "tsconfig.json"]:
        shutil.copy(path, folder)
    (folder / "node_modules").symlink_to(node_modules)
    run(["openapi-typescript", document, "--output", "generated/openapi-typescript/api.ts"], folder, node_modules)
    run(["openapi-ts", "--input", document, "--output", "generated/hey-api", "--no-log-file"], folder, node_modules)
    return folder
