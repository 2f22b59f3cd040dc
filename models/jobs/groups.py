"""Groups of jobs: a batch runs its children side by side, a chain one after the other; then it calls back.

A child is over when it is done, dead or cancelled. `then` is called once, when all are over, however they ended;
`on_success` once, when all of them are done, be it only after a dead letter has been replayed. The callback asks
`children(current_job().id)` how it went. How it works is said in the migration `…_groups.sql`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.core import context
from models.core.database import after_commit, execute, new_id, value
from models.jobs.ledger import Children, children, ring

__all__ = ["Batch", "Call", "Chain", "Children", "GroupRef", "add", "batch", "cancel", "chain", "children", "prune"]

_ADD = "SELECT app.add_groups(%s, %s, %s, %s, %s, %s, %s, %s)"


class Call:
    """A job to be: what `jobs.enqueue` takes."""

    __slots__ = ("args", "brand_id", "delay", "name", "priority", "subject", "user_id", "version")

    def __init__(
        self,
        name: str,
        *args: Any,
        delay: timedelta = timedelta(),
        priority: int = 1,
        version: int = 1,
        subject: tuple[str, Any] | None = None,
        brand_id: UUID | None = None,
        user_id: UUID | None = None,
    ) -> None:
        self.name = name
        self.args = args
        self.delay = delay
        self.priority = priority
        self.version = version
        self.subject = subject or (name.partition(".")[0], args[0] if args else None)
        self.brand_id = brand_id
        self.user_id = user_id


@dataclass(frozen=True)
class Chain:
    """Jobs that run one after the other. It stops at the first that dies, and goes on if that is replayed."""

    jobs: Sequence[Call]
    then: Call | None = None
    on_success: Call | None = None


@dataclass(frozen=True)
class Batch:
    """Jobs that run side by side. A batch or chain among them counts as one, over when its callbacks are."""

    jobs: Sequence["Call | Batch | Chain"]
    then: Call | None = None
    on_success: Call | None = None


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A group that has been started, and the jobs that it will call back with."""

    id: UUID
    then_id: UUID | None
    on_success_id: UUID | None


def batch(
    jobs: Sequence[Call | Batch | Chain],
    *,
    then: Call | None = None,
    on_success: Call | None = None,
    within: bool = False,
) -> GroupRef:
    """Start jobs side by side, in the caller's transaction. An empty batch calls back at once.

    Args:
        jobs: the children; thousands of them are one statement.
        then: called when all of them are over, however they ended.
        on_success: called when all of them are done.
        within: the batch becomes a child of the group of the job that asks.

    Raises:
        Conflict: the job that asks is in no group, or its group has been cancelled.
        Forbidden: a job would be another brand's or fan's.
        ValueError: a callback or a chain's step has a delay.
    """
    return _start(Batch(jobs, then, on_success), within)


def chain(
    jobs: Sequence[Call], *, then: Call | None = None, on_success: Call | None = None, within: bool = False
) -> GroupRef:
    """Start jobs that run one after the other, each when the one before is done; otherwise as `batch`.

    A step that starts a batch `within` its chain is done when that is. When a step dies, `then` is called, and the
    steps behind it wait for somebody to replay it; when a step is cancelled, so are they.
    """
    return _start(Chain(jobs, then, on_success), within)


def add(jobs: Sequence[Call]) -> None:
    """Add children to the group of the job that asks: beside the others, or behind them in a chain.

    Raises:
        Conflict: the job that asks is in no group, or its group has been cancelled.
        Forbidden: a job would be another brand's or fan's.
    """
    plan = _Plan()
    for call in jobs:
        plan.job(call, None, joins=True)
    plan.write(within=True)


def cancel(group_id: UUID) -> int:
    """Cancel every child that is not over yet, in nested groups too; how many. The group calls back as always.

    Raises:
        NotFound: it is another brand's.
    """
    after_commit(ring)
    return int(value("SELECT app.cancel_group(%s)", (group_id,)))


def prune(keep: timedelta) -> int:
    """Forget groups that were over `keep` ago; how many."""
    return int(value("SELECT app.prune_groups(%s)", (keep,)))


def _start(group: Batch | Chain, within: bool) -> GroupRef:
    plan = _Plan()
    ref = plan.group(group, None)
    plan.write(within)
    return ref


@dataclass
class _Plan:
    """The rows of some groups and of their jobs, with every id, before any of them is written."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def group(self, group: Batch | Chain, parent_id: UUID | None) -> GroupRef:
        """Plan a group, what is in it, and what it calls back."""
        ref = GroupRef(new_id(), self._callback(group.then), self._callback(group.on_success))
        kind = "chain" if isinstance(group, Chain) else "batch"
        self.groups.append(
            {
                "id": ref.id,
                "kind": kind,
                "parent_id": parent_id,
                "then_id": ref.then_id,
                "on_success_id": ref.on_success_id,
            }
        )
        for child in group.jobs:
            if isinstance(child, Call):
                self.job(child, ref.id, held=kind == "chain")
            else:
                self.group(child, ref.id)
        return ref

    def job(self, call: Call, group_id: UUID | None, *, held: bool = False, joins: bool = False) -> UUID:
        """Plan a job. Steps of a chain are in the order of their ids."""
        if held and call.delay:
            raise ValueError(f"{call.name} waits for others and can't have a delay of its own")
        id, (kind, subject_id), who = new_id(), call.subject, context.current()
        self.jobs.append(
            {
                "id": id,
                "group_id": group_id,
                "actor": call.name,
                "args": call.args,
                "version": call.version,
                "priority": call.priority,
                "delay": call.delay.total_seconds(),
                "held": held,
                "joins": joins,
                "subject_type": kind,
                "subject_id": subject_id,
                "brand_id": call.brand_id or (who.brand_id if who else None),
                "user_id": call.user_id or (who.user_id if who and who.role == "app_fan" else None),
            }
        )
        return id

    def _callback(self, call: Call | None) -> UUID | None:
        return None if call is None else self.job(call, None, held=True)

    def write(self, within: bool) -> None:
        """Write everything in one call, and wake the relay after the commit."""
        who, request = context.current(), context.request_info()
        execute(
            _ADD,
            (
                _json(self.groups),
                _json(self.jobs),
                within,
                who.brand_id if who else None,
                who.user_id if who and who.role == "app_fan" else None,
                request.request_id,
                request.correlation_id,
                request.traceparent,
            ),
        )
        after_commit(ring)


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, default=str, separators=(",", ":"))
