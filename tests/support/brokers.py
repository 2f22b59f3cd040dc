"""Brokers that tests may kill: Redis, Redis behind a Sentinel, RabbitMQ."""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol

import pika
import redis

from models.jobs import brokers
from scripts.devstack import processes, sockets
from scripts.devstack.rabbitmq import PrivateRabbitMQ
from scripts.devstack.redis import PrivateRedis

SERVICE = "companon"
QUEUES = ["companon:epoch", *(f"companon:queue:{name}" for name in ("a", "b", "scans", "default", "mail"))]


def until(condition: Callable[[], object], within: float = 120.0) -> None:
    """Wait until a condition holds; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


class Broker(Protocol):
    """A broker under test."""

    url: str

    def start(self) -> None:
        """Start it and wait until it can be used."""

    def stop(self) -> None:
        """Stop it."""

    def kill(self) -> None:
        """Kill the serving process, and wait until it no longer responds."""

    def recover(self) -> None:
        """Start serving again, with or without the queued ids."""

    def forget(self) -> None:
        """Delete all data and keep the connections."""

    def inject(self, queue: str, contents: bytes) -> None:
        """Append foreign contents to a queue."""

    def occupy(self, name: str) -> None:
        """Replace the key or queue of this name by one of another type."""


class OneRedis:
    """Single server without persistence."""

    def __init__(self, home: Path) -> None:
        self._server = PrivateRedis(home, durable=False)
        self.url = self._server.url
        self.start, self.stop = self._server.start, self._server.stop
        self.kill, self.recover = self._server.kill, self._server.start

    def forget(self) -> None:
        """FLUSHALL."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def inject(self, queue: str, contents: bytes) -> None:
        """RPUSH."""
        inject_redis(self.url, queue, contents)

    def occupy(self, name: str) -> None:
        """Set a hash."""
        occupy_redis(self.url, name)


class OneRabbit:
    """Single node of RabbitMQ."""

    def __init__(self, home: Path) -> None:
        self._server = PrivateRabbitMQ(home)
        self.url = self._server.url
        self.start, self.stop = self._server.start, self._server.stop
        self.kill, self.recover = self._server.kill, self._server.start

    def forget(self) -> None:
        """Purge every queue."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            for name in QUEUES:
                channel = connection.channel()
                with suppress(pika.exceptions.ChannelClosedByBroker):
                    channel.queue_purge(name)

    def inject(self, queue: str, contents: bytes) -> None:
        """Publish."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            channel = connection.channel()
            channel.queue_declare(f"companon:queue:{queue}", durable=True)
            channel.basic_publish("", f"companon:queue:{queue}", contents)

    def occupy(self, name: str) -> None:
        """Declare the queue with other options."""
        with closing(pika.BlockingConnection(pika.URLParameters(self.url))) as connection:
            channel = connection.channel()
            channel.queue_delete(name)
            channel.queue_declare(name, durable=True, arguments={"x-max-length": 7})


class RedisPair:
    """Primary, replica, and a Sentinel that fails over within two seconds."""

    def __init__(self, home: Path) -> None:
        self._home = home
        home.mkdir(parents=True)
        self._sentinel_port, *self._ports = sockets.lasting_ports(3)
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.url = f"sentinel://127.0.0.1:{self._sentinel_port}/{SERVICE}/0"

    def start(self) -> None:
        """Start the pair, then the Sentinel, which writes its state into its configuration file."""
        primary, replica = self._ports
        self._serve(primary)
        self._serve(replica, "--replicaof", "127.0.0.1", str(primary))
        until(lambda: self._in_sync(replica))
        configuration = self._home / "sentinel.conf"
        configuration.write_text(
            f"port {self._sentinel_port}\nbind 127.0.0.1\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 1\n"
            f"sentinel failover-timeout {SERVICE} 1000\n"
        )
        self._run(self._sentinel_port, str(configuration), "--sentinel")
        until(lambda: self._known_replicas() == {replica})

    def stop(self) -> None:
        """Stop all three."""
        for port in list(self._running):
            self._end(port)

    def kill(self) -> None:
        """Kill the primary."""
        primary = self._primary()
        # At other times the Sentinel waits long, so that it does not replace a slow primary.
        self._be_patient(300)
        self._end(primary)

    def recover(self) -> None:
        """Wait until the replica has been promoted, then start the old primary as its replica."""
        dead = next(port for port in self._ports if port not in self._running)
        until(lambda: self._primary() != dead and self._role(self._primary()) == "master")
        self._be_patient(30_000)
        self._serve(dead, "--replicaof", "127.0.0.1", str(self._primary()))
        until(lambda: self._in_sync(dead))

    def forget(self) -> None:
        """FLUSHALL."""
        with self._client(self._primary()) as client:
            client.flushall()

    def inject(self, queue: str, contents: bytes) -> None:
        """RPUSH."""
        inject_redis(self._url(self._primary()), queue, contents)

    def occupy(self, name: str) -> None:
        """Set a hash."""
        occupy_redis(self._url(self._primary()), name)

    def _serve(self, port: int, *more: str) -> None:
        self._run(
            port, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0", *more
        )
        until(lambda: self._role(port))

    def _run(self, port: int, *arguments: str) -> None:
        folder = self._home / str(port)
        folder.mkdir(exist_ok=True)
        server = PrivateRedis(self._home / "none", durable=False)
        with (folder / "server.log").open("ab") as output:
            argv = [server.binary, *arguments]
            self._running[port] = processes.spawn(argv, env=server.environment(), cwd=folder, output=output)

    def _end(self, port: int) -> None:
        process = self._running.pop(port)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def _client(self, port: int) -> redis.Redis:
        return brokers.redis_client(self._url(port), patience=2.0, connect_patience=2.0)

    def _url(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}/0"

    def _ask(self, port: int, *words: str) -> Any:
        with self._client(port) as client:
            try:
                return client.execute_command(*words)
            except redis.RedisError:
                return None

    def _role(self, port: int) -> str:
        return str((self._ask(port, "ROLE") or [""])[0])

    def _in_sync(self, port: int) -> bool:
        return (self._ask(port, "ROLE") or [""] * 4)[3] == "connected"

    def _be_patient(self, milliseconds: int) -> None:
        """Set the time without a response after which the Sentinel replaces the primary."""
        self._ask(self._sentinel_port, "SENTINEL", "SET", SERVICE, "down-after-milliseconds", str(milliseconds))

    def _primary(self) -> int:
        return int(self._ask(self._sentinel_port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def _known_replicas(self) -> set[int]:
        with self._client(self._sentinel_port) as client:
            try:
                return {int(replica["port"]) for replica in client.sentinel_slaves(SERVICE)}
            except redis.RedisError:
                return set()


def inject_redis(url: str, queue: str, contents: bytes) -> None:
    """Append foreign contents to a queue's list."""
    with redis.Redis.from_url(url) as client:
        client.rpush(f"companon:queue:{queue}", contents)


def occupy_redis(url: str, name: str) -> None:
    """Replace a key by a hash, which is neither a string nor a list."""
    with redis.Redis.from_url(url) as client:
        client.delete(name)
        client.hset(name, "a", "b")


KINDS: dict[str, Callable[[Path], Broker]] = {"redis": OneRedis, "sentinel": RedisPair, "rabbitmq": OneRabbit}
