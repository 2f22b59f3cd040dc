"""The life cycle of a Dramatiq worker process: its number and lock, its runner and its shutdown."""

import ctypes
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
from jobs.engine.worker.job_log import JobLog
from jobs.engine.worker.liveness import Liveness
from jobs.engine.worker.runner import Runner
from models.core.database import close_thread_connections
from models.operations import startup
from settings import settings

_PR_SET_PDEATHSIG = 1


class Lifecycle(dramatiq.Middleware):
    """Starts and stops the parts of a worker process."""

    def __init__(self) -> None:
        self._liveness = Liveness()
        self._job_log = JobLog()
        self._drain: threading.Timer | None = None
        self.runner: Runner | None = None

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """End this process with its master, which is the process that stops workers."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        master = multiprocessing.parent_process()
        if master is not None and os.getppid() != master.pid:
            raise SystemExit("the master process is gone")

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Acquire the liveness lock before the first claim."""
        assert isinstance(broker, LedgerBroker)
        broker.worker_id = self._liveness.start(broker.record_lock_loss)
        self._job_log.open()
        self.runner = Runner(Ledger(), broker.worker_id, self._job_log)
        startup.announce(settings, "worker", worker_id=broker.worker_id)

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Let running jobs end for `WORKER_DRAIN` seconds, then interrupt them, which releases them."""
        self._drain = threading.Timer(settings.worker_drain, interrupts.interrupt_all, ["shutdown"])
        self._drain.daemon = True
        self._drain.start()

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        """Release the liveness lock: no job is held any more."""
        if self._drain is not None:
            self._drain.cancel()
        self._liveness.stop()
        self._job_log.flush()

    def before_worker_thread_shutdown(self, broker: dramatiq.Broker, thread: Any) -> None:
        """Close the thread's database connection."""
        close_thread_connections()


def make_broker(url: str) -> LedgerBroker:
    """Return the broker of this process, with one Dramatiq actor for each queue."""
    lifecycle = Lifecycle()
    broker = LedgerBroker(url, [lifecycle])

    def run(claim: Claim, claimed_at: float) -> None:
        assert lifecycle.runner is not None
        lifecycle.runner.run(claim, claimed_at)

    for queue in registry.names_by_queue():
        dramatiq.actor(actor_name=runner_name(queue), queue_name=queue, broker=broker)(run)
    return broker
