"""Find missing packages of the operating system and install them without starting services."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.devstack.progress import fail, run, say

OLDEST_POSTGRES = 15
OLDEST_PYTHON = (3, 11)
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Temporary, from scripts/up: no service starts while its packages are installed.\nexit 101\n"
CLUSTERS = Path("/etc/postgresql-common/createcluster.d/companon.conf")
CLUSTERS_TEXT = "# Temporary, from scripts/up: it runs a private cluster.\ncreate_main_cluster = false\n"


@dataclass(frozen=True)
class Postgres:
    """An installation of PostgreSQL."""

    version: int
    bin: Path
    share: Path

    @property
    def has_postgis(self) -> bool:
        """Return whether `create extension postgis` would work."""
        return (self.share / "extension" / "postgis.control").exists()


def postgres() -> Postgres | None:
    """Return the newest installed PostgreSQL 15 or later that has PostGIS."""
    return _newest(_debian()) or _newest(_on_path())


def _newest(installations: Iterator[Postgres]) -> Postgres | None:
    usable = [found for found in installations if found.version >= OLDEST_POSTGRES and found.has_postgis]
    return max(usable, key=lambda found: found.version, default=None)


def _debian() -> Iterator[Postgres]:
    for server in Path("/usr/lib/postgresql").glob("*/bin/postgres"):
        name = server.parent.parent.name
        if name.isdigit():
            yield Postgres(int(name), server.parent, Path("/usr/share/postgresql") / name)


def _on_path() -> Iterator[Postgres]:
    """Yield the installation that `pg_config` describes, for systems without Debian's layout."""
    if config := shutil.which("pg_config"):
        answers = [_output([config, question]) for question in ("--version", "--bindir", "--sharedir")]
        version = re.search(r"\d+", answers[0])
        if version and (Path(answers[1]) / "initdb").exists():
            yield Postgres(int(version.group()), Path(answers[1]), Path(answers[2]))


