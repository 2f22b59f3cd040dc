"""The virtual environment in `.venv`, made from a lock file with hashes and known by a stamp."""

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
"""Which locks serve a need: the development lock holds all that the runtime lock does."""


def ready(lock: str) -> bool:
    """Whether `.venv` is whole and holds what `lock` ("runtime" or "dev") asks for."""
    stamp = _stamp()
    return _usable(stamp) and any(stamp.get("lock") == _hash(name) for name in INCLUDES[lock])


def ensure(lock: str) -> None:
    """Make `.venv` hold what `lock` asks for.

    Raises:
        SetupError: it can't be made; carries what the installer said.
    """
    if not os.access(ROOT, os.W_OK):
        fail(f"{ROOT} isn't writable, and the virtual environment in .venv has to be made or renewed.")
    if not _usable(_stamp()):
        _create()
    # Without its stamp an environment is taken for broken: that is what an interrupted installation leaves.
    STAMP.unlink(missing_ok=True)
    _install(lock)
    _write_stamp(lock)


def keep_bytecode() -> None:
    """Have this command's processes keep what they compile: each of them starts in half the time.

    Whoever doesn't want that among the sources (`PYTHONDONTWRITEBYTECODE`) has it in `.venv`.
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
    """Whether the environment was finished, here (a copied one runs its origin's), on a Python that is still there."""
    return stamp.get("path") == str(VENV) and stamp.get("python") == os.path.realpath(PYTHON) and _runs(PYTHON)


def _runs(executable: Path) -> bool:
    return os.access(executable, os.X_OK)


def _write_stamp(lock: str) -> None:
    stamp = {"path": str(VENV), "python": os.path.realpath(PYTHON), "lock": _hash(lock)}
    unfinished = STAMP.with_suffix(".new")
    unfinished.write_text(json.dumps(stamp))
    unfinished.replace(STAMP)


def _hash(lock: str) -> str:
    return hashlib.sha256(_lock_file(lock).read_bytes()).hexdigest()


def _lock_file(lock: str) -> Path:
    return ROOT / "requirements" / f"{lock}.txt"


def _create() -> None:
    if VENV.is_symlink():
        fail(f"{VENV} is a link to an environment that does not fit this checkout: remove it (rm {VENV}) and try again")
    if VENV.exists():
        say("Replacing .venv: it is unfinished, was copied here, or its Python is gone")
        shutil.rmtree(VENV)
    interpreter = packages.python() or fail("Missing package: python3-venv")
    run("Making the virtual environment", [interpreter, "-m", "venv", str(VENV)])


def _install(lock: str) -> None:
    """With uv when it can be had (2 s), else with pip (40 s)."""
    title = f"Installing Python packages ({lock})"
    requirements = ["--require-hashes", "-r", str(_lock_file(lock))]
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    code, _ = attempt("Getting uv", [*pip, "--require-hashes", "-r", str(_lock_file("uv"))])
    if code == 0:
        uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(PYTHON), *_cache(), *requirements]
        code, tail = attempt(title, uv, env=_uv_environment())
        if code == 0:
            return
        say("  uv couldn't (" + (tail[-1] if tail else f"status {code}") + "); trying pip")
    run(title, [*pip, *requirements])


def _cache() -> list[str]:
    """A user without a home can't have a cache."""
    return [] if os.access(Path.home(), os.W_OK) else ["--no-cache"]


def _uv_environment() -> dict[str, str]:
    """uv doesn't read pip's settings: hand on those that say where packages come from."""
    names = {"PIP_INDEX_URL": "UV_INDEX_URL", "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL", "PIP_CERT": "SSL_CERT_FILE"}
    handed = {theirs: os.environ[ours] for ours, theirs in names.items() if ours in os.environ}
    return {**handed, **os.environ}


@contextmanager
def exclusively() -> Iterator[None]:
    """One preparation of this checkout at a time."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another command is preparing this checkout; waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
