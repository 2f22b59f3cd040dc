"""Run one claimed job: its body, and then exactly one of finish, retry, bury, release, whatever happens.

Everything that the body wrote commits together with «done», in one message, under the fence of this claim. If
somebody else has claimed the job meanwhile, the fence refuses and nothing of it commits. That commit waits for no disk:
a crash of PostgreSQL takes effect and «done» back together, and the job, which is in the ledger still, runs again.
"""

import logging
import time
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import msgspec

from jobs.engine import registry
from jobs.engine.backoff import full_jitter
from jobs.engine.errors import JobCancelled, JobInterrupted, RetryLater
from jobs.engine.ledger import Claim, Ledger, LedgerUnavailable
from jobs.engine.registry import HARD_GRACE, ActorSpec
from jobs.engine.worker.current import CurrentJob, running
from jobs.engine.worker.interrupts import Armed, interrupts
from models.core import context
from models.core.context import Identity, RequestInfo
from models.core.database import Statement, is_connection_loss, now, transaction
from models.core.errors import Problem
from models.core.logs import redact
from models.core.texts import escape
from models.jobs import wakeup

log = logging.getLogger("jobs")

UNKNOWN_TO_THIS_RELEASE = 5.0
"""Seconds that a job waits whose actor, or form of arguments, this release does not know, for one that does."""

_OVER = ("done", "dead", "cancelled")
_ENGINE = Identity("worker", "none")
_FINISH = "CALL app.finish(%s, %s)"
_FINISH_FOR = {"app_fan": "SET LOCAL role = 'none'; CALL app.finish(%s, %s)"}
"""Where the role of a job's body may not finish jobs itself: it is what people have, too."""


class StaleClaim(Exception):
    """Somebody else holds the job by now; nothing that this attempt did has any effect."""