def redis_server() -> str | None:
    """Return the path of redis-server."""
    return shutil.which("redis-server", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")


def rabbitmq_server() -> str | None:
    """Return the path of rabbitmq-server. Debian's wrapper in /usr/sbin would change the user."""
    return shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin:" + os.environ.get("PATH", ""))


def pgbouncer() -> str | None:
    """Return the path of pgbouncer, which Debian installs in /usr/sbin."""
    return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")


def python() -> str | None:
    """Return a Python for the virtual environment: the system's, which any user can run, or the running one."""
    return next(filter(_can_make_environments, ("/usr/bin/python3", getattr(sys, "_base_executable", ""))), None)


def _can_make_environments(executable: str) -> bool:
    check = f"import ensurepip, sys, venv; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    return bool(executable) and Path(executable).exists() and _status([executable, "-c", check]) == 0


def missing(*, environment: bool) -> list[str]:
    """Return Debian's names of missing packages, with `environment` also those for a virtual environment."""
    absent = []
    if postgres() is None:
        version = _postgres_to_install()
        absent += [f"postgresql-{version}", f"postgresql-{version}-postgis-3"]
    if redis_server() is None:
        absent.append("redis-server")
    if environment and python() is None:
        absent.append("python3-venv")
    return absent


def _postgres_to_install() -> int:
    """Return the newest version that this distribution has PostGIS for; Debian 12's version if its index is empty."""
    names = _output(["apt-cache", "pkgnames", "postgresql-"]).split()
    versions = [int(match[1]) for name in names if (match := re.fullmatch(r"postgresql-(\d+)-postgis-3", name))]
    return max((version for version in versions if version >= OLDEST_POSTGRES), default=OLDEST_POSTGRES)


def ensure(*, environment: bool) -> None:
    """Install the missing packages.

    Raises:
        SetupError: a package can't be installed from here; names the packages.
    """
    _ensure(lambda: missing(environment=environment))


def ensure_program(name: str) -> None:
    """Install a missing program from the package of the same name.

    Raises:
        SetupError: it can't be installed from here; names the package.
    """
    _ensure(lambda: [] if shutil.which(name) else [name])


def ensure_rabbitmq() -> None:
    """Install RabbitMQ unless it is installed. Only some tests need it.

    Raises:
        SetupError: it can't be installed from here; names the package.
    """
    _ensure(lambda: [] if rabbitmq_server() else ["rabbitmq-server"])


def ensure_pgbouncer() -> None:
    """Install PgBouncer unless it is installed. Only tests need it.

    Raises:
        SetupError: it can't be installed from here; names the package.
    """
    _ensure(lambda: [] if pgbouncer() else ["pgbouncer"])


def ensure_plpgsql_check() -> None:
    """Install plpgsql_check unless it is installed. Only tests need it.

    Raises:
        SetupError: the package can't be installed; names it.
    """

    def absent() -> list[str]:
        found = postgres()
        installed = found and (found.share / "extension" / "plpgsql_check.control").exists()
        return [] if installed or found is None else [f"postgresql-{found.version}-plpgsql-check"]

    _ensure(absent)


def ensure_browser() -> None:
    """Install Chromium and its driver unless they are installed. Only tests need them.

    Raises:
        SetupError: the packages can't be installed; names them.
    """
    programs = {"chromium": "chromium", "chromedriver": "chromium-driver"}
    _ensure(lambda: [package for program, package in programs.items() if shutil.which(program) is None])


def _ensure(find_absent: Callable[[], list[str]]) -> None:
    absent = find_absent()
    if not absent:
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        fail(_advice(absent))
    with no_services():
        # Finish an interrupted installation: apt-get refuses to work before that.
        run("Checking packages", ["dpkg", "--configure", "-a"], env=_apt_environment())
    run("Updating apt's index", ["apt-get", "update", "-q"], env=_apt_environment())
    absent = find_absent()  # The names depend on the index that was just fetched.
    say("Installing " + ", ".join(absent))
    with no_services():
        run("Installing packages", _install(absent), env=_apt_environment())
    if still := find_absent():
        fail(f"apt-get succeeded, but these are still missing: {' '.join(still)}")


def _advice(absent: Sequence[str]) -> str:
    names = " ".join(absent)
    if shutil.which("apt-get"):
        return f"Missing packages: {names}\nAs root: apt-get install --no-install-recommends {names}"
    return f"Missing packages (Debian's names; PostgreSQL {OLDEST_POSTGRES} or newer, Redis 7 or newer): {names}"


def _install(names: Sequence[str]) -> list[str]:
    options = ["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0"]
    return ["apt-get", "install", "-q", "-y", "--no-install-recommends", *options, *names]


def _apt_environment() -> dict[str, str]:
    return os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}


@contextmanager
def no_services() -> Iterator[None]:
    """Prevent packages from creating a system cluster and from starting services while the body runs."""
    with temporary(POLICY, POLICY_TEXT, mode=0o755), temporary(CLUSTERS, CLUSTERS_TEXT, mode=0o644):
        yield


@contextmanager
def temporary(path: Path, text: str, *, mode: int) -> Iterator[None]:
    """Write a file for the duration of the body; then restore the previous file and remove new directories.

    If a run is killed before it restores them, the next run does.
    """
    saved = path.with_name(path.name + ".before-companon")
    made = _make_parents(path)
    if path.exists() and not (saved.exists() or path.read_text() == text):
        path.rename(saved)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if saved.exists():
            saved.rename(path)
        for folder in made:
            _remove_if_empty(folder)


def _make_parents(path: Path) -> list[Path]:
    """Create the directories above `path`; return the new ones, innermost first."""
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    return made


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _output(argv: Sequence[str]) -> str:
    """Return the output of a command, or an empty text if it is missing or fails."""
    if shutil.which(argv[0]) is None:
        return ""
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def _status(argv: Sequence[str]) -> int:
    return subprocess.run(argv, capture_output=True, check=False).returncode
