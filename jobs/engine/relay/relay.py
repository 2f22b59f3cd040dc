"""The relay: publishes due jobs from the ledger to the broker, and sweeps lost ones.

Several relays may run: one publishes at a time. `python -m jobs.engine.relay` is the process.
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
from jobs.engine.relay.fair_share import FairShare
from jobs.engine.relay.missing_workers import MissingWorkers
from jobs.engine.relay.prefetch import Prefetch
from jobs.engine.transports.base import Transport, TransportError

log = logging.getLogger(__name__)

SWEEP_EVERY = 1.0  # seconds
UNCLAIMED_AFTER = 3.0  # seconds; far longer than the time from a pop to its claim
MISSING_AFTER = 5.0  # seconds that a worker may be without its lock: a lost connection is replaced within them
RESTART_GRACE = 10.0  # seconds that workers have to lock again after a restart of PostgreSQL
MAX_CRASHES = 3

_IDLE = 0.2  # seconds between two polls without a wake-up
_BUSY = 0.02  # seconds between two polls after one that found jobs: jobs that fall due send no wake-up
_GROUPS_EVERY = 0.02  # minimum seconds between two polls of open groups
_GAP = 0.004  # minimum seconds between two polls, so that each finds several jobs when there are many


class Relay:
    """One relay. `step` does one round and returns whether to start the next at once."""

    def __init__(self, ledger: Ledger, transport: Transport) -> None:
        self._ledger = ledger
        self._transport = transport
        self._actors = registry.names_by_queue()
        self._limits = registry.limits()
        self._prefetch = {queue: Prefetch() for queue in self._actors}
        self._fair_share = {queue: FairShare() for queue in self._actors}
        self._last_tenant = dict.fromkeys(self._actors, LAST_TENANT_KEY)
        self._epoch = ""
        self._heartbeat = Heartbeat("relay", ledger)
        self._registered = False
        self._swept_at = 0.0
        self._groups_at = 0.0
        self._has_found = False
        self._missing_workers = MissingWorkers(MISSING_AFTER)

    def run(self, stopping: threading.Event) -> None:
        """Run rounds until `stopping` is set, also while the broker or PostgreSQL is out of reach."""
        failures = 0
        while not stopping.is_set():
            try:
                more = self.step()
                failures = 0
                stopping.wait(_GAP)
                if not more:
                    self._transport.wait_for_wakeup(_BUSY if self._has_found else _IDLE)
            except (LedgerUnavailable, TransportError) as error:
                failures += 1
                self._epoch = ""  # Publish again: ids may not have arrived.
                log.warning("relay: %s", str(error).strip(), extra={"failures": failures})
                stopping.wait(full_jitter(failures, base=0.1, ceiling=2.0))

    def step(self) -> bool:
        """Publish due jobs up to each queue's target, and sweep if it is time. Return True if more may be waiting."""
        if not self._registered:
            self._ledger.register_actors(self._actors)
            self._registered = True
        queues = list(self._actors)
        epoch, depths = self._transport.depths(queues)
        if epoch != self._epoch:
            self._publish_again()
            self._epoch = epoch
        has_polled_groups = self._close_groups()
        self._has_found = False
        full = [self._fill(queue, depths[queue]) for queue in queues]
        self._sweep()
        return any(full) or not has_polled_groups

    def _close_groups(self) -> bool:
        """Advance groups before the queues are filled, so that callbacks go at once. Return False if not due yet."""
        started = time.monotonic()
        if started < self._groups_at:
            return False
        self._ledger.close_groups()
        # With many open groups, spend a tenth of the time on them, unless callbacks would be late.
        self._groups_at = started + min(_IDLE, max(_GROUPS_EVERY, 10 * (time.monotonic() - started)))
        return True

    def _fill(self, queue: str, present: int) -> bool:
        """Publish due jobs up to a queue's target. Return True if more may be waiting."""
        prefetch, fair_share = self._prefetch[queue], self._fair_share[queue]
        capacity = prefetch.capacity(present)
        if not capacity:
            return True
        after = self._last_tenant[queue]
        published = self._ledger.publish_due(self._actors[queue], capacity, self._limits, after, fair_share.recent())
        has_visited_all = published.last_tenant == after
        self._last_tenant[queue] = published.last_tenant
        if published.jobs:
            self._transport.push(queue, [id for id, _ in published.jobs])
            fair_share.record(tenant_key for _, tenant_key in published.jobs)
            self._has_found = True
        prefetch.record_filled(present, len(published.jobs))
        return len(published.jobs) == capacity or not has_visited_all

    def _publish_again(self) -> None:
        """Publish all unclaimed jobs again. A new or restarted broker may have lost their ids."""
        again = self._ledger.sweep_unclaimed(0, [])
        if again:
            log.warning("published %d jobs again, for a broker that may have lost them", again)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = time.monotonic()
        self._heartbeat.beat()
        dead = self._missing_workers.overdue(self._ledger.missing_workers())
        reclaimed = self._ledger.sweep_missing(RESTART_GRACE, MAX_CRASHES, dead) if dead else []
        reclaimed += self._ledger.sweep_overdue(registry.max_hold_seconds(), MAX_CRASHES)
        for id, state in reclaimed:
            log.warning("job %s was reclaimed from its worker: %s", id, state, extra={"job_id": str(id)})
        unclaimed = self._ledger.sweep_unclaimed(UNCLAIMED_AFTER, self._present())
        if unclaimed:
            log.warning("%d published jobs were in no queue and wait again", unclaimed)

    def _present(self) -> list[UUID]:
        """Return the ids in the queues. If the broker cannot list them, return as many of the newest as it holds."""
        queues = list(self._actors)
        present = self._transport.present(queues)
        if present is None:
            # Read the ledger before the lengths: ids that are pushed in between make too many count as present, not
            # too few.
            newest = {queue: self._ledger.newest_published(actors) for queue, actors in self._actors.items()}
            _, depths = self._transport.depths(queues)
            present = {queue: newest_of(newest[queue], depths[queue]) for queue in queues}
        return [id for ids in present.values() for id in ids]


def newest_of(published: Sequence[tuple[UUID, datetime]], depth: int) -> list[UUID]:
    """Return the ids of the `depth` newest jobs, and of those published at the same time as the oldest of them."""
    if depth < len(published):
        oldest = published[depth - 1][1] if depth else None
        return [id for id, at in published if oldest is not None and at >= oldest]
    return [id for id, _ in published]
