"""Wake the relay after a commit that has enqueued jobs.

The web tier imports no engine, so this is a small client of its own. It is best effort: the relay also polls the ledger
a few times a second.
"""

import os
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

import redis

from models.jobs import brokers
from models.jobs.brokers import AMQP_ERRORS, WAKEUP
from settings import settings

_PATIENCE = 0.2  # maximum seconds for a broker's answer
_RETRY_AFTER = 1.0  # seconds without another attempt after a failed one


class Notifier(Protocol):
    """A way to wake the relay."""

    def notify(self) -> bool:
        """Wake the relay. Return whether the broker was reached."""


class RedisNotifier:
    """A list of at most one element. May be shared by threads."""

    def __init__(self, url: str) -> None:
        self._client = brokers.redis_client(url, patience=_PATIENCE, connect_patience=_PATIENCE)

    def notify(self) -> bool:
        """Push an element and trim the list to one."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.lpush(WAKEUP, 1)
                pipe.ltrim(WAKEUP, 0, 0)
                pipe.execute()
        except redis.RedisError:
            return False
        return True


class AmqpNotifier:
    """A queue of at most one message. May be shared by threads, one at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._channel: Any = None

    def notify(self) -> bool:
        """Publish a message. Connect first if there is no connection."""
        with self._lock:
            try:
                channel = self._open()
                channel.basic_publish("", WAKEUP, b"")
            except AMQP_ERRORS:
                self._drop()
                return False
            return True

    def _open(self) -> Any:
        if self._channel is not None:
            # Read the server's close of the connection. A write alone would fail one message too late.
            self._channel.connection.process_data_events(0)
        if self._channel is None or not self._channel.is_open:
            self._drop()
            # Without heartbeats: no thread would send them while nothing is enqueued.
            connection = brokers.amqp_connection(self._url, patience=_PATIENCE, heartbeat=0)
            self._channel = connection.channel()
            brokers.declare_wakeup_queue(self._channel)
        return self._channel

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            brokers.close_quietly(channel.connection)


def connect(url: str) -> Notifier:
    """Return the notifier of the broker at `url`. It connects on first use.

    Raises:
        ValueError: the URL's scheme is not one of a broker.
    """
    return AmqpNotifier(url) if brokers.is_amqp(url) else RedisNotifier(url)


class _BackgroundNotifier:
    """Notifies in a thread of its own, so that a slow broker does not delay the caller.

    Notifications during a call are merged into one. After a failed call it waits `_RETRY_AFTER` seconds.
    """

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # A forked child has no copy of the thread.

    def _reset(self) -> None:
        self._requested = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def notify(self) -> None:
        if self._requested.is_set():
            return
        self._requested.set()
        if self._thread is None:
            with suppress(RuntimeError):  # No thread can be started: the relay polls.
                self._start()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="wakeup", daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while True:
            self._requested.wait()
            self._requested.clear()
            if not self._notifier.notify():
                time.sleep(_RETRY_AFTER)


_background = _BackgroundNotifier(connect(settings.transport_url))  # A wrong URL is an error when the process starts.


def notify() -> None:
    """Wake the relay. Best effort: never raises and never waits, because the caller's transaction has committed."""
    _background.notify()
