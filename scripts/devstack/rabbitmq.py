"""Run a private RabbitMQ: one directory and ports of the loopback interface."""

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
    # Listen on the loopback interface only. Don't let scheduler threads spin while they wait.
    "-kernel inet_dist_use_interface {127,0,0,1}",
    "+sbwt none +sbwtdcpu none +sbwtdio none",
]


class PrivateRabbitMQ:
    """A node under `home` with its own Erlang port mapper. RabbitMQ must be installed."""

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
        """Return the URL of the default virtual host."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def environment(self) -> dict[str, str]:
        """Return the node's environment: all its files are under `home`, none of the system's are used."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ", "ERL", "LC_"))}
        return kept | {
            "HOME": str(self.home),  # Erlang stores its cookie there.
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper),
            "RABBITMQ_NODENAME": f"companon{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "none"),
            # The default enables every feature flag one by one, which takes half of the start time.
            "RABBITMQ_FEATURE_FLAGS": "quorum_queue",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_MNESIA_BASE": str(self.home / "mnesia"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(_ERLANG),
            "RABBITMQ_ALLOW_INPUT": "1",  # The script execs the node instead of waiting for it.
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }

    def is_ready(self) -> bool:
        """Return whether the node accepts connections."""
        try:
            with closing(brokers.amqp_connection(self.url, patience=2)):
                return True
        except brokers.AMQP_ERRORS:
            return False

    def start(self, timeout: float = 180.0) -> None:
        """Start the node and wait until it accepts connections.

        Raises:
            SetupError: it wasn't ready within `timeout` seconds; carries the end of its log.
        """
        log = self.home / "server.log"
        with log.open("ab") as output:
            # Start the port mapper here: one that the node started would outlive it.
            for argv in (["epmd", "-address", "127.0.0.1", "-port", str(self._mapper)], [self.binary]):
                self._running.append(processes.spawn(argv, env=self.environment(), cwd=self.home, output=output))
        deadline = time.monotonic() + timeout
        while not self.is_ready():
            if self._running[-1].poll() is not None or time.monotonic() > deadline:
                fail(f"RabbitMQ didn't start:\n{log.read_text()[-3000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Kill the node: its data is temporary."""
        self.kill()

    def kill(self) -> None:
        """Kill the node and its child processes, like a crash."""
        for process in self._running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._running.clear()
