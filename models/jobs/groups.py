"""Groups of jobs: a batch runs its children in parallel, a chain one after the other. Then the group calls back.

A child is over when it is done, dead or cancelled. `then` is called once, when all children are over. `on_success` is
called once, when all children are done, even if only after the replay of a dead letter. The callback reads its group's
counts with `children(current_job().id)`. The migration `…_jobs_groups.sql` defines groups.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from models.core import context
from models.core.database import after_commit, execute, new_id, value
from models.jobs.ledger import Children, children, notify_relay

__all__ = ["Batch", "Call", "Chain", "Children", "GroupRef", "add", "batch", "cancel", "chain", "children", "prune"]

_ADD = "SELECT app.add_groups(%s, %s, %s, %s, %s, %s, %s, %s)"


class Call:
    """A job of a group, with the arguments of `ledger.enqueue`."""

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
    """Jobs that run one after the other. A dead letter stops the chain; its replay continues it."""

    jobs: Sequence[Call]
    then: Call | None = None
    on_success: Call | None = None


@dataclass(frozen=True)
class Batch:
    """Jobs that run in parallel. A batch or chain among them is one child, which is over when its callbacks are."""

    jobs: Sequence["Call | Batch | Chain"]
    then: Call | None = None
    on_success: Call | None = None


@dataclass(frozen=True, slots=True)
class GroupRef:
    """A started group and the jobs that it calls back."""

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
    """Start jobs in parallel, in the caller's transaction. An empty batch calls back at once.

    Args:
        jobs: the children; one statement, even for thousands.
        then: called when all children are over.
        on_success: called when all children are done.
        within: make the batch a child of the calling job's group.

    Raises:
        Conflict: the calling job is in no group, or its group is cancelled.
        Forbidden: a job would belong to another brand or fan.
        ValueError: a callback or a chain's step has a delay.
    """
    return _start(Batch(jobs, then, on_success), within)


def chain(
    jobs: Sequence[Call], *, then: Call | None = None, on_success: Call | None = None, within: bool = False
) -> GroupRef:
    """Start jobs that run one after the other, in the caller's transaction. Arguments and errors are those of `batch`.

    A step that starts a batch `within` its chain is done when the batch is. When a step is dead, `then` is called, and
    the later steps wait for its replay. When a step is cancelled, the later steps are cancelled, too.
    """
    return _start(Chain(jobs, then, on_success), within)


def add(jobs: Sequence[Call]) -> None:
    """Add children to the calling job's group: in parallel, or at the end of a chain.

    Raises:
        Conflict: the calling job is in no group, or its group is cancelled.
        Forbidden: a job would belong to another brand or fan.
    """
    plan = _Plan()
    for call in jobs:
        plan.job(call, None, joins=True)
    plan.write(within=True)


def cancel(group_id: UUID) -> int:
    """Cancel every live child, also in nested groups, and return their number. The group calls back as usual.

    Raises:
        NotFound: the group belongs to another brand.
    """
    after_commit(notify_relay)
    return int(value("SELECT app.cancel_group(%s)", (group_id,)))


def prune(keep: timedelta) -> int:
    """Delete groups that finished `keep` ago. Return their number."""
    return int(value("SELECT app.prune_groups(%s)", (keep,)))


def _start(group: Batch | Chain, within: bool) -> GroupRef:
    plan = _Plan()
    ref = plan.group(group, None)
    plan.write(within)
    return ref


@dataclass
class _Plan:
    """The rows of groups and of their jobs, before any is written."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)

    def group(self, group: Batch | Chain, parent_id: UUID | None) -> GroupRef:
        """Plan a group, its children and its callbacks."""
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
        """Plan a job. The steps of a chain are in the order of their ids."""
        if held and call.delay:
            raise ValueError(f"{call.name} waits for other jobs, so it must not have a delay")
        id, (kind, subject_id), identity = new_id(), call.subject, context.current()
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
                "brand_id": call.brand_id or (identity.brand_id if identity else None),
                "user_id": call.user_id or (identity.user_id if identity and identity.role == "app_fan" else None),
            }
        )
        return id

    def _callback(self, call: Call | None) -> UUID | None:
        return None if call is None else self.job(call, None, held=True)

    def write(self, within: bool) -> None:
        """Insert all rows in one call, and wake the relay after the commit."""
        identity, request = context.current(), context.request_info()
        execute(
            _ADD,
            (
                _json(self.groups),
                _json(self.jobs),
                within,
                identity.brand_id if identity else None,
                identity.user_id if identity and identity.role == "app_fan" else None,
                request.request_id,
                request.correlation_id,
                request.traceparent,
            ),
        )
        after_commit(notify_relay)


def _json(rows: list[dict[str, Any]]) -> str:
    return json.dumps(rows, default=str, separators=(",", ":"))
