"""The seal process: `python -m jobs.audit.seal`. It seals the audit trail, stores checkpoints and drops old entries.

It polls for unsealed entries four times a second. Row locks on the chains' heads keep several seal processes apart, so
a second one may run as a standby. All state is in the database: the process may be killed at any time.
"""

import logging
import os
import socket
import threading
import time
from uuid import UUID

import peewee

from jobs.audit import upkeep as trail_upkeep
from jobs.engine import process
from jobs.engine.backoff import full_jitter
from jobs.engine.heartbeat import EVERY
from models.audit import chain
from models.core.context import for_sealer
from models.core.database import execute, transaction
from settings import settings

log = logging.getLogger(__name__)

LOOK_EVERY = 0.25
"""Seconds between two polls for unsealed entries."""
FAILED_AGAIN_AFTER = 5.0
"""Seconds after which a chain that could not be sealed is tried again."""
CHECKPOINT_EVERY = 3600.0
"""Seconds between two checkpoints of this process."""
DROP_EVERY = 86_400.0
"""Seconds between two polls for entries that are old enough to be dropped."""
RETRY_AFTER = 60.0
"""Seconds after which upkeep that failed is tried again."""
SHUTDOWN_SECONDS = 8.0
"""Seconds that running upkeep gets to finish at shutdown."""


class Sealer:
    """Seal every chain in turn, one batch of each. A chain that can't be sealed does not block the others."""

    def __init__(self) -> None:
        self._tried_again_at: dict[UUID | None, float] = {}
        self._beaten_at = float("-inf")

    def run(self, stopping: threading.Event) -> None:
        """Seal until `stopping` is set. Retry after errors of PostgreSQL."""
        failures = 0
        while not stopping.is_set():
            try:
                self._beat()
                more = self.step()
                failures = 0
                stopping.wait(0 if more else LOOK_EVERY)
            except (peewee.OperationalError, peewee.InterfaceError) as error:
                failures += 1
                log.warning("seal: %s", str(error).strip(), extra={"failures": failures})
                stopping.wait(full_jitter(failures, base=0.1, ceiling=1.0))

    def step(self) -> bool:
        """Seal one batch of every chain that has unsealed entries; return whether any has more.

        Raises:
            peewee.OperationalError: PostgreSQL can't be reached, or takes too long.
        """
        with transaction(for_sealer()):
            waiting = chain.unsealed_chains()
        sealed = [self._seal(brand_id) for brand_id in waiting]
        return chain.BATCH in sealed

    def _seal(self, brand_id: UUID | None) -> int:
        if time.monotonic() < self._tried_again_at.get(brand_id, 0.0):
            return 0
        try:
            with transaction(for_sealer(), timeout=60.0):
                sealed = chain.seal(brand_id)
        except (peewee.OperationalError, peewee.InterfaceError):
            raise
        except Exception:
            log.exception("the entries of %s can't be sealed", brand_id or "the platform")
            self._tried_again_at[brand_id] = time.monotonic() + FAILED_AGAIN_AFTER
            return 0
        self._tried_again_at.pop(brand_id, None)
        return sealed

    def _beat(self) -> None:
        if time.monotonic() - self._beaten_at >= EVERY:
            with transaction(for_sealer()):
                execute("SELECT app.record_heartbeat('seal', %s)", (f"{socket.gethostname()}:{os.getpid()}",))
            self._beaten_at = time.monotonic()


class Upkeep:
    """Periodic upkeep that may wait for an outside server: store checkpoints and drop old entries."""

    def __init__(self) -> None:
        self._due = {_store_checkpoint: 0.0, _drop_outdated: 0.0}
        self._every = {_store_checkpoint: CHECKPOINT_EVERY, _drop_outdated: DROP_EVERY}

    def run(self, stopping: threading.Event) -> None:
        """Run due upkeep until `stopping` is set."""
        while not stopping.is_set():
            self.step(time.monotonic())
            stopping.wait(1.0)

    def step(self, moment: float) -> None:
        """Run the upkeep that is due at `moment`. Log a failure and retry it after a minute."""
        for act, due in self._due.items():
            if moment < due:
                continue
            try:
                act()
                self._due[act] = moment + self._every[act]
            except Exception:
                log.exception("the audit trail's upkeep failed")
                self._due[act] = moment + RETRY_AFTER


def _store_checkpoint() -> None:
    trail_upkeep.store_checkpoint(settings.audit_checkpoint_url)


def _drop_outdated() -> None:
    while trail_upkeep.drop_outdated(settings.audit_checkpoint_url, settings.audit_retention_years):
        pass


def main() -> None:
    """The `seal` process."""
    stopping = process.begin("seal")
    upkeep = threading.Thread(target=Upkeep().run, args=(stopping,), name="upkeep", daemon=True)
    upkeep.start()
    Sealer().run(stopping)
    upkeep.join(SHUTDOWN_SECONDS)


if __name__ == "__main__":
    main()
