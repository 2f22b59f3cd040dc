"""Create the virtual environment `.venv` from a lock file with hashes. A stamp file marks a finished one."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.devstack import packages
from scripts.devstack.progress import attempt, fail, run, say

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "companon.json"
INCLUDES = {"runtime": ("runtime", "dev"), "dev": ("dev",)}
"""Lock files that satisfy a need: the development lock contains the runtime lock."""


def ready(lock: str) -> bool:
    """Return whether `.venv` is finished and contains the packages of `lock` ("runtime" or "dev")."""
    stamp = _stamp()
    return _usable(stamp) and any(stamp.get("lock") == _hash(name) for name in INCLUDES[lock])


def ensure(lock: str) -> None:
    """Install the packages of `lock` into `.venv`; create it if needed.

    Raises:
        SetupError: the installation failed; carries the installer's output.
    """
    if not os.access(ROOT, os.W_OK):
        fail(f"{ROOT} is not writable, so .venv can't be created or renewed there.")
    if VENV.is_symlink() or not _usable(_stamp()):
        _create()
    # An interrupted installation leaves no stamp, so the next command repeats it.
    STAMP.unlink(missing_ok=True)
    _install(lock)
    _write_stamp(lock)


def keep_bytecode() -> None:
    """Let the processes of this command store bytecode: each starts in half the time.

    With `PYTHONDONTWRITEBYTECODE` set, the bytecode goes to `.venv` instead of the source directories.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ.setdefault("PYTHONPYCACHEPREFIX", str(VENV / "bytecode"))


def _stamp() -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def _usable(stamp: dict[str, str]) -> bool:
    """Return whether the environment was created at this path, or where its link leads, and its Python exists."""
    here = {"path": os.path.realpath(VENV), "python": os.path.realpath(PYTHON)}
    return here.items() <= stamp.items() and _runs(PYTHON)


def _runs(executable: Path) -> bool:
    return os.access(executable, os.X_OK)


def _write_stamp(lock: str) -> None:
    stamp = {"path": os.path.realpath(VENV), "python": os.path.realpath(PYTHON), "lock": _hash(lock)}
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(stamp))
    unfinished.replace(STAMP)


def _hash(lock: str) -> str:
    return hashlib.sha256(_lock_file(lock).read_bytes()).hexdigest()


def _lock_file(lock: str) -> Path:
    return ROOT / "requirements" / f"{lock}.txt"


def _create() -> None:
    if VENV.is_symlink():
        fail(f"{VENV} is a symbolic link to an environment of another checkout: remove it (rm {VENV}) and try again")
    if VENV.exists():
        say("Replacing .venv: it is unfinished, it was copied here, or its Python is missing")
        shutil.rmtree(VENV)
    interpreter = packages.python() or fail("Missing package: python3-venv")
    run("Creating the virtual environment", [interpreter, "-m", "venv", str(VENV)])


def _install(lock: str) -> None:
    """Install with uv (2 s). If uv fails, install with pip (40 s)."""
    title = f"Installing Python packages ({lock})"
    # A lock file is complete, except for dependencies that are left out on purpose (requirements/without.txt).
    requirements = ["--no-deps", "--require-hashes", "-r", str(_lock_file(lock))]
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    code, _ = attempt("Installing uv", [*pip, "--require-hashes", "-r", str(_lock_file("uv"))])
    if code == 0:
        uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON), *_cache(), *requirements]
        code, tail = attempt(title, uv, env=_uv_environment())
        if code == 0:
            return
        say("  uv failed (" + (tail[-1] if tail else f"status {code}") + "); trying pip")
    run(title, [*pip, *requirements])


def _cache() -> list[str]:
    """Return the options that disable uv's cache for a user without a writable home."""
    return [] if os.access(Path.home(), os.W_OK) else ["--no-cache"]


def _uv_environment() -> dict[str, str]:
    """Translate pip's index settings, which uv doesn't read, into uv's."""
    names = {"PIP_INDEX_URL": "UV_INDEX_URL", "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL", "PIP_CERT": "SSL_CERT_FILE"}
    handed = {theirs: os.environ[ours] for ours, theirs in names.items() if ours in os.environ}
    return {**handed, **os.environ}


@contextmanager
def exclusively() -> Iterator[None]:
    """Hold the lock of this checkout, so that one preparation runs at a time."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another command that prepares this checkout")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
