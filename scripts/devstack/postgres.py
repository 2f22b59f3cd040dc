"""Run a private PostgreSQL: one directory and one Unix socket, no TCP port."""

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import psycopg2

from scripts.devstack import packages, processes, sockets
from scripts.devstack.progress import fail, run

SUPERUSER = "supabase_admin"
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "200",
    "unix_socket_permissions": "0700",
    "client_connection_check_interval": "5s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_lock_waits": "on",
    "random_page_cost": "1.1",
    # Short statements under row security: JIT compilation costs more than it saves.
    "jit": "off",
    "wal_compression": "on",
    "max_wal_size": "2GB",
}
THROWAWAY = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # A query over all tables would start parallel workers, which takes longer than the query.
    "max_parallel_workers_per_gather": "0",
    "autovacuum": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
_AS_USER_1000 = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
_AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]


class PrivatePostgres:
    """A cluster under `home` with superuser `supabase_admin`. `durable=False` trades durability for speed.

    `settings` are added to the settings of every private server.
    """

    def __init__(self, home: Path, *, durable: bool = True, settings: Mapping[str, str] | None = None) -> None:
        self.home, self.durable = home, durable
        self.settings = dict(settings or {})
        self.data = home / "data"
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket_dir = sockets.directory(home / "socket")
        found = packages.postgres() or fail("Missing packages: postgresql-15 postgresql-15-postgis-3")
        self.bin = found.bin
        self._identity = self._choose_identity()

    def dsn(self, user: str, dbname: str = "companon") -> str:
        """Return the URL that connects `user` to a database of this cluster."""
        return f"postgresql://{quote(user)}@/{quote(dbname)}?host={quote(str(self.socket_dir))}"

    def prepare(self) -> None:
        """Create the cluster unless it exists, and remove lock files of a dead server.

        Raises:
            SetupError: initdb failed, or a server that this process didn't start runs on the data directory.
        """
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        self.clear()

    def _initialise(self) -> None:
        # Rename after initdb has finished, so that an interrupted run leaves no half-made cluster.
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        options = ["-U", SUPERUSER, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions", "-k"]
        if not self.durable:
            options.append("--no-sync")
        argv = [*self._identity, str(self.bin / "initdb"), "-D", str(unfinished), *options]
        run("Creating the database cluster", argv, env=self.environment(), cwd=str(self.home))
        unfinished.rename(self.data)

    def clear(self) -> None:
        """Remove lock files of a dead server (even if another process has its PID) and kill its remaining backends."""
        here = [pid for pid in self._servers() if self._is_postmaster(pid)]
        if here:
            fail(f"A PostgreSQL that this command didn't start (PID {here[0]}) runs on {self.data}; stop it first")
        for pid in self._servers():
            processes.send(pid, signal.SIGKILL)
        locks = [self.data / "postmaster.pid", *self.socket_dir.glob(".s.PGSQL.*")]
        for lock in locks:
            lock.unlink(missing_ok=True)

    def _servers(self) -> list[int]:
        """Return the PIDs of PostgreSQL processes whose working directory is this data directory."""
        return [one.pid for one in processes.processes() if self._works_here(one.pid)]

    def _works_here(self, pid: int) -> bool:
        proc = Path(f"/proc/{pid}")
        try:
            return (proc / "cwd").readlink() == self.data.resolve() and (proc / "exe").readlink().name == "postgres"
        except OSError:
            return False  # Gone, or another user's.

    def _is_postmaster(self, pid: int) -> bool:
        recorded = self.data / "postmaster.pid"
        return recorded.exists() and recorded.read_text().split("\n", 1)[0] == str(pid)

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground. SIGINT requests a fast, clean shutdown."""
        chosen = SETTINGS | ({} if self.durable else THROWAWAY) | self.settings
        chosen["unix_socket_directories"] = f'"{self.socket_dir}"'
        options = [f"--{name}={value}" for name, value in chosen.items()]
        return self.as_owner([str(self.bin / "postgres"), "-D", str(self.data), *options], dies_by="INT")

    def as_owner(self, argv: Sequence[str], *, dies_by: str) -> list[str]:
        """Return `argv` prefixed to run as the server's user. `dies_by` names the signal sent when the parent dies."""
        # Changing the user clears the parent-death signal, so set it again after the change.
        dies = ["setpriv", "--pdeathsig", dies_by, "--"] if self._identity else []
        return [*self._identity, *dies, *argv]

    def environment(self) -> dict[str, str]:
        """Return the server's environment: a locale that exists everywhere, and no PG* variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
        return kept | {"LC_ALL": "C.UTF-8", "HOME": str(self.home)}

    def is_ready(self) -> bool:
        """Return whether the server accepts connections."""
        try:
            with closing(psycopg2.connect(self.dsn(SUPERUSER, "postgres"), connect_timeout=5)):
                return True
        except psycopg2.OperationalError:
            return False

    def start(self, timeout: float = 30.0) -> None:
        """Start the server without a supervisor and wait until it accepts connections.

        Raises:
            SetupError: it wasn't ready within `timeout` seconds; carries the end of its log.
        """
        self.prepare()
        log = self.home / "server.log"
        with log.open("ab") as output:
            self.process = processes.spawn(
                self.command(),
                env=self.environment(),
                cwd=self.home,
                output=output,
                death_signal=signal.SIGINT if self.durable else signal.SIGQUIT,
            )
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                fail(f"PostgreSQL didn't start:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server: cleanly if it is durable, otherwise at once."""
        self._finish(signal.SIGINT if self.durable else signal.SIGQUIT)

    def kill(self) -> None:
        """Kill the server, like a crash."""
        self._finish(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def _finish(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def _choose_identity(self) -> list[str]:
        """Return the command prefix that changes the user, since PostgreSQL refuses to run as root.

        Use the user `postgres` if it can access the directory, otherwise a user namespace that maps root to user 1000.

        Raises:
            SetupError: neither works.
        """
        if os.geteuid() != 0:
            return []
        ours = self.data.exists() and self.data.stat().st_uid == 0
        if not ours and self._give_to_postgres():
            return _AS_POSTGRES
        if _works([*_AS_USER_1000, "true"]):
            self._take_back()
            return _AS_USER_1000
        fail(f"PostgreSQL doesn't run as root, and user postgres can't enter {self.home}: use --var with a path it can")

    def _give_to_postgres(self) -> bool:
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            return False
        for folder in (self.home, self.socket_dir):
            os.chown(folder, user.pw_uid, user.pw_gid)
        return _works([*_AS_POSTGRES, "test", "-w", str(self.home)])

    def _take_back(self) -> None:
        for folder in (self.home, self.socket_dir):
            os.chown(folder, 0, 0)


def _works(argv: Sequence[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False, cwd="/").returncode == 0
