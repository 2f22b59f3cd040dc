"""A private RabbitMQ: one directory, ports of the loopback interface, and nothing that outlives it."""

import os
import signal
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from models.jobs import brokers
from scripts.devstack import packages, processes, sockets
from scripts.devstack.progress import fail

_ERLANG = [
    # Nobody else's nodes, and no thread that spins while it waits: the machine has other things to do.
    "-kernel inet_dist_use_interface {127,0,0,1}",
    "+sbwt none +sbwtdcpu none +sbwtdio none",
]


class PrivateRabbitMQ:
    """A node under `home`, with an Erlang port mapper of its own; `packages.rabbitmq_server()` has to be there."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port, self._distribution, self._mapper = sockets.lasting_ports(3)
        self._running: list[subprocess.Popen[bytes]] = []
        self.binary = packages.rabbitmq_server() or fail("Missing package: rabbitmq-server")
        for folder in (home, home / "log", home / "mnesia"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / "rabbitmq.conf").write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 1MB\n"
        )
        (home / "enabled_plugins").write_text("[].\n")

    @property
    def url(self) -> str:
        """The URL of its default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def environment(self) -> dict[str, str]:
        """The node's environment: it finds everything of its own under `home`, and nothing of the system's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ", "ERL", "LC_"))}
        return kept | {
            "HOME": str(self.home),  # Where Erlang keeps the secret that its nodes share.
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper),
            "RABBITMQ_NODENAME": f"companon{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none"),
            # All of them, which is the default, are switched on one by one: half of the time that a start takes.
            "RABBITMQ_FEATURE_FLAGS": "quorum_queue",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(_ERLANG),
            "RABBITMQ_ALLOW_INPUT": "1",  # The script becomes the node, instead of waiting for it.
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        try:
            with closing(brokers.amqp_connection(self.url, patience=2)):
                return True
        except brokers.AMQP_ERRORS:
            return False

    def start(self, timeout: float = 180.0) -> None:
        """Start it and wait until it takes connections.

        Raises:
            SetupError: it doesn't within `timeout` seconds; carries the end of its log.
        """
        log = self.home / "server.log"
        with log.open("ab") as output:
            # Found running, the port mapper isn't started by the node, where it would stay when the node ends.
            for argv in (["epmd", "-address", "127.0.0.1", "-port", str(self._mapper)], [self.binary]):
                self._running.append(processes.spawn(argv, env=self.environment(), cwd=self.home, output=output))
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if self._running[-1].poll() is not None or time.monotonic() > deadline:
                fail(f"RabbitMQ didn't start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it; nothing that it holds is worth an orderly end."""
        self.kill()

    def kill(self) -> None:
        """End it as a crash would, and what it has started."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
