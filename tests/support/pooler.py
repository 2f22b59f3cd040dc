"""Temporary PgBouncer in transaction mode, in front of the PostgreSQL of the tests."""

import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg2

from scripts.devstack import packages, processes, sockets
from scripts.devstack.postgres import PrivatePostgres
from tests.support.servers import LOGINS

CONFIGURATION = """
[databases]
* = host={sockets}
[pgbouncer]
unix_socket_dir = {sockets}
listen_port = {port}
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 200
"""


class PrivatePgBouncer:
    """PgBouncer that listens on a socket in the directory of PostgreSQL and runs as its user."""

    def __init__(self, postgres: PrivatePostgres, home: Path, pool_size: int) -> None:
        self._postgres, self._home = postgres, home
        self.port = sockets.free_port()  # The port is a part of the socket's name only: nothing listens on the network.
        self._process: subprocess.Popen[bytes] | None = None
        self._configuration = postgres.socket_dir / f"pgbouncer-{self.port}.ini"
        self._users = postgres.socket_dir / f"pgbouncer-{self.port}.users"
        self._users.write_text("".join(f'"{login}" ""\n' for login in set(LOGINS.values())))
        text = CONFIGURATION.format(sockets=postgres.socket_dir, port=self.port, users=self._users, pool_size=pool_size)
        self._configuration.write_text(text)
        for file in (self._users, self._configuration):
            file.chmod(0o644)

    def dsn(self, user: str, database: str) -> str:
        """Return the URL that connects a login to a database through the pooler."""
        return f"{self._postgres.dsn(user, database)}&port={self.port}"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        argv = self._postgres.as_owner([str(packages.pgbouncer()), str(self._configuration)], dies_by="TERM")
        log = self._home / "pgbouncer.log"
        with log.open("ab") as output:
            self._process = processes.spawn(argv, env=self._postgres.environment(), cwd=Path("/"), output=output)
        deadline = time.monotonic() + 60
        while not self._is_ready():
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        try:
            with closing(psycopg2.connect(self.dsn("app_web", "postgres"))):
                return True
        except psycopg2.OperationalError:
            return False

    def stop(self) -> None:
        """Stop it and remove its files."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
        for file in (self._users, self._configuration):
            file.unlink()
