"""The relay's doorbell: rung after a commit that has put something into the ledger.

A client of its own, small enough for the web tier, which knows nothing of the engine. It may fail: the relay looks into
the ledger by itself a few times a second.
"""

import os
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

import redis

from models.jobs import brokers
from models.jobs.brokers import AMQP_ERRORS, DOORBELL
from settings import settings

_PATIENCE = 0.2  # seconds that a broker gets to answer
_SILENCE = 1.0  # seconds without another try after one that didn't


class Doorbell(Protocol):
    """A way to wake the relay."""

    def ring(self) -> bool:
        """Wake the relay; whether the broker could be reached."""


class RedisDoorbell:
    """A list that never holds more than one element. May be shared by threads."""

    def __init__(self, url: str) -> None:
        self._client = brokers.redis_client(url, patience=_PATIENCE, connect_patience=_PATIENCE)

    def ring(self) -> bool:
        """Push, and cut off what nobody took."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.lpush(DOORBELL, 1)
                pipe.ltrim(DOORBELL, 0, 0)
                pipe.execute()
        except redis.RedisError:
            return False
        return True


class AmqpDoorbell:
    """A queue that never holds more than one message. May be shared by threads, which take turns."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._channel: Any = None

    def ring(self) -> bool:
        """Publish, on a connection that is made when it is needed."""
        with self._lock:
            try:
                channel = self._open()
                channel.basic_publish("", DOORBELL, b"")
            except AMQP_ERRORS:
                self._drop()
                return False
            return True

    def _open(self) -> Any:
        if self._channel is not None:
            # Hears that the server has closed the connection: writing alone would notice it one message too late.
            self._channel.connection.process_data_events(0)
        if self._channel is None or not self._channel.is_open:
            self._drop()
            # Without heartbeats: nobody would send them while nothing is enqueued.
            connection = brokers.amqp_connection(self._url, patience=_PATIENCE, heartbeat=0)
            self._channel = connection.channel()
            brokers.declare_doorbell(self._channel)
        return self._channel

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            abandon(channel.connection)


def abandon(connection: Any) -> None:
    """Close a connection to RabbitMQ that may be broken already."""
    try:
        connection.close()
    except AMQP_ERRORS:
        return


def connect(url: str) -> Doorbell:
    """The doorbell of the broker at `url`. Connects when it is first rung.

    Raises:
        ValueError: no broker has such a URL.
    """
    return AmqpDoorbell(url) if brokers.is_amqp(url) else RedisDoorbell(url)


class _Ringer:
    """Rings in a thread of its own: a broker that is slow, or doesn't answer, costs whoever has committed nothing.

    One that did not answer is left alone for a moment.
    """

    def __init__(self, doorbell: Doorbell) -> None:
        self._doorbell = doorbell
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # a thread doesn't come along

    def _begin(self) -> None:
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        if self._wanted.is_set():
            return
        self._wanted.set()
        if self._thread is None:
            with suppress(RuntimeError):  # no thread is to be had: the relay looks by itself
                self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="doorbell", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            if not self._doorbell.ring():
                time.sleep(_SILENCE)


_ringer = _Ringer(connect(settings.transport_url))  # A URL that leads nowhere is noticed when the process starts.


def ring() -> None:
    """Wake the relay. Best effort; never raises and never waits, since what it is called after has committed."""
    _ringer.ring()
