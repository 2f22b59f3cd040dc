"""Search and replay dead letters, for system admins.

Dead letters with the same reason share a fingerprint. A replayed job keeps its id, so its status URL stays valid, and
its fence continues, so that an outward job can detect earlier attempts.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from models.core import context
from models.core.database import after_commit, row, rows, value
from models.core.errors import NotFound
from models.jobs.ledger import notify_relay

BATCH = 1000
"""Maximum number of jobs in one transaction of a replay. The next call continues at the returned place."""
SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions on dead letters. A None is no condition. They died between `since` and `until` (excluded)."""

    ids: Sequence[UUID] | None = None
    fingerprint: str | None = None
    brand_id: UUID | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def params(self) -> tuple[Any, ...]:
        """Parameters of `app.matching_dead_jobs`."""
        ids = None if self.ids is None else list(self.ids)
        return (ids, self.fingerprint, self.brand_id, self.actor, self.since, self.until)


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters with one fingerprint. `error` is that of the newest."""

    fingerprint: str
    actor: str
    count: int
    brands: int
    first_at: datetime
    last_at: datetime
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeadJob:
    """One dead letter, without its arguments."""

    id: UUID
    actor: str
    fingerprint: str
    error: dict[str, Any]
    attempts: int
    crashes: int
    brand_id: UUID | None
    subject_type: str | None
    subject_id: str | None
    request_id: str | None
    created_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True)
class DeadJobDetail(DeadJob):
    """One dead letter, with its arguments."""

    args: list[Any]
    version: int
    user_id: UUID | None
    parent_id: UUID | None
    group_id: UUID | None
    correlation_id: str | None
    traceparent: str | None
    unique_key: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """The place that a replay in several batches has reached.

    Attributes:
        began_at: start of the replay. Its first job is due then, and jobs that die later are not part of it.
        revived: number of replayed jobs so far, which determines the next due time.
        died_at, id: the last dead letter that was handled.
    """

    began_at: datetime
    revived: int
    died_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Blocked:
    """A dead letter that cannot be replayed, because the job `held_by` has its unique key."""

    id: UUID
    held_by: UUID


@dataclass(frozen=True, slots=True)
class Revived:
    """The result of one batch of a replay. `place` is the start of the next batch, or None after the last."""

    ids: list[UUID]
    blocked: list[Blocked]
    last_due_at: datetime | None
    place: Place | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """The result that a replay would have."""

    matching: int
    blocked: int
    sample: list[DeadJob]


def groups(which: Filter, limit: int, after: tuple[int, str] | None = None) -> list[Group]:
    """Return up to `limit` groups, the largest first, after the one with this count and fingerprint."""
    count, fingerprint = after or (None, None)
    sql = (
        "WITH g AS (SELECT fingerprint, min(actor) AS actor, count(*) AS count, count(DISTINCT brand_id) AS brands,"
        " min(finished_at) AS first_at, max(finished_at) AS last_at"
        " FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s) GROUP BY fingerprint)"
        " SELECT g.*, newest.error FROM g CROSS JOIN LATERAL (SELECT d.error FROM app.dead_jobs AS d"
        " WHERE d.fingerprint = g.fingerprint ORDER BY d.finished_at DESC LIMIT 1) AS newest"
        " WHERE %s::bigint IS NULL OR (-g.count, g.fingerprint) > (-%s::bigint, %s)"
        " ORDER BY -g.count, g.fingerprint LIMIT %s"
    )
    return [Group(**found) for found in rows(sql, (*which.params, count, count, fingerprint, limit))]


def page(which: Filter, limit: int, after: tuple[datetime, UUID] | None = None) -> list[DeadJob]:
    """Return up to `limit` dead letters, the newest first, after the one with this time of death and id."""
    died_at, id = after or (None, None)
    sql = (
        "SELECT id, actor, fingerprint, error, attempts, crashes, brand_id, subject_type, subject_id, request_id,"
        " created_at, finished_at FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s)"
        " WHERE %s::timestamptz IS NULL OR (finished_at, id) < (%s, %s)"
        " ORDER BY finished_at DESC, id DESC LIMIT %s"
    )
    return [DeadJob(**found) for found in rows(sql, (*which.params, died_at, died_at, id, limit))]


def get(id: UUID) -> DeadJobDetail:
    """Return one dead letter, with its arguments.

    Raises:
        NotFound: no dead letter has this id.
    """
    found = row(
        "SELECT id, actor, fingerprint, error, attempts, crashes, brand_id, subject_type, subject_id, request_id,"
        " created_at, finished_at, args, version, user_id, parent_id, group_id, correlation_id, traceparent, unique_key"
        " FROM app.dead_jobs WHERE id = %s",
        (id,),
    )
    if found is None:
        raise NotFound
    return DeadJobDetail(**found)


def forecast(which: Filter) -> Forecast:
    """Return the result that a replay would have now. Change nothing."""
    sql = (
        "SELECT count(*) AS matching, count(*) FILTER (WHERE unique_key IS NOT NULL"
        " AND app.other_key_holder(unique_key, id) IS NOT NULL) AS blocked"
        " FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s)"
    )
    counted = row(sql, which.params) or {}
    return Forecast(counted["matching"], counted["blocked"], page(which, SAMPLE))


def batch(which: Filter, began_at: datetime, place: Place | None = None) -> list[dict[str, Any]]:
    """Return the next dead letters of a replay, the oldest first: `id` and `finished_at` of each."""
    return rows(
        "SELECT id, finished_at FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s) WHERE finished_at <= %s"
        " AND (%s::timestamptz IS NULL OR (finished_at, id) > (%s, %s)) ORDER BY finished_at, id LIMIT %s",
        (*which.params, began_at, place and place.died_at, place and place.died_at, place and place.id, BATCH),
    )


def replay(
    which: Filter, *, args: list[Any] | None = None, rate: float | None = None, place: Place | None = None
) -> Revived:
    """Replay dead letters, the oldest first, at most `BATCH` of them. Write an audit entry for each.

    Args:
        which: conditions; only jobs that were dead when the replay began are replayed.
        args: new arguments for a single dead letter.
        rate: jobs per second; all at once by default.
        place: the place that the previous batch reached.

    Raises:
        NotFound: one id is given, and no dead letter has it.
    """
    began_at = place.began_at if place else value("SELECT now()")
    found = batch(which, began_at, place)
    if not found:
        if which.ids is not None and len(which.ids) == 1:
            raise NotFound
        return Revived([], [], None, None)
    spacing = timedelta(seconds=1 / rate) if rate else timedelta()
    before = place.revived if place else 0
    done = _revive([job["id"] for job in found], args, began_at + before * spacing, spacing)
    ids = [job["id"] for job in done if job["held_by"] is None]
    last, full = found[-1], len(found) == BATCH
    return Revived(
        ids,
        [Blocked(job["id"], job["held_by"]) for job in done if job["held_by"]],
        max((job["due_at"] for job in done if job["due_at"]), default=None),
        Place(began_at, before + len(ids), last["finished_at"], last["id"]) if full else None,
    )


def _revive(ids: list[UUID], args: list[Any] | None, first_at: datetime, spacing: timedelta) -> list[dict[str, Any]]:
    request = context.request_info()
    after_commit(notify_relay)
    return rows(
        "SELECT id, due_at, held_by FROM app.replay_jobs(%s, %s::jsonb, %s, %s, %s, %s, %s)",
        (
            ids,
            None if args is None else json.dumps(args),
            first_at,
            spacing,
            request.request_id,
            request.address,
            request.user_agent,
        ),
    )
