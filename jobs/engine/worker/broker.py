"""Dramatiq's broker over the ledger: messages are job ids, and fetching a message claims its job.

Dramatiq provides processes, threads, queues and signals. Its own Redis broker keeps messages, acknowledgements,
heartbeats, delays and retries in Redis. Here the ledger keeps them in PostgreSQL, so no state can be lost.
"""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import dramatiq
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.message import Message

from jobs.engine import registry
from jobs.engine.backoff import full_jitter
from jobs.engine.heartbeat import Heartbeat
from jobs.engine.ledger import Claim, Ledger, LedgerUnavailable
from jobs.engine.throughput import Throughput
from jobs.engine.transports import connect
from jobs.engine.transports.base import TransportError
from jobs.engine.worker.exclusive_slot import ExclusiveSlot
from jobs.engine.worker.unconfirmed_claims import UnconfirmedClaims

log = logging.getLogger(__name__)

_QUARANTINE_POLL = 0.02  # seconds between two checks whether a quarantined job can run
_POLL = 1.0  # maximum seconds of one wait for ids or for capacity
_MAX_LOOKAHEAD = 4  # maximum number of claimed jobs that wait for each thread


class LedgerBroker(Broker):
    """Hands claimed jobs to Dramatiq's worker threads. `worker_id` is set when a worker process boots."""

    def __init__(self, url: str, middleware: list[dramatiq.Middleware]) -> None:
        super().__init__(middleware=middleware)
        self.url = url
        self.worker_id = 0
        self.slot = ExclusiveSlot()
        self.lock_losses = 0
        # By queue. They outlive a consumer that Dramatiq replaces.
        self.unconfirmed: defaultdict[str, UnconfirmedClaims] = defaultdict(UnconfirmedClaims)
        self.held: defaultdict[str, set[tuple[UUID, int]]] = defaultdict(set)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "LedgerConsumer":
        """Return a consumer with connections of its own, for one thread."""
        return LedgerConsumer(self, queue_name, prefetch)

    def declare_queue(self, queue_name: str) -> None:
        """Register the queue. There is no delay queue: jobs that are not due wait in the ledger."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def record_lock_loss(self) -> None:
        """Record that the liveness lock was lost and is held again.

        If PostgreSQL has crashed, it has lost its last commits: jobs that ended in the last moment are running in the
        ledger, and the relay does not reclaim them from a live worker.
        """
        self.lock_losses += 1

    def get_declared_queues(self) -> set[str]:
        """Return the names of all queues."""
        return set(self.queues)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Refuse the message: without a row in the ledger it could be lost with the broker."""
        raise TypeError("enqueue jobs with models.jobs.ledger.enqueue(name, …), within a transaction")


