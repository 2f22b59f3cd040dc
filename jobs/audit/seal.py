"""Seal process (`python -m jobs.audit.seal`): seal entries, store checkpoints and delete expired entries.

The process polls for unsealed entries four times a second. Row locks on the heads of chains keep several seal
processes apart, so a second one may run as a standby. All state is in the database: the process may be killed at any
time.
"""

import logging
import os
import socket
import threading
import time
from uuid import UUID

import peewee

from jobs.audit import maintenance
from jobs.engine import process
from jobs.engine.backoff import full_jitter
from jobs.engine.heartbeat import EVERY
from models.audit import chain
from models.core.context import for_sealer
from models.core.database import execute, transaction
from settings import settings

log = logging.getLogger(__name__)

POLL_INTERVAL = 0.25
"""Seconds between two polls for unsealed entries."""
CHAIN_RETRY_DELAY = 5.0
"""Seconds until a chain that failed is sealed again."""
CHECKPOINT_INTERVAL = 3600.0
"""Seconds between two checkpoints of this process."""
RETENTION_INTERVAL = 86_400.0
"""Seconds between two deletions of expired entries."""
RETRY_DELAY = 60.0
"""Seconds until failed maintenance is retried."""
SHUTDOWN_SECONDS = 8.0
"""Seconds that running maintenance gets to finish at shutdown."""


class Sealer:
    """Seal one batch of each chain, one chain after the other. A chain that fails does not block the others."""

    def __init__(self) -> None:
        self._retry_at: dict[UUID | None, float] = {}
        self._heartbeat_at = float("-inf")

    def run(self, stopping: threading.Event) -> None:
        """Seal until `stopping` is set. Retry after errors of PostgreSQL."""
        failures = 0
        while not stopping.is_set():
            try:
                self._record_heartbeat()
                more = self.step()
                failures = 0
                stopping.wait(0 if more else POLL_INTERVAL)
            except (peewee.OperationalError, peewee.InterfaceError) as error:
                failures += 1
                log.warning("seal: %s", str(error).strip(), extra={"failures": failures})
                stopping.wait(full_jitter(failures, base=0.1, ceiling=1.0))

    def step(self) -> bool:
        """Seal one batch of every chain with unsealed entries. Return whether a chain may have more.

        Raises:
            peewee.OperationalError: PostgreSQL can't be reached, or a statement takes too long.
        """
        with transaction(for_sealer()):
            unsealed = chain.unsealed_chains()
        sealed = [self._seal(brand_id) for brand_id in unsealed]
        return chain.BATCH in sealed

    def _seal(self, brand_id: UUID | None) -> int:
        if time.monotonic() < self._retry_at.get(brand_id, 0.0):
            return 0
        try:
            with transaction(for_sealer(), timeout=60.0):
                sealed = chain.seal(brand_id)
        except (peewee.OperationalError, peewee.InterfaceError):
            raise
        except Exception:
            log.exception("the entries of %s can't be sealed", brand_id or "the platform")
            self._retry_at[brand_id] = time.monotonic() + CHAIN_RETRY_DELAY
            return 0
        self._retry_at.pop(brand_id, None)
        return sealed

    def _record_heartbeat(self) -> None:
        if time.monotonic() - self._heartbeat_at >= EVERY:
            with transaction(for_sealer()):
                execute("SELECT app.record_heartbeat('seal', %s)", (f"{socket.gethostname()}:{os.getpid()}",))
            self._heartbeat_at = time.monotonic()


class Maintenance:
    """Periodic work that may wait for an outside server: store checkpoints and delete expired entries."""

    def __init__(self) -> None:
        self._due = {_store_checkpoint: 0.0, _delete_expired: 0.0}
        self._every = {_store_checkpoint: CHECKPOINT_INTERVAL, _delete_expired: RETENTION_INTERVAL}

    def run(self, stopping: threading.Event) -> None:
        """Run due work until `stopping` is set."""
        while not stopping.is_set():
            self.step(time.monotonic())
            stopping.wait(1.0)

    def step(self, moment: float) -> None:
        """Run the work that is due at `moment`, in seconds. Log a failure and retry it after a minute."""
        for act, due in self._due.items():
            if moment < due:
                continue
            try:
                act()
                self._due[act] = moment + self._every[act]
            except Exception:
                log.exception("maintenance of the audit trail failed")
                self._due[act] = moment + RETRY_DELAY


def _store_checkpoint() -> None:
    maintenance.store_checkpoint(settings.audit_checkpoint_url)


def _delete_expired() -> None:
    while maintenance.delete_expired(settings.audit_checkpoint_url, settings.audit_retention_years):
        pass


def main() -> None:
    """Run the seal process until SIGTERM."""
    stopping = process.begin("seal")
    thread = threading.Thread(target=Maintenance().run, args=(stopping,), name="maintenance", daemon=True)
    thread.start()
    Sealer().run(stopping)
    thread.join(SHUTDOWN_SECONDS)


if __name__ == "__main__":
    main()
