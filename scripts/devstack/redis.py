"""Run a private Redis: one directory and one Unix socket."""

import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from scripts.devstack import packages, processes, sockets
from scripts.devstack.progress import fail

DATABASES = 64


class PrivateRedis:
    """A server under `home`. With `durable=False` it stores nothing on disk."""

    def __init__(self, home: Path, *, durable: bool = True) -> None:
        self.home, self.durable = home, durable
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket = sockets.directory(home / "socket") / "redis.sock"
        self.binary = packages.redis_server() or fail("Missing package: redis-server")

    @property
    def url(self) -> str:
        """Return the URL of database 0."""
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        """Return the URL of a database, 0 to 63."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground. SIGTERM requests a clean shutdown."""
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.home),
            "databases": str(DATABASES),
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        return [self.binary, *(word for name, value in options.items() for word in (f"--{name}", value))]

    def environment(self) -> dict[str, str]:
        """Return the server's environment. Redis doesn't start in a locale that isn't installed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG"))}
        return kept | {"LC_ALL": "C.UTF-8"}

    def is_ready(self) -> bool:
        """Return whether the server answers and has loaded its data."""
        client = redis.Redis.from_url(self.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def start(self, timeout: float = 30.0) -> None:
        """Start the server without a supervisor and wait until it answers.

        Raises:
            SetupError: it wasn't ready within `timeout` seconds; carries the end of its log.
        """
        log = self.home / "server.log"
        with log.open("ab") as output:
            self.process = processes.spawn(self.command(), env=self.environment(), cwd=self.home, output=output)
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                fail(f"Redis didn't start:\n{log.read_text()[-3000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server cleanly."""
        self._finish(signal.SIGTERM)

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
