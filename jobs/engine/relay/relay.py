"""The relay: takes due jobs from the ledger and publishes their ids, and takes back what was lost.

Any number of relays may run; they skip each other's rows. `python -m jobs.engine.relay` is the process.
"""

import logging
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from jobs.engine import registry
from jobs.engine.backoff import full_jitter
from jobs.engine.heartbeat import Heartbeat
from jobs.engine.ledger import LAST_TENANT_KEY, Ledger, LedgerUnavailable
from jobs.engine.relay.fair_share import Turns
from jobs.engine.relay.missing_workers import Absences
from jobs.engine.relay.prefetch import Depth
from jobs.engine.transports.base import Transport, TransportError

log = logging.getLogger(__name__)

SWEEP_EVERY = 1.0
FORGOTTEN_AFTER = 3.0  # seconds; far longer than it takes from a pop to a claim
GONE_AFTER = 5.0  # seconds that a worker may be without its lock: connections get lost, and are made again
RESTART_GRACE = 10.0  # seconds that workers get to lock again after a restart of PostgreSQL
MAX_CRASHES = 3

_IDLE = 0.2  # seconds between two looks when nobody rings
_BRISK = 0.02  # likewise, after a look that found something: nobody rings for what falls due, and it comes in numbers
_GROUPS_EVERY = 0.02  # seconds between two looks at open groups at the least
_GAP = 0.004  # seconds between two looks at the least, so that each finds more than one job when there are many


class Relay:
    """One relay. `step` does one round and says whether there is more to do at once."""

    def __init__(self, ledger: Ledger, transport: Transport) -> None:
        self._ledger = ledger
        self._transport = transport
        self._actors = registry.names_by_queue()
        self._limits = registry.limited()
        self._depths = {queue: Depth() for queue in self._actors}
        self._turns = {queue: Turns() for queue in self._actors}
        self._asked_last = dict.fromkeys(self._actors, LAST_TENANT_KEY)
        self._epoch = ""
        self._heartbeat = Heartbeat("relay", ledger)
        self._announced = False
        self._swept_at = 0.0
        self._groups_at = 0.0
        self._has_found = False
        self._absences = Absences(GONE_AFTER)

    def run(self, stopping: threading.Event) -> None:
        """Go round until told to stop, whatever happens to the broker and PostgreSQL meanwhile."""
        failures = 0
        while not stopping.is_set():
            try:
                more = self.step()
                failures = 0
                stopping.wait(_GAP)
                if not more:
                    self._transport.wait_for_doorbell(_BRISK if self._has_found else _IDLE)
            except (LedgerUnavailable, TransportError) as error:
                failures += 1
                self._epoch = ""  # whatever was under way may not have arrived
                log.warning("relay: %s", str(error).strip(), extra={"failures": failures})
                stopping.wait(full_jitter(failures, base=0.1, ceiling=2.0))

    def step(self) -> bool:
        """Publish what is due and has room, and sweep if it is time; true if more may be waiting."""
        if not self._announced:
            self._ledger.register_actors(self._actors)
            self._announced = True
        queues = list(self._actors)
        epoch, depths = self._transport.depths(queues)
        if epoch != self._epoch:
            self._publish_again()
            self._epoch = epoch
        has_looked = self._close_groups()
        self._has_found = False
        full = [self._fill(queue, depths[queue]) for queue in queues]
        self._sweep()
        return any(full) or not has_looked

    def _close_groups(self) -> bool:
        """Before queues are filled, so that what is called back goes at once; false if it is not the time yet."""
        started = time.monotonic()
        if started < self._groups_at:
            return False
        self._ledger.close_groups()
        # Where many are open it takes a tenth of the time, unless callbacks would come too late.
        self._groups_at = started + min(_IDLE, max(_GROUPS_EVERY, 10 * (time.monotonic() - started)))
        return True

    def _fill(self, queue: str, present: int) -> bool:
        """Publish as many due jobs as a queue should hold; true if more may be waiting."""
        depth, turns = self._depths[queue], self._turns[queue]
        room = depth.room(present)
        if not room:
            return True
        asked_last = self._asked_last[queue]
        taken = self._ledger.publish_due(self._actors[queue], room, self._limits, asked_last, turns.lately())
        has_asked_all = taken.last_tenant == asked_last
        self._asked_last[queue] = taken.last_tenant
        if taken.jobs:
            self._transport.push(queue, [id for id, _ in taken.jobs])
            turns.given(tenant_key for _, tenant_key in taken.jobs)
            self._has_found = True
        depth.filled(present, len(taken.jobs))
        return len(taken.jobs) == room or not has_asked_all

    def _publish_again(self) -> None:
        """A broker that we have not seen before holds nothing, or not what we think."""
        again = self._ledger.sweep_unclaimed(0, [])
        if again:
            log.warning("published %d jobs again, for a broker that may have lost them", again)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = time.monotonic()
        self._heartbeat.beat()
        gone = self._absences.long(self._ledger.missing_workers())
        taken_back = self._ledger.sweep_missing(RESTART_GRACE, MAX_CRASHES, gone) if gone else []
        taken_back += self._ledger.sweep_overdue(registry.held_at_most(), MAX_CRASHES)
        for id, state in taken_back:
            log.warning("job %s was taken back from its worker: %s", id, state, extra={"job_id": str(id)})
        forgotten = self._ledger.sweep_unclaimed(FORGOTTEN_AFTER, self._present())
        if forgotten:
            log.warning("%d published jobs were in no queue and wait again", forgotten)

    def _present(self) -> list[UUID]:
        """The ids that lie in queues. Where the broker can't tell, as many of the newest as a queue has: it is one."""
        queues = list(self._actors)
        present = self._transport.present(queues)
        if present is None:
            # In this order: what is pushed meanwhile makes a queue longer, and more ids count as present, not fewer.
            newest = {queue: self._ledger.newest_published(actors) for queue, actors in self._actors.items()}
            _, depths = self._transport.depths(queues)
            present = {queue: newest_of(newest[queue], depths[queue]) for queue in queues}
        return [id for ids in present.values() for id in ids]


def newest_of(published: Sequence[tuple[UUID, datetime]], depth: int) -> list[UUID]:
    """The ids of the `depth` newest, and of those that were published at the same time as the oldest of them."""
    if depth < len(published):
        oldest = published[depth - 1][1] if depth else None
        return [id for id, at in published if oldest is not None and at >= oldest]
    return [id for id, _ in published]