class LedgerConsumer(Consumer):
    """Pops ids from one queue, claims them in the ledger, and yields the claimed jobs."""

    def __init__(self, broker: LedgerBroker, queue: str, prefetch: int) -> None:
        self._broker = broker
        self._queue = queue
        self._threads = self._low = prefetch // 2  # Dramatiq prefetches two messages per thread.
        self._transport = connect(broker.url)
        self._ledger = Ledger()
        self._heartbeat = Heartbeat("worker", self._ledger, queue)
        self._unconfirmed = broker.unconfirmed[queue]
        self._held = broker.held[queue]
        self._lock_losses = 0
        self._claims: deque[Claim] = deque()
        self._quarantined: dict[UUID, None] = {}  # in the order of their arrival
        self._failures = 0
        self._capacity_changed = threading.Condition()
        self._throughput = Throughput()

    def __next__(self) -> MessageProxy | None:
        if not self._claims:
            self._try_to_fetch()
        if not self._claims:
            return None
        return MessageProxy(_message(self._queue, self._claims.popleft()))

    def ack(self, message: MessageProxy) -> None:
        """Free the job's place. The runner has already recorded its end in the ledger."""
        self._free([message.args[0]])

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Release the claimed jobs that were not started, so that another worker gets them at once."""
        claims = [message.args[0] for message in messages] + list(self._claims)
        self._claims.clear()
        if claims:
            self._free(claims)
            self._unconfirmed.add(claim.id for claim in claims)
            self._release_unconfirmed()

    def close(self) -> None:
        """Release the remaining claims and close the connections."""
        try:
            self.requeue([])
        finally:
            self._transport.close()
            self._ledger.close()

    def _try_to_fetch(self) -> None:
        """Fetch jobs. Wait a moment if the broker or the ledger is out of reach; held jobs continue meanwhile."""
        try:
            self._fetch()
            self._heartbeat.beat()
            self._failures = 0
        except (TransportError, LedgerUnavailable) as error:
            self._failures += 1
            log.warning("%s: %s", self._queue, str(error).strip(), extra={"failures": self._failures})
            time.sleep(full_jitter(self._failures, base=0.1, ceiling=_POLL))

    def _fetch(self) -> None:
        self._release_unconfirmed()
        self._release_unknown()
        if self._quarantined and self._claim_quarantined():
            return
        patience = _QUARANTINE_POLL if self._quarantined else _POLL
        capacity = self._wait_for_capacity(patience)
        if capacity <= 0 or not self._broker.slot.wait_for_shared(patience):
            return
        ids = self._transport.pop(self._queue, capacity, patience)
        if ids:
            self._claim(ids)

    def _wait_for_capacity(self, timeout: float) -> int:
        """Wait until half of the lookahead has been started, so that claims come in batches. Return the capacity."""
        lookahead = self._throughput.lookahead(_MAX_LOOKAHEAD * self._threads)
        with self._capacity_changed:
            self._low = self._threads + lookahead // 2
            self._capacity_changed.wait_for(lambda: len(self._held) <= self._low, timeout)
            held = len(self._held)
        return 0 if held > self._low else self._threads + lookahead - held

    def _claim(self, ids: list[UUID]) -> None:
        with self._broker.slot.shared():
            claims = self._claim_in_ledger(ids, alone=False)
            self._hold(claims)
        if len(claims) < len(ids):
            # The others are claimed, over, or quarantined.
            claimed = {claim.id for claim in claims}
            unclaimed = [id for id in ids if id not in claimed]
            self._quarantined.update(dict.fromkeys(self._ledger.quarantined(unclaimed)))

    def _claim_quarantined(self) -> bool:
        """Claim one quarantined job if this process holds nothing else. Return False if it does."""
        slot, id = self._broker.slot, next(iter(self._quarantined))
        if not slot.try_exclusive():
            return False
        claims: list[Claim] = []
        try:
            claims = self._claim_in_ledger([id], alone=True)
            self._hold(claims)
        finally:
            slot.settle(exclusive=bool(claims))
        del self._quarantined[id]
        if not self._quarantined:
            slot.end_priority()
        return True

    def _claim_in_ledger(self, ids: list[UUID], *, alone: bool) -> list[Claim]:
        try:
            claims = self._ledger.claim(ids, self._broker.worker_id, alone=alone)
        except BaseException:
            self._unconfirmed.add(ids)
            raise
        self._unconfirmed.confirm(claim.id for claim in claims)
        return claims

    def _release_unconfirmed(self) -> None:
        ids = self._unconfirmed.due()
        if ids:
            self._ledger.release(ids, self._broker.worker_id)
            self._unconfirmed.mark_released()

    def _release_unknown(self) -> None:
        """Release jobs that have ended here but, after a crash of PostgreSQL, not in the ledger."""
        lock_losses = self._broker.lock_losses
        if lock_losses == self._lock_losses:
            return
        actors = registry.names_by_queue().get(self._queue, [])
        # This thread makes all claims of this queue, so no claim is under way.
        with self._capacity_changed:
            held = [id for id, _ in self._held]
        released = self._ledger.release_except(self._broker.worker_id, actors, held)
        if released:
            log.warning("%s: %d jobs that had ended wait again: PostgreSQL has crashed", self._queue, released)
        self._lock_losses = lock_losses

    def _hold(self, claims: list[Claim]) -> None:
        self._claims.extend(claims)
        self._broker.slot.add(len(claims))
        with self._capacity_changed:
            self._held.update((claim.id, claim.fence) for claim in claims)

    def _free(self, claims: Sequence[Claim]) -> None:
        self._broker.slot.remove(len(claims))
        with self._capacity_changed:
            self._held.difference_update((claim.id, claim.fence) for claim in claims)
            self._throughput.record(len(claims))
            if len(self._held) <= self._low:
                self._capacity_changed.notify()


def _message(queue: str, claim: Claim) -> Message[Any]:
    return Message(
        queue_name=queue,
        actor_name=runner_name(queue),
        args=(claim, time.monotonic()),
        kwargs={},
        options={},
        message_id=str(claim.id),
    )


def runner_name(queue: str) -> str:
    """Return the name of a queue's only Dramatiq actor: it runs every job of the queue."""
    return f"run.{queue}"
