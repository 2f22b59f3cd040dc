"""Run one claimed job: its body, then exactly one of finish, retry, dead-letter, cancel and release.

The body's writes commit together with the job's end, in one message, under the fence of this claim. If another worker
has claimed the job meanwhile, the fence is refused and nothing commits. The commit does not wait for the disk: a crash
of PostgreSQL loses the writes and the end together, and the job, which is still in the ledger, runs again. An `outward`
body has committed its own transactions before; its job's end commits alone and waits for the disk.
"""

import logging
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec

from jobs.engine import registry
from jobs.engine.backoff import full_jitter
from jobs.engine.errors import JobCancelled, JobInterrupted, Postponed, RetryLater
from jobs.engine.ledger import Claim, Ledger, LedgerUnavailable
from jobs.engine.registry import HARD_GRACE, ActorSpec
from jobs.engine.worker.current import CurrentJob, running
from jobs.engine.worker.interrupts import Armed, interrupts
from jobs.engine.worker.job_log import JobLog
from models.core import context
from models.core.context import Identity, RequestInfo
from models.core.database import Statement, is_connection_loss, now, transaction
from models.core.errors import Problem, Unavailable
from models.core.logs import redact
from models.core.texts import escape
from models.jobs import endings, wakeup
from models.jobs.ledger import ENDED_STATES

log = logging.getLogger("jobs")

UNKNOWN_ACTOR_DELAY = 5.0
"""Seconds that a job waits for another release if this one lacks its actor or the version of its arguments."""

_ENGINE = Identity("worker", "none")
_FINISH = "CALL app.finish(%s, %s)"
_FINISH_FOR = {"app_fan": "SET LOCAL role = 'none'; CALL app.finish(%s, %s)"}
"""Statements for roles that may not finish jobs: requests of people run in these roles, too."""


class StaleClaim(Exception):
    """Another worker has claimed the job. Nothing of this attempt commits."""


