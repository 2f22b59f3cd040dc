"""Send calls of jobs to services: policy, health, bulkhead, one attempt, and its record.

A call is one attempt. The engine repeats the job, so nothing here repeats a call.
"""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import msgspec

from jobs.engine.errors import JobInterrupted
from jobs.engine.worker.current import CurrentJob, current_job
from jobs.engine.worker.interrupts import interrupts
from jobs.passport import policy
from jobs.passport.contract import (
    CallDenied,
    NotSent,
    Operation,
    Service,
    ServiceRefused,
    ServiceUnavailable,
)
from jobs.passport.http_transport import HttpTransport
from models.core import context
from models.core.database import transaction
from models.core.errors import Problem
from models.passport import calls, services
from models.passport.calls import CallOutcome, Transport
from settings import settings

P = TypeVar("P")

RECORD_TIMEOUT = 5.0
"""Seconds that the record of a call may take."""
BUSY_WAIT = 1.0
"""Mean seconds after which a job tries again if all places of a service are taken."""

PLACES = max(1, settings.worker_threads // 2)
"""Concurrent calls of one service in a process: a slow service leaves threads for the others."""


class Sender(Protocol):
    """An implementation of a service: local or HTTP."""

    kind: Transport

    def send(self, operation: Operation, request: msgspec.Struct, *, key: str) -> msgspec.Struct:
        """Return the answer.

        Raises:
            ServiceRefused: the service refuses for a reason that the operation lists.
            ServiceKeyReused: the key belongs to another request.
            ServiceUnavailable: there is no answer.
        """
        ...


class LocalSender:
    """Calls the local implementation of a service."""

    kind: Transport = "local"

    def __init__(self, implementation: object) -> None:
        self._implementation = implementation

    def send(self, operation: Operation, request: msgspec.Struct, *, key: str) -> msgspec.Struct:
        """Call the method. A listed problem of its rules becomes a refusal."""
        try:
            return cast(msgspec.Struct, getattr(self._implementation, operation.name)(request, key=key))
        except Problem as problem:
            if problem.code in operation.refusals:
                raise ServiceRefused(problem.code, problem.detail) from problem
            raise


_http_senders: dict[tuple[str, services.Route], HttpTransport] = {}
_places: defaultdict[str, threading.BoundedSemaphore] = defaultdict(lambda: threading.BoundedSemaphore(PLACES))


def connect(service: Service, local: Callable[[], P]) -> P:
    """Return a service: each of its methods sends a call through Passport.

    Args:
        service: the contract.
        local: its local implementation, which is used if no server is configured.
    """
    route = services.route(service.name)
    if route is None:
        return cast(P, Connection(service, LocalSender(local())))
    sender = _http_senders.get((service.name, route))
    if sender is None:
        sender = _http_senders[service.name, route] = HttpTransport(route.url, route.key)
    return cast(P, Connection(service, sender))


class Connection:
    """A service whose methods are the operations of its contract."""

    def __init__(self, service: Service, sender: Sender) -> None:
        self._service, self._sender = service, sender

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = self._service.by_name.get(name)
        if operation is None:
            raise AttributeError(f"{self._service.name} has no operation {name!r}")
        return partial(call, self._service.name, operation, self._sender)


def call(service: str, operation: Operation, sender: Sender, request: msgspec.Struct, *, key: str) -> msgspec.Struct:
    """Send one call of the current job, and record it.

    Raises:
        CallDenied: the policy does not allow it.
        NotSent: the breaker is open, the retry budget is used up, or all places are taken.
        ServiceRefused: the service refuses for a reason that the operation lists.
        ServiceKeyReused: the key belongs to another request.
        ServiceUnavailable: there is no answer.
    """
    job = current_job()
    attempt = _Attempt(service, operation, sender.kind, request, key, job)
    if not policy.allows(policy.role_of(job.identity), service, operation.name):
        attempt.record("denied", CallDenied.code)
        raise CallDenied
    with _place(service), _admitted(service, is_retry=job.attempt > 1):
        return attempt.run(sender)


@contextmanager
def _place(service: str) -> Iterator[None]:
    """Take one of the service's places in this process."""
    places = _places[service]
    if not places.acquire(blocking=False):
        raise NotSent(BUSY_WAIT * random.uniform(0.5, 1.5), cause="bulkhead")
    try:
        yield
    finally:
        places.release()


@contextmanager
def _admitted(service: str, *, is_retry: bool) -> Iterator[None]:
    """Ask the breaker and the retry budget, and report the outcome of the block."""
    admission = services.health.admit(service, is_retry=is_retry)
    if admission.refusal is not None:
        # Spread the jobs that wait for one moment.
        raise NotSent(admission.wait * random.uniform(1.0, 1.25), cause=admission.refusal)
    failed = True
    try:
        yield
        failed = False
    except Problem as problem:
        failed = problem.status >= 500
        raise
    finally:
        services.health.settle(service, failed=failed, is_probe=admission.is_probe)


@dataclass(slots=True)
class _Attempt:
    service: str
    operation: Operation
    transport: Transport
    request: msgspec.Struct
    key: str
    job: CurrentJob
    started: float = 0.0

    def run(self, sender: Sender) -> msgspec.Struct:
        """Send the call and record its outcome."""
        self.started = time.perf_counter()
        try:
            answer = sender.send(self.operation, self.request, key=self.key)
        except ServiceRefused as refusal:
            self.record("refused", refusal.code)
            raise
        except ServiceUnavailable as error:
            self.record("failed", error.cause)
            raise
        except JobInterrupted:
            self.record("failed", "interrupted")
            raise
        except Exception as error:
            self.record("failed", error.code if isinstance(error, Problem) else type(error).__name__)
            raise
        self.record("ok", None, answer)
        return answer

    def record(self, outcome: CallOutcome, error_code: str | None, answer: msgspec.Struct | None = None) -> None:
        """Store the call and its audit entry. The end of the job waits for the disk, and with it this commit."""
        claim = self.job.claim
        ended = calls.Ended(
            service=self.service,
            operation=self.operation.name,
            transport=self.transport,
            key=self.key,
            brand_id=claim.brand_id,
            job_id=claim.id,
            attempt=claim.attempts,
            outcome=outcome,
            error_code=error_code,
            seconds=time.perf_counter() - self.started if self.started else 0.0,
            request=msgspec.to_builtins(self.request),
            answer_bytes=len(msgspec.json.encode(answer)) if answer is not None else 0,
            redacted=self.operation.redacted,
        )
        system = context.for_system_job(claim.id)
        with interrupts.masked(), transaction(system, timeout=RECORD_TIMEOUT, durable=False):
            calls.record(ended)
