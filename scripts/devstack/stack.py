"""The whole system on this machine: its servers, its Procfile's processes, and where to reach them."""

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
ENDINGS: list[list[str]] = [["worker"], ["seal"], ["mail"], ["redis"], ["postgres"]]
"""What ends after the rest, in this order: nobody takes new jobs before the workers finish theirs."""
BUDGETS = {"web": 40.0, "worker": 60.0}
"""Seconds for open requests and for running jobs."""
WAITS_FOR = {"web": "answering its last requests", "worker": "finishing its running jobs"}
READY_WITHIN = 90.0


class Stack:
    """Everything under one directory `var`, answering on `port` of the loopback interface."""

    def __init__(self, var: Path, port: int, signals: Signals, commands: Mapping[str, str]) -> None:
        self.var, self.port, self.commands = var, port, commands
        self.supervisor = Supervisor(var, ROOT, signals, on_change=self._changed)
        self.secrets = secrets.load_or_make(var / "secrets.json")
        self.smtp, self.inbox = sockets.listening(), sockets.listening()
        self.socket_dirs: list[Path] = []
        self.ready = False

    @property
    def api(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mail(self) -> str:
        """Where the mail sink shows what was sent."""
        return f"http://127.0.0.1:{self.inbox.getsockname()[1]}"

    def start(self) -> None:
        """Bring everything up and wait until it is ready.

        Raises:
            SetupError: something doesn't start; says what, with the end of its log.
            Interrupted: the person asked to stop.
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
        """Run a command of the system's to its end, in `env` or with all that the system has.

        Raises:
            SetupError: it failed; carries the end of its log.
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
                        budget=BUDGETS.get(name, 30.0),
                        waits_for=WAITS_FOR.get(name, "finishing"),
                    )
                )

    def _mail_sink(self, env: Mapping[str, str]) -> Spec:
        # It is handed listening sockets, so that its ports stay its own while it is started again.
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
        """The environment of a process: as in production, it is given nothing that it doesn't read.

        One of which `settings` knows nothing is given everything.
        """
        others = variables() - variables(process) if process in PROCESSES else ()
        return {name: text for name, text in self.environment().items() if name not in others}

    def environment(self) -> dict[str, str]:
        """Everything: the person's own environment, and what this system is made of."""
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
        """Where a running system says how to reach it."""
        return self.var / "run.json"

    def description(self) -> dict[str, Any]:
        """What `run.json` says; `processes` has every name's main process."""
        return {
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
        """End everything in order: what makes work, then what does it, then what it needs."""
        self.ready = False
        self.run_file.unlink(missing_ok=True)
        last = {name for phase in ENDINGS for name in phase}
        first = [name for name in self.supervisor.children if name not in last]
        # The clock and the relay first, so that no job is started that would have to be waited for.
        first.sort(key=lambda name: ("clock", "relay").index(name) if name in {"clock", "relay"} else 2)
        self.supervisor.stop([first, *ENDINGS])
        for folder in self.socket_dirs:
            sockets.remove(folder)


def ensure_admin(stack: Stack) -> None:
    """Make the first System Admin's account, with the password and authenticator in `secrets.json`, if there is none.

    Raises:
        SetupError: it couldn't be made; carries the end of its log.
    """
    stack.once("admin", [sys.executable, "-m", "scripts.devstack.admin", str(stack.var / "secrets.json")])
