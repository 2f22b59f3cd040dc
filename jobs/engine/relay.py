"""The relay: takes due jobs from the ledger and publishes their ids, and takes back what was lost.

Any number of relays may run; they skip each other's rows. `python -m jobs.engine.relay` is the process.
"""

import logging
import signal
import threading
import time
from types import FrameType

import redis

from jobs.engine import registry
from jobs.engine.backoff import full_jitter
from jobs.engine.ledger import Ledger, LedgerUnavailable
from jobs.engine.transport import RedisTransport
from settings import settings

log = logging.getLogger(__name__)

DEPTH = 256
"""Ids that may lie in one Redis queue: who goes next is decided in the ledger, as late as possible."""

SWEEP_EVERY = 1.0
FORGOTTEN_AFTER = 3.0  # seconds; far longer than it takes from a pop to a claim
RESTART_GRACE = 10.0  # seconds that workers get to lock again after a restart of PostgreSQL
MAX_CRASHES = 3

_IDLE = 0.2  # seconds between two looks when nobody rings
_BUSY = 0.005  # seconds before the next look when a queue was full


class Relay:
    """One relay. `step` does one round and says how long the next may wait for the doorbell."""

    def __init__(self, ledger: Ledger, transport: RedisTransport) -> None:
        self._ledger = ledger
        self._transport = transport
        self._actors = registry.names_by_queue()
        self._epoch = ""
        self._swept_at = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Go round until told to stop, whatever happens to Redis and PostgreSQL meanwhile."""
        failures = 0
        while not stopping.is_set():
            try:
                self._transport.wait_for_doorbell(self.step())
                failures = 0
            except (LedgerUnavailable, redis.RedisError) as error:
                failures += 1
                self._epoch = ""  # whatever was under way may not have arrived
                log.warning("relay: %s", str(error).strip(), extra={"failures": failures})
                stopping.wait(full_jitter(failures, base=0.1, ceiling=2.0))

    def step(self) -> float:
        """Publish what is due and has room, sweep if it is time, and return the seconds to wait."""
        queues = list(self._actors)
        epoch, depths = self._transport.depths(queues)
        if epoch != self._epoch:
            self._publish_again()
            self._epoch = epoch
        full = [self._fill(queue, DEPTH - depths[queue]) for queue in queues]
        self._sweep()
        return _BUSY if any(full) else _IDLE

    def _fill(self, queue: str, room: int) -> bool:
        """Publish up to `room` due jobs into a queue; true if more may be waiting."""
        if room <= 0:
            return True
        ids = self._ledger.take_due(self._actors[queue], room)
        if ids:
            self._transport.push(queue, ids)
        return len(ids) == room

    def _publish_again(self) -> None:
        """A Redis that we have not seen before holds nothing, or not what we think."""
        again = self._ledger.sweep_forgotten(0, [])
        if again:
            log.warning("published %d jobs again, for a Redis that may have lost them", again)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = time.monotonic()
        for id, state in self._ledger.sweep_lost(RESTART_GRACE, MAX_CRASHES):
            log.warning("job %s was held by a worker that is gone: %s", id, state, extra={"job_id": str(id)})
        present = self._transport.present(list(self._actors))
        forgotten = self._ledger.sweep_forgotten(FORGOTTEN_AFTER, [id for ids in present.values() for id in ids])
        if forgotten:
            log.warning("%d published jobs were in no queue and wait again", forgotten)


def main() -> None:
    """The `relay` process."""
    import jobs.main  # noqa: F401  (declares every actor)

    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    Relay(Ledger(), RedisTransport(settings.redis_url)).run(stopping)


if __name__ == "__main__":
    main()