class Runner:
    """Runs jobs for one worker process."""

    def __init__(self, ledger: Ledger, worker_id: int) -> None:
        self._ledger = ledger
        self._worker_id = worker_id

    def run(self, claim: Claim, claimed_at: float | None = None) -> str:
        """Run a job that was claimed then (`time.monotonic`) to its end for now; that end's word, as it is logged."""
        started = time.perf_counter()
        spec = registry.find(claim.actor)
        if spec is None or claim.version > spec.version:
            self._insist(lambda: self._ledger.release([claim.id], self._worker_id, UNKNOWN_TO_THIS_RELEASE))
            ending = "unknown_actor" if spec is None else "newer_version"
        elif claimed_at is not None and time.monotonic() - claimed_at > registry.HELD_AT_MOST:
            # It waited behind others, or the process was stopped: by now the relay may have taken it back.
            self._insist(lambda: self._ledger.release([claim.id], self._worker_id))
            ending = "released"
        else:
            context.set_request_info(_request_of(claim))
            ending = self._attempt(spec, claim)
        if claim.group_id is not None and ending in _OVER:
            wakeup.ring()  # it may have been the last child of its group
        _log_end(claim, ending, time.perf_counter() - started)
        return ending

    def _attempt(self, spec: ActorSpec, claim: Claim) -> str:
        try:
            self._work(spec, claim)
        except StaleClaim:
            return "stale"
        except JobCancelled:
            return self._insist(lambda: self._ledger.cancel(claim), "cancelled")
        except JobInterrupted as interrupted:
            return self._after_interrupt(spec, claim, interrupted.reason)
        except RetryLater as later:
            return self._again(spec, claim, later, later.delay)
        except (Problem, msgspec.ValidationError) as problem:
            if isinstance(problem, Problem) and problem.status >= 500:
                return self._again(spec, claim, problem)
            return self._bury(claim, problem)
        except Exception as error:
            if is_connection_loss(error):
                # The error may have come during COMMIT. Read its outcome from the ledger.
                return self._after_doubt(spec, claim, error)
            return self._again(spec, claim, error)
        return "done"

    def _work(self, spec: ActorSpec, claim: Claim) -> None:
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
                _interruptible(spec, job)
            if spec.outward:
                with transaction(_ENGINE, closing=closing):
                    pass
        except Problem as problem:
            if problem.code == "stale_fence":
                raise StaleClaim from None
            raise

    def _after_interrupt(self, spec: ActorSpec, claim: Claim, reason: str | None) -> str:
        if reason == "shutdown":
            self._insist(lambda: self._ledger.release([claim.id], self._worker_id))
            return "released"
        return self._again(spec, claim, TimeoutError(f"longer than {spec.time_limit:g} s"))

    def _after_doubt(self, spec: ActorSpec, claim: Claim, error: Exception) -> str:
        outcomes: list[str] = []
        self._insist(lambda: outcomes.append(self._ledger.outcome(claim)))
        if outcomes[-1] == "running":
            return self._again(spec, claim, error)
        return "done" if outcomes[-1] == "done" else "stale"

    def _again(self, spec: ActorSpec, claim: Claim, error: Exception, delay: float | None = None) -> str:
        wait = spec.wait_after(claim.attempts) if delay is None else delay
        if not spec.may_retry(claim.attempts, claim.created_at, now() + timedelta(seconds=wait)):
            return self._bury(claim, error)
        log.warning(
            "%s will be tried again in %.1f s: %s", claim.actor, wait, _words(error), exc_info=_unexpected(error)
        )
        return self._insist(lambda: self._ledger.retry(claim, wait, describe(error)), "retry")

    def _bury(self, claim: Claim, error: Exception) -> str:
        log.error("%s is a dead letter: %s", claim.actor, _words(error), exc_info=_unexpected(error))
        return self._insist(lambda: self._ledger.dead_letter(claim, describe(error)), "dead")

    def _insist(self, report: Callable[[], None], word: str = "") -> str:
        """Tell the ledger, however long it takes: while this process lives nobody else will say it.

        A stale fence means that somebody else has the job, and then there is nothing to say.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                report()
                return word
            except LedgerUnavailable:
                time.sleep(full_jitter(attempt, base=0.1, ceiling=2.0))
            except Exception as error:
                if getattr(error, "pgcode", None) == "PT409":
                    return "stale"
                raise


def _interruptible(spec: ActorSpec, job: CurrentJob) -> None:
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
    """Whether an earlier attempt got through to the vendor, as far as the vendor can be asked."""
    return spec.lookup is not None and not job.claim.is_first and bool(spec.lookup(job))


def _disarm_again(armed: Armed) -> None:
    """The shot may have struck on the way into `disarm`. There is no second one, so this time it gets through."""
    try:
        interrupts.disarm(armed)
    except JobInterrupted:
        return


def identity_of(spec: ActorSpec, claim: Claim) -> Identity:
    """Whom a job runs as: its brand, its fan, or the system, as its actor declares.

    Raises:
        Problem: the actor is a brand's (a fan's) and the job has none.
    """
    if spec.runs_as == "system":
        return context.for_system_job(claim.id)
    if spec.runs_as == "brand" and claim.brand_id is not None:
        return context.for_brand_job(claim.brand_id, claim.id)
    if spec.runs_as == "fan" and claim.user_id is not None:
        return context.for_fan_job(claim.user_id, claim.id)
    raise msgspec.ValidationError(f"{spec.name} runs as a {spec.runs_as}, and the job has none")


def _request_of(claim: Claim) -> RequestInfo:
    return RequestInfo(
        request_id=claim.request_id or "",
        correlation_id=claim.correlation_id or "",
        traceparent=claim.traceparent or "",
    )


def describe(error: Exception) -> dict[str, Any]:
    """What the ledger keeps of an error: kind, words, and where it came from; never arguments or values."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    return {
        "kind": type(error).__name__,
        "message": _words(error)[:500],
        "where": [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames],
    }


def _words(error: Exception) -> str:
    """Return an error's text as the ledger keeps it: redacted, without lone surrogates and control characters."""
    try:
        said = str(error)
    except Exception as another:
        said = f"says nothing: {type(another).__name__}"
    return escape(redact(said.encode(errors="replace").decode()), keep="\n\t")


def _unexpected(error: Exception) -> Exception | None:
    return None if isinstance(error, Problem | RetryLater | TimeoutError) else error


def _log_end(claim: Claim, ending: str, seconds: float) -> None:
    # What was done is in the ledger's history; only what ended otherwise is worth a line each.
    level = logging.DEBUG if ending == "done" else logging.INFO
    if not log.isEnabledFor(level):
        return
    log.log(
        level,
        "%s %s",
        claim.actor,
        ending,
        extra={
            "job_id": str(claim.id),
            "actor": claim.actor,
            "ending": ending,
            "attempt": claim.attempts,
            "ms": round(seconds * 1000, 2),
            "request_id": claim.request_id,
            "correlation_id": claim.correlation_id,
        },
    )
