"""Run the whole system on this machine: its servers and the processes of its Procfile."""

import http.client
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scripts.devstack import database, leftovers, procfile, secrets, sockets
from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.postgres import PrivatePostgres
from scripts.devstack.processes import write_atomically
from scripts.devstack.progress import SetupError, fail, step
from scripts.devstack.redis import PrivateRedis
from scripts.devstack.signals import Signals
from scripts.devstack.supervisor import Spec, Supervisor, describe
from settings import PROCESSES, variables

RELEASE = "release"
ENDINGS = ["worker", "seal", "mail", "redis", "postgres"]
"""Kinds of processes that stop after the rest, in this order: workers finish their jobs before their servers stop."""
BUDGETS = {"web": 40.0, "worker": 60.0}
"""Seconds until a process must have exited: open requests and running jobs finish first."""
WAITS_FOR = {"web": "answering its last requests", "worker": "finishing its running jobs"}
READY_WITHIN = 90.0


class Stack:
    """A system with all files under `var` and its API on `port` of the loopback interface."""

    def __init__(self, var: Path, port: int, signals: Signals, commands: Mapping[str, str]) -> None:
        self.var, self.port, self.commands = var, port, commands
        self.supervisor = Supervisor(var, ROOT, signals, on_change=self._changed)
        self.secrets = secrets.load_or_make(var / "secrets.json")
        self.smtp, self.inbox = sockets.listening(), sockets.listening()
        self.socket_dirs: list[Path] = []
        self.ready = False

    @property
    def api(self) -> str:
        """Return the URL of the API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mail(self) -> str:
        """Return the URL of the mail sink."""
        return f"http://127.0.0.1:{self.inbox.getsockname()[1]}"

    def start(self) -> None:
        """Start all servers and processes and wait until the API is ready.

        Raises:
            SetupError: a process didn't start; carries its name and the end of its log.
            Interrupted: a signal requested to stop.
        """
        leftovers.end(self.var)
        self._start_servers()
        with step("Preparing the database"):
            database.ensure(self.postgres)
            self._release()
        with step("Starting " + ", ".join(name for name in self.commands if name != RELEASE)):
            self._start_processes()
            ensure_admin(self)
            self.supervisor.until(self._answers, timeout=READY_WITHIN, what=f"{self.api}/readyz")
        self.supervisor.starting = False
        self.ready = True
        self._changed()

    def _start_servers(self) -> None:
        self.postgres = PrivatePostgres(self.var / "pg")
        self.redis = PrivateRedis(self.var / "redis")
        self.socket_dirs = [self.postgres.socket_dir, self.redis.socket.parent]
        self.postgres.prepare()
        with step("Starting PostgreSQL and Redis"):
            self.supervisor.start(
                Spec(
                    "postgres",
                    self.postgres.command(),
                    self.postgres.environment(),
                    stop_signal=signal.SIGINT,
                    waits_for="writing its last checkpoint",
                    before=self.postgres.clear,
                    server=True,
                )
            )
            self.supervisor.start(Spec("redis", self.redis.command(), self.redis.environment(), server=True))
            self._until(self.postgres.is_ready, "postgres")
            self._until(self.redis.is_ready, "redis")

    def _until(self, ready: Callable[[], bool], name: str) -> None:
        try:
            self.supervisor.until(ready, timeout=60, what=f"Starting {name}")
        except SetupError as error:
            fail(f"{error}\n{self.supervisor.tail(name)}")

    def _release(self) -> None:
        if command := self.commands.get(RELEASE):
            self.once(RELEASE, procfile.argv(command), self.environment_of(RELEASE))

    def once(self, name: str, argv: list[str], env: Mapping[str, str] | None = None) -> None:
        """Run a command to its end, in `env` or in the system's whole environment.

        Raises:
            SetupError: the command failed; carries the end of its log.
        """
        code = self.supervisor.run_once(name, argv, env or self.environment())
        if code != 0:
            fail(f"{name} {describe(code)}:\n{self.supervisor.tail(name)}")

    def _start_processes(self) -> None:
        self.supervisor.start(self._mail_sink(self.environment()))
        for name, command in self.commands.items():
            if name != RELEASE:
                self.supervisor.start(
                    Spec(
                        name,
                        procfile.argv(command),
                        self.environment_of(name),
                        budget=BUDGETS.get(procfile.kind_of(name), 30.0),
                        waits_for=WAITS_FOR.get(procfile.kind_of(name), "finishing"),
                    )
                )

    def _mail_sink(self, env: Mapping[str, str]) -> Spec:
        # Pass listening sockets, so that the ports stay reserved while the process restarts.
        fds = [self.smtp.fileno(), self.inbox.fileno()]
        argv = [sys.executable, "-m", "scripts.fakes.mail", *map(str, fds), str(self.var / "mail")]
        return Spec("mail", argv, env, budget=5.0, pass_fds=fds)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def environment_of(self, process: str) -> dict[str, str]:
        """Return the environment of a process: as in production, only the variables that it reads.

        A process that `settings` doesn't list gets the whole environment.
        """
        kind = procfile.kind_of(process)
        others = variables() - variables(kind) if kind in PROCESSES else ()
        return {name: text for name, text in self.environment().items() if name not in others}

    def environment(self) -> dict[str, str]:
        """Return the caller's environment with all variables of this system."""
        return os.environ | {
            "PATH": f"{VENV / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": self.postgres.dsn("app_web"),
            "DATABASE_ACCOUNT_URL": self.postgres.dsn("app_account"),
            "DATABASE_SCAN_URL": self.postgres.dsn("app_scan"),
            "DATABASE_WORKER_URL": self.postgres.dsn("app_worker"),
            "DATABASE_SEAL_URL": self.postgres.dsn("app_seal"),
            "DATABASE_DIRECT_URL": self.postgres.dsn("postgres"),
            "REDIS_URL": self.redis.url,
            "SECRET_KEYS": self.secrets.secret_keys,
            "AUTH_JWKS": self.secrets.auth_jwks,
            "AUDIT_CHECKPOINT_URL": f"file://{self.var.resolve() / 'checkpoints'}",
            "STORAGE_URL": f"file://{self.var.resolve() / 'assets'}",
            "PUBLIC_URL": self.api,
            "SMTP_URL": self._smtp_url(),
            "PORT": str(self.port),
        }

    def _smtp_url(self) -> str:
        return f"smtp://127.0.0.1:{self.smtp.getsockname()[1]}"

    def _changed(self) -> None:
        if self.ready:
            write_atomically(self.run_file, json.dumps(self.description(), indent=2) + "\n")

    @property
    def run_file(self) -> Path:
        """Return the path of the file that describes the running system."""
        return self.var / "run.json"

    def description(self) -> dict[str, Any]:
        """Return the contents of `run.json`; `processes` lists the main process of each name."""
        return {
            "environment": os.environ.get("ENVIRONMENT", "development"),
            "api": self.api,
            "docs": f"{self.api}/docs",
            "mail": self.mail,
            "smtp": self._smtp_url(),
            "database_url": self.postgres.dsn("app_web"),
            "database_account_url": self.postgres.dsn("app_account"),
            "database_scan_url": self.postgres.dsn("app_scan"),
            "database_worker_url": self.postgres.dsn("app_worker"),
            "database_seal_url": self.postgres.dsn("app_seal"),
            "database_direct_url": self.postgres.dsn("postgres"),
            "redis_url": self.redis.url,
            "admin": {
                "email": self.secrets.admin_email,
                "password": self.secrets.admin_password,
                "totp_secret": self.secrets.admin_totp_secret,
            },
            "pid": os.getpid(),
            "processes": self.supervisor.pids(),
        }

    def stop(self) -> None:
        """Stop everything in order: producers of jobs, then workers, then servers."""
        self.ready = False
        self.run_file.unlink(missing_ok=True)
        names = self.supervisor.children
        phases = [[name for name in names if procfile.kind_of(name) == kind] for kind in ENDINGS]
        first = [name for name in names if procfile.kind_of(name) not in ENDINGS]
        # Stop the clock and the relay first, so that no further job starts.
        first.sort(key=lambda name: ("clock", "relay").index(name) if name in {"clock", "relay"} else 2)
        self.supervisor.stop([first, *phases])
        for folder in self.socket_dirs:
            sockets.remove(folder)


def ensure_admin(stack: Stack) -> None:
    """Create the first System Admin with the password and TOTP secret of `secrets.json`, unless the account exists.

    Raises:
        SetupError: the command failed; carries the end of its log.
    """
    stack.once("admin", [sys.executable, "-m", "scripts.devstack.admin", str(stack.var / "secrets.json")])
