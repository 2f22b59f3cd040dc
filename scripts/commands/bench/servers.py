"""Private PostgreSQL and Redis as durable as in production, and the processes that are measured on them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import urlopen

import psutil
import redis
from psycopg2.extensions import connection

from models.core.migrate import migrate
from scripts.devstack import database, processes, secrets, sockets
from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.postgres import PrivatePostgres
from scripts.devstack.progress import fail, step
from scripts.devstack.redis import PrivateRedis

READY, GO = "bench:ready", "bench:go"
"""Redis lists by which processes report that they are ready and receive the start signal."""
READY_WITHIN = 30.0


class Bench:
    """Servers under a temporary directory, a migrated database, and processes beside them."""

    cluster: ClassVar[Path | None] = None
    """Home of a migrated cluster to copy, so that tests don't create it each time."""

    def __init__(self, base: Path, **settings: str) -> None:
        self.base = base
        if self.cluster is not None:
            subprocess.run(["cp", "--archive", self.cluster, base / "pg"], check=True)
        self.postgres = PrivatePostgres(base / "pg", settings={"track_commit_timestamp": "on", **settings})
        self.redis = PrivateRedis(base / "redis")
        self._secrets = secrets.load_or_make(base / "secrets.json")
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the servers with commit timestamps, and migrate."""
        with step("Starting PostgreSQL and Redis"):
            self.postgres.start()
            self.redis.start()
        with step("Preparing the database"):
            database.ensure(self.postgres)
            migrate(self.postgres.dsn("postgres"))

    def stop(self) -> None:
        """Stop all processes and delete the data."""
        self.end_all()
        self.redis.stop()
        self.postgres.stop()
        sockets.remove(self.postgres.socket_dir)
        sockets.remove(self.redis.socket.parent)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of the measured processes."""
        return {
            **os.environ,
            "PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "DATABASE_URL": self.postgres.dsn("app_web"),
            "DATABASE_ACCOUNT_URL": self.postgres.dsn("app_account"),
            "DATABASE_SCAN_URL": self.postgres.dsn("app_scan"),
            "DATABASE_WORKER_URL": self.postgres.dsn("app_worker"),
            "DATABASE_SEAL_URL": self.postgres.dsn("app_seal"),
            "DATABASE_DIRECT_URL": self.postgres.dsn("postgres"),
            "REDIS_URL": self.redis.url,
            "SECRET_KEYS": self._secrets.secret_keys,
            "AUTH_JWKS": self._secrets.auth_jwks,
            "LOG_LEVEL": "WARNING",
            "PERSON_RATE": "100000000 per minute",  # Counted as usual, but never reached.
            "ADDRESS_RATE": "100000000 per minute",
            **more,
        }

    def superuser(self) -> connection:
        """Connect to the database as superuser in autocommit mode."""
        return database.superuser(self.postgres, database.NAME)

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a query as superuser and return its rows."""
        with closing(self.superuser()) as db, db.cursor() as cursor:
            cursor.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else []

    def client(self) -> redis.Redis:
        """Return a client of the private Redis."""
        return redis.Redis.from_url(self.redis.url, decode_responses=True)

    def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Start a process that runs until `end_all`; its output goes to a file."""
        with self._log(name).open("ab") as output:
            process = processes.spawn(argv, env=env, cwd=ROOT, output=output)
        self._running.append(process)
        return process

    def run(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> str:
        """Run a command to its end and return its output.

        Raises:
            SetupError: the command failed; carries the end of its output.
        """
        done = subprocess.run(argv, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(f"{name} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout

    def line_up(self, count: int) -> None:
        """Wait until `count` processes are ready.

        Raises:
            SetupError: a process exited or took too long; carries its output.
        """
        with closing(self.client()) as client:
            for _ in range(count):
                waited = 0.0
                while client.blpop([READY], 1) is None:
                    waited += 1
                    if waited > READY_WITHIN or any(process.poll() is not None for process in self._running):
                        fail(f"a process didn't become ready:\n{self.logs()}")

    def go(self, count: int) -> None:
        """Give `count` processes the start signal.

        Raises:
            SetupError: a process exited while it waited; carries its output.
        """
        if any(process.poll() is not None for process in self._running):
            fail(f"a process ended before the start signal:\n{self.logs()}")
        with closing(self.client()) as client:
            client.rpush(GO, *range(count))

    def until_answers(self, url: str) -> None:
        """Wait until a GET of `url` returns 200.

        Raises:
            SetupError: a process exited or took too long; carries its output.
        """
        deadline = time.monotonic() + READY_WITHIN
        while not _answers(url):
            if time.monotonic() > deadline or any(process.poll() is not None for process in self._running):
                fail(f"{url} doesn't answer:\n{self.logs()}")
            time.sleep(0.1)

    def cpu_seconds(self) -> float:
        """Return the processor time in seconds of the servers and of running spawned processes.

        Unlike a rate, it hardly depends on the load of the machine.
        """
        assert self.postgres.process is not None
        assert self.redis.process is not None
        return sum(
            cpu_seconds_of(process.pid) for process in (self.postgres.process, self.redis.process, *self._running)
        )

    def logs(self) -> str:
        """Return the end of each process's output."""
        files = sorted((self.base / "log").glob("*.log"))
        return "\n".join(f"{file.stem}:\n{file.read_text(errors='replace')[-2000:]}" for file in files)

    def end_all(self) -> None:
        """Kill all processes that `spawn` started: their data is not needed any more."""
        for process in list(self._running):
            self.kill(process)

    def kill(self, process: "subprocess.Popen[bytes]") -> None:
        """Kill a spawned process with all its children, like the loss of its machine."""
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._running.remove(process)

    def _log(self, name: str) -> Path:
        folder = self.base / "log"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time in seconds of a process, its finished children and its running descendants."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    running = sum(_own_cpu_seconds(child) for child in process.children(recursive=True))
    return float(times.user + times.system + times.children_user + times.children_system + running)


def _own_cpu_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # It has just exited, so its parent's times include it.
    return float(times.user + times.system)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module in this Python."""
    return [sys.executable, "-m", module, *arguments]


@contextmanager
def bench() -> Iterator[Bench]:
    """Run servers for the duration of the block."""
    with temporary("companon-bench-") as base:
        servers = Bench(base)
        try:
            servers.start()
            yield servers
        finally:
            servers.stop()


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """Create a directory on a disk for the duration of the block: /tmp may be memory, where commits cost nothing."""
    base = Path(tempfile.mkdtemp(prefix=prefix, dir="/var/tmp"))
    # User postgres must be able to enter its directory when root measures.
    base.chmod(0o711 if os.geteuid() == 0 else 0o700)
    try:
        yield base
    finally:
        shutil.rmtree(base)
