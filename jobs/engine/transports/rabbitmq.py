"""Job ids in RabbitMQ (3.10 or newer), one queue for each queue of jobs: transient messages whose body is an id.

The queues are durable and the messages are not: after a restart the server has empty queues. On a cluster they may be
quorum queues, if that is the default type of the virtual host. A message is acknowledged when it is popped, before its
job is claimed: the ledger recovers ids that are lost in between. RabbitMQ cannot list a queue without delivering its
messages, so `present` returns None, and the relay uses the queues' lengths.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

from pika import BasicProperties
from pika.delivery_mode import DeliveryMode
from pika.exceptions import ChannelClosedByBroker

from jobs.engine.transports.base import TransportError, job_ids
from models.jobs import brokers
from models.jobs.brokers import AMQP_ERRORS, HEARTBEAT, WAKEUP, WAKEUP_OPTIONS, close_quietly

log = logging.getLogger(__name__)

_PRECONDITION_FAILED = 406
_MARK = "companon:epoch"
_MARK_OPTIONS = {"x-max-length": 1, "x-overflow": "drop-head"}
_TRANSIENT = BasicProperties(delivery_mode=DeliveryMode.Transient)

_PATIENCE = 3.0
_STALE = HEARTBEAT / 2  # seconds unused after which a connection is replaced, before the server misses its heartbeats


class RabbitTransport:
    """The transport over `amqp://` or `amqps://`. For one thread at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open: Any = None
        self._used_at = 0.0
        self._declared: set[str] = set()
        self._epoch = ""
        self._woken: list[int] = []
        self._listening = False

    def push(self, queue: str, ids: Sequence[UUID]) -> None:
        """Publish ids. The reply to the declaration after them confirms that the server has received all."""
        with self._channel() as channel:
            self._declare(channel, queue)
            for id in ids:
                channel.basic_publish("", _name(queue), str(id).encode(), _TRANSIENT)
            channel.queue_declare(_name(queue), passive=True)

    def pop(self, queue: str, most: int, timeout: float) -> list[UUID]:
        """Consume until something arrives. Messages beyond `most` stay for other workers."""
        taken: list[bytes] = []
        last = 0

        def take(_channel: Any, method: Any, _properties: Any, body: bytes) -> None:
            nonlocal last
            last = method.delivery_tag
            taken.append(body)

        with self._channel() as channel:
            self._declare(channel, queue)
            channel.basic_qos(prefetch_count=most)  # The server sends no more than that unacknowledged.
            consumer = channel.basic_consume(_name(queue), take)
            self._await(channel, lambda: bool(taken), timeout)
            self._drain(channel, taken, most)
            if taken:
                channel.basic_ack(last, multiple=True)
            channel.basic_cancel(consumer)  # The server requeues messages that have arrived meanwhile.
        return job_ids(queue, taken)

    def present(self, queues: Sequence[str]) -> Mapping[str, list[UUID]] | None:
        """Return None: RabbitMQ cannot list a queue without delivering its messages."""
        return None

    def depths(self, queues: Sequence[str]) -> tuple[str, Mapping[str, int]]:
        """Return the epoch and the lengths. The epoch is new if this connection's marker message is missing."""
        with self._channel() as channel:
            if self._count(channel, _MARK, _MARK_OPTIONS) == 0 or not self._epoch:
                channel.basic_publish("", _MARK, b"", _TRANSIENT)
                self._epoch = str(uuid4())
            counts = {queue: self._count(channel, _name(queue)) for queue in queues}
        return self._epoch, counts

    def wait_for_wakeup(self, timeout: float) -> None:
        """Consume wake-ups from the first call on. At most one is unacknowledged."""
        with self._channel() as channel:
            if not self._listening:
                self._count(channel, WAKEUP, WAKEUP_OPTIONS)
                channel.basic_qos(prefetch_count=1)
                channel.basic_consume(WAKEUP, lambda _channel, method, *_: self._woken.append(method.delivery_tag))
                self._listening = True
            self._await(channel, lambda: bool(self._woken), timeout)
            if self._woken:
                channel.basic_ack(self._woken.pop())

    def close(self) -> None:
        """Close the connection."""
        self._drop()

    @contextmanager
    def _channel(self) -> Iterator[Any]:
        """Open the channel for the block, on a new connection if the current one is missing or stale."""
        try:
            if time.monotonic() - self._used_at > _STALE:
                self._drop()
            if self._open is None:
                self._open = brokers.amqp_connection(self._url, patience=_PATIENCE).channel()
            yield self._open
            self._used_at = time.monotonic()
        except AMQP_ERRORS as error:
            self._drop()
            raise TransportError(str(error) or type(error).__name__) from error
        except BaseException:
            # The channel may be in the middle of a call.
            self._drop()
            raise

    def _drop(self) -> None:
        channel, self._open = self._open, None
        self._declared.clear()
        self._epoch, self._woken, self._listening = "", [], False
        if channel is not None:
            close_quietly(channel.connection)

    def _declare(self, channel: Any, queue: str) -> None:
        if queue not in self._declared:
            self._count(channel, _name(queue))
            self._declared.add(queue)

    def _count(self, channel: Any, name: str, options: Mapping[str, Any] | None = None) -> int:
        """Declare a queue and return its number of messages.

        Delete a queue of this name with other options. The error is raised nevertheless, and the next call succeeds.
        """
        try:
            return int(channel.queue_declare(name, durable=True, arguments=options).method.message_count)
        except ChannelClosedByBroker as error:
            if error.reply_code == _PRECONDITION_FAILED:
                log.warning("deleted the queue %s, which had other options", name)
                channel.connection.channel().queue_delete(name)
            raise

    def _await(self, channel: Any, condition: Any, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition() and (left := deadline - time.monotonic()) > 0:
            channel.connection.process_data_events(left)

    def _drain(self, channel: Any, taken: list[bytes], most: int) -> None:
        """Process messages that arrived together with the first one."""
        before = 0
        while before < len(taken) < most:
            before = len(taken)
            channel.connection.process_data_events(0)


def _name(queue: str) -> str:
    return f"companon:queue:{queue}"
