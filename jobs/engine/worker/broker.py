"""Dramatiq's broker over the ledger: messages are job ids, and to fetch them is to claim them.

Dramatiq brings its processes, threads, queues and signals. What its own Redis broker keeps in Redis (messages,
acknowledgements, heartbeats, delays, retries) the ledger keeps in PostgreSQL, so there is nothing here to lose.
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
from jobs.engine.throughput import Pace
from jobs.engine.transports import connect
from jobs.engine.transports.base import TransportError
from jobs.engine.worker.exclusive_slot import Occupancy
from jobs.engine.worker.unconfirmed_claims import Doubts

log = logging.getLogger(__name__)

_LOOK = 0.02  # seconds between two looks whether a suspect can run by now
_POLL = 1.0  # seconds that a consumer waits in one go, for ids or for room
_AHEAD = 4  # jobs that are claimed ahead for each thread at the most


class LedgerBroker(Broker):
    """Hands claimed jobs to Dramatiq's worker threads. `worker_id` is set when a worker process boots."""

    def __init__(self, url: str, middleware: list[dramatiq.Middleware]) -> None:
        super().__init__(middleware=middleware)
        self.url = url
        self.worker_id = 0
        self.occupancy = Occupancy()
        self.outages = 0
        # By queue; they outlive a consumer that is made anew.
        self.doubts: defaultdict[str, Doubts] = defaultdict(Doubts)
        self.held: defaultdict[str, set[tuple[UUID, int]]] = defaultdict(set)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "LedgerConsumer":
        """A consumer with connections of its own, for one thread."""
        return LedgerConsumer(self, queue_name, prefetch)

    def declare_queue(self, queue_name: str) -> None:
        """Make the queue known. There is no delay queue: what is not due waits in the ledger."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def count_outage(self) -> None:
        """Note that the connection which shows that this process lives was lost, and is there again.

        Where PostgreSQL has crashed, what it had not written down is gone: by the ledger, jobs that ended in the last
        moment run still, and nobody takes them back from a worker that lives.
        """
        self.outages += 1

    def get_declared_queues(self) -> set[str]:
        """The names of all queues."""
        return set(self.queues)

    def enqueue(self, message: Message[Any], *, delay: int | None = None) -> Message[Any]:
        """Refuse: a message that is in no ledger would be lost with the broker."""
        raise TypeError("jobs are enqueued by models.jobs.ledger.enqueue(name, …), within a transaction")


class LedgerConsumer(Consumer):
    """Takes ids from one queue, claims them in the ledger, and yields what it could claim."""

    def __init__(self, broker: LedgerBroker, queue: str, prefetch: int) -> None:
        self._broker = broker
        self._queue = queue
        self._threads = self._low = prefetch // 2  # Dramatiq asks for two messages a thread
        self._transport = connect(broker.url)
        self._ledger = Ledger()
        self._heartbeat = Heartbeat("worker", self._ledger)
        self._doubts = broker.doubts[queue]
        self._held = broker.held[queue]
        self._outages = 0
        self._claims: deque[Claim] = deque()
        self._suspects: dict[UUID, None] = {}  # in the order in which they came
        self._failures = 0
        self._room = threading.Condition()
        self._pace = Pace()

    def __next__(self) -> MessageProxy | None:
        if not self._claims:
            self._try_to_fetch()
        if not self._claims:
            return None
        return MessageProxy(_message(self._queue, self._claims.popleft()))

    def ack(self, message: MessageProxy) -> None:
        """Make room: the ledger has been told already how the job ended."""
        self._give_back([message.args[0]])

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Release what was claimed and not started, so that another worker gets it at once."""
        claims = [message.args[0] for message in messages] + list(self._claims)
        self._claims.clear()
        if claims:
            self._give_back(claims)
            self._doubts.add(claim.id for claim in claims)
            self._release_doubtful()

    def close(self) -> None:
        """Release what is left and close the connections."""
        try:
            self.requeue([])
        finally:
            self._transport.close()
            self._ledger.close()

    def _try_to_fetch(self) -> None:
        """Fetch, or wait a moment where the broker or the ledger is out of reach: what is held goes on meanwhile."""
        try:
            self._fetch()
            self._heartbeat.beat()
            self._failures = 0
        except (TransportError, LedgerUnavailable) as error:
            self._failures += 1
            log.warning("%s: %s", self._queue, str(error).strip(), extra={"failures": self._failures})
            time.sleep(full_jitter(self._failures, base=0.1, ceiling=_POLL))

    def _fetch(self) -> None:
        self._release_doubtful()
        self._release_unknown()
        if self._suspects and self._claim_suspect():
            return
        patience = _LOOK if self._suspects else _POLL
        room = self._await_room(patience)
        if room <= 0 or not self._broker.occupancy.await_others_turn(patience):
            return
        ids = self._transport.pop(self._queue, room, patience)
        if ids:
            self._claim(ids)

    def _await_room(self, timeout: float) -> int:
        """Wait until half of what is claimed ahead has gone, so that claims come in batches; how many to claim."""
        ahead = self._pace.ahead(_AHEAD * self._threads)
        with self._room:
            self._low = self._threads + ahead // 2
            self._room.wait_for(lambda: len(self._held) <= self._low, timeout)
            held = len(self._held)
        return 0 if held > self._low else self._threads + ahead - held

    def _claim(self, ids: list[UUID]) -> None:
        with self._broker.occupancy.among_others():
            claims = self._ask_for(ids, alone=False)
            self._take(claims)
        if len(claims) < len(ids):
            # What is missing was taken, is over, or is suspected of killing its worker and has to be claimed alone.
            claimed = {claim.id for claim in claims}
            missing = [id for id in ids if id not in claimed]
            self._suspects.update(dict.fromkeys(self._ledger.quarantined(missing)))

    def _claim_suspect(self) -> bool:
        """Claim one suspect when nothing else is held by this process; false if it is not the time yet."""
        occupancy, id = self._broker.occupancy, next(iter(self._suspects))
        if not occupancy.try_alone():
            return False
        claims: list[Claim] = []
        try:
            claims = self._ask_for([id], alone=True)
            self._take(claims)
        finally:
            occupancy.decided(alone=bool(claims))
        del self._suspects[id]
        if not self._suspects:
            occupancy.end_turn()
        return True

    def _ask_for(self, ids: list[UUID], *, alone: bool) -> list[Claim]:
        try:
            claims = self._ledger.claim(ids, self._broker.worker_id, alone=alone)
        except BaseException:
            self._doubts.add(ids)
            raise
        self._doubts.settle(claim.id for claim in claims)
        return claims

    def _release_doubtful(self) -> None:
        ids = self._doubts.due()
        if ids:
            self._ledger.release(ids, self._broker.worker_id)
            self._doubts.given_back()

    def _release_unknown(self) -> None:
        """Give back what has ended here and, since PostgreSQL has crashed, not in the ledger."""
        outages = self._broker.outages
        if outages == self._outages:
            return
        actors = registry.names_by_queue().get(self._queue, [])
        # What is claimed of this queue is claimed by this thread, so nothing is on its way meanwhile.
        with self._room:
            held = [id for id, _ in self._held]
        released = self._ledger.release_except(self._broker.worker_id, actors, held)
        if released:
            log.warning("%s: %d jobs that had ended wait again: PostgreSQL has crashed", self._queue, released)
        self._outages = outages

    def _take(self, claims: list[Claim]) -> None:
        self._claims.extend(claims)
        self._broker.occupancy.add(len(claims))
        with self._room:
            self._held.update((claim.id, claim.fence) for claim in claims)

    def _give_back(self, claims: Sequence[Claim]) -> None:
        self._broker.occupancy.remove(len(claims))
        with self._room:
            self._held.difference_update((claim.id, claim.fence) for claim in claims)
            self._pace.gone(len(claims))
            if len(self._held) <= self._low:
                self._room.notify()


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
    """The one Dramatiq actor of a queue: it runs whatever job it is handed."""
    return f"run.{queue}"