class Runner:
    """Runs jobs for one worker process."""

    def __init__(self, ledger: Ledger, worker_id: int, job_log: JobLog | None = None) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._job_log = job_log

    def run(self, claim: Claim, claimed_at: float | None = None) -> str:
        """Run one attempt of a claimed job. Return its outcome for the job log.

        Args:
            claim: the claim.
            claimed_at: time of the claim (`time.monotonic`), if the job has waited in this process.
        """
        started = time.perf_counter()
        spec = registry.find(claim.actor)
        if spec is None or claim.version > spec.version:
            self._report(lambda: self._ledger.release([claim.id], self._worker_id, UNKNOWN_ACTOR_DELAY))
            ending = "unknown_actor" if spec is None else "newer_version"
        elif claimed_at is not None and time.monotonic() - claimed_at > registry.MAX_WAIT_TO_START:
            # It waited behind other jobs, or the process was stopped. The relay may have reclaimed it.
            self._report(lambda: self._ledger.release([claim.id], self._worker_id))
            ending = "released"
        else:
            context.set_request_info(_request_of(claim))
            ending = self._attempt(spec, claim)
        if claim.group_id is not None and ending in ENDED_STATES:
            wakeup.notify()  # It may have been the last child of its group.
        if spec is not None and spec.outward and ending in ENDED_STATES:
            endings.announce(claim.id)  # A request may wait for it.
        if self._job_log is not None:
            self._job_log.write(claim, ending, time.perf_counter() - started)
        return ending

    def _attempt(self, spec: ActorSpec, claim: Claim) -> str:
        try:
            self._execute(spec, claim)
        except StaleClaim:
            return "stale"
        except JobCancelled:
            return self._report(lambda: self._ledger.finish_cancelled(claim), "cancelled")
        except JobInterrupted as interrupted:
            return self._after_interrupt(spec, claim, interrupted.reason)
        except RetryLater as later:
            return self._retry(spec, claim, later, later.delay)
        except Postponed as postponed:
            return self._postpone(spec, claim, postponed)
        except (Problem, msgspec.ValidationError) as problem:
            if isinstance(problem, Problem) and problem.status >= 500:
                return self._retry(spec, claim, problem)
            return self._dead_letter(claim, problem)
        except Exception as error:
            if is_connection_loss(error):
                # The connection may have been lost during COMMIT. Read its outcome from the ledger.
                return self._after_connection_loss(spec, claim, error)
            return self._retry(spec, claim, error)
        return "done"

    def _execute(self, spec: ActorSpec, claim: Claim) -> None:
        if claim.is_cancelled:
            raise JobCancelled
        identity = identity_of(spec, claim)
        job = CurrentJob(claim, identity, spec.time_limit, self._ledger)
        closing: Statement = (_FINISH_FOR.get(identity.role, _FINISH), (claim.id, claim.fence))
        try:
            with (
                running(job),
                transaction(identity, timeout=spec.time_limit, closing=closing, durable=False)
                if (not spec.outward)
                else nullcontext(),
            ):
                _call_interruptible(spec, job)
            if spec.outward:
                with transaction(_ENGINE, closing=closing):
                    pass
        except Problem as problem:
            if problem.code == "stale_fence":
                raise StaleClaim from None
            raise

    def _after_interrupt(self, spec: ActorSpec, claim: Claim, reason: str | None) -> str:
        if reason == "shutdown":
            return self._report(lambda: self._ledger.release([claim.id], self._worker_id), "released")
        return self._retry(spec, claim, TimeoutError(f"longer than {spec.time_limit:g} s"))

    def _after_connection_loss(self, spec: ActorSpec, claim: Claim, error: Exception) -> str:
        outcomes: list[str] = []
        self._report(lambda: outcomes.append(self._ledger.outcome(claim)))
        if outcomes[-1] == "running":
            return self._retry(spec, claim, error)
        return "done" if outcomes[-1] == "done" else "stale"

    def _retry(self, spec: ActorSpec, claim: Claim, error: Exception, delay: float | None = None) -> str:
        asked = error.retry_after if isinstance(error, Unavailable) else 0.0
        wait = max(spec.wait_after(claim.attempts), asked) if delay is None else delay
        if not spec.may_retry(claim.attempts, claim.created_at, now() + timedelta(seconds=wait)):
            return self._dead_letter(claim, error)
        log.warning("%s will be retried in %.1f s: %s", claim.actor, wait, _message(error), exc_info=_unexpected(error))
        return self._report(lambda: self._ledger.retry(claim, wait, describe(error)), "retry")

    def _postpone(self, spec: ActorSpec, claim: Claim, postponed: Postponed) -> str:
        """Release the job without charging an attempt, unless it is older than its actor allows."""
        if not spec.may_retry(0, claim.created_at, now() + timedelta(seconds=postponed.retry_after)):
            return self._dead_letter(claim, postponed)
        release = partial(self._ledger.release, [claim.id], self._worker_id, postponed.retry_after)
        return self._report(release, "postponed")

    def _dead_letter(self, claim: Claim, error: Exception) -> str:
        log.error("%s is a dead letter: %s", claim.actor, _message(error), exc_info=_unexpected(error))
        return self._report(lambda: self._ledger.dead_letter(claim, describe(error)), "dead")

    def _report(self, report: Callable[[], None], ending: str = "") -> str:
        """Call the ledger until it answers: while this process lives, no other process reports the end of its job.

        Returns:
            `ending`, or `stale` if another worker has claimed the job.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                report()
                return ending
            except LedgerUnavailable:
                time.sleep(full_jitter(attempt, base=0.1, ceiling=2.0))
            except Exception as error:
                if getattr(error, "pgcode", None) == "PT409":
                    return "stale"
                raise


def _call_interruptible(spec: ActorSpec, job: CurrentJob) -> None:
    armed = interrupts.arm(spec.time_limit, HARD_GRACE)
    try:
        try:
            if not _is_done_already(spec, job):
                spec.call(job.claim.args, job.claim.version)
        finally:
            interrupts.disarm(armed)
    except JobInterrupted:
        _disarm_again(armed)
        raise JobInterrupted(armed.fired) from None


def _is_done_already(spec: ActorSpec, job: CurrentJob) -> bool:
    """Return whether the vendor confirms that an earlier attempt has had its effect."""
    return spec.lookup is not None and not job.claim.is_first and bool(spec.lookup(job))


def _disarm_again(armed: Armed) -> None:
    """Disarm again: the interrupt may have been raised before `disarm` began. It is raised only once."""
    try:
        interrupts.disarm(armed)
    except JobInterrupted:
        return


def identity_of(spec: ActorSpec, claim: Claim) -> Identity:
    """Return the identity that a job runs as: its brand, its fan, or the system, as its actor declares.

    Raises:
        msgspec.ValidationError: the actor runs as a brand or fan and the job has none.
    """
    if spec.runs_as == "system":
        return context.for_system_job(claim.id)
    if spec.runs_as == "brand" and claim.brand_id is not None:
        return context.for_brand_job(claim.brand_id, claim.id)
    if spec.runs_as == "fan" and claim.user_id is not None:
        return context.for_fan_job(claim.user_id, claim.id)
    raise msgspec.ValidationError(f"{spec.name} runs as a {spec.runs_as}, but the job has none")


def _request_of(claim: Claim) -> RequestInfo:
    return RequestInfo(
        request_id=claim.request_id or "",
        correlation_id=claim.correlation_id or "",
        traceparent=claim.traceparent or "",
    )


def describe(error: Exception) -> dict[str, Any]:
    """Return an error as the ledger keeps it: kind, message and three innermost frames, without arguments and values.

    The `code` of a `Problem` and its further members are kept, too: the owner of the job may see such an error.
    """
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return {
        **({"code": error.code} if isinstance(error, Problem) else {}),
        **({"members": error.extra} if isinstance(error, Problem) and error.extra else {}),
        "kind": type(error).__name__,
        "message": _message(error)[:500],
        "where": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _message(error: Exception) -> str:
    """Return an error's message as the ledger keeps it: redacted, without lone surrogates and control characters."""
    try:
        text = str(error)
    except Exception as another:
        text = f"no message: {type(another).__name__}"
    return escape(redact(text.encode(errors="replace").decode()), keep="\n\t")


def _unexpected(error: Exception) -> Exception | None:
    return None if isinstance(error, Problem | RetryLater | TimeoutError) else error
