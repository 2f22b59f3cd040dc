"""What happens around Dramatiq's worker: its number and lock, its runners, and an orderly end."""

import ctypes
import logging
import multiprocessing
import os
import signal
import threading
from typing import Any

import dramatiq

from jobs.engine import registry
from jobs.engine.ledger import Claim, Ledger
from jobs.engine.worker.broker import LedgerBroker, runner_name
from jobs.engine.worker.interrupts import interrupts
from jobs.engine.worker.liveness import Liveness
from jobs.engine.worker.runner import Runner
from models.core.database import close_thread_connections
from settings import settings

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


class Lifecycle(dramatiq.Middleware):
    """Brings a worker process up and takes it down."""

    def __init__(self) -> None:
        self._liveness = Liveness()
        self._drain: threading.Timer | None = None
        self.runner: Runner | None = None

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """A worker that outlived its master would be stopped by nobody."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        master = multiprocessing.parent_process()
        if master is not None and os.getppid() != master.pid:
            raise SystemExit("the master process is gone")

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Lock before the first claim."""
        assert isinstance(broker, LedgerBroker)
        broker.worker_id = self._liveness.start(broker.count_outage)
        self.runner = Runner(Ledger(), broker.worker_id)
        log.info("worker %d is ready", broker.worker_id, extra={"worker_id": broker.worker_id})

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Running jobs may end by themselves, for a while; then they are released."""
        self._drain = threading.Timer(settings.worker_drain, interrupts.interrupt_all, ["shutdown"])
        self._drain.daemon = True
        self._drain.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Nothing is held any more."""
        if self._drain is not None:
            self._drain.cancel()
        self._liveness.stop()

    def before_worker_thread_shutdown(self, broker: dramatiq.Broker, thread: Any) -> None:
        """Connections end with their thread."""
        close_thread_connections()


def make_broker(url: str) -> LedgerBroker:
    """The broker of this process, with one Dramatiq actor for each queue that an actor names."""
    lifecycle = Lifecycle()
    broker = LedgerBroker(url, [lifecycle])

    def run(claim: Claim, claimed_at: float) -> None:
        assert lifecycle.runner is not None
        lifecycle.runner.run(claim, claimed_at)

    for queue in registry.names_by_queue():
        dramatiq.actor(actor_name=runner_name(queue), queue_name=queue, broker=broker)(run)
    return broker
