"""Dead letters: jobs that were given up, what they died of, and how they become jobs again. For system admins.

Letters that died of the same share a fingerprint. A replayed one keeps its id, so whoever follows the job goes on
following it, and its fence goes on counting, so an outward job knows that it has been tried before.
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
from models.jobs.ledger import ring

BATCH = 1000
"""How many are replayed in one transaction; who has more asks again, with the place that was reached."""
SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; None is no condition. Times are when they died, `until` excluded."""

    ids: Sequence[UUID] | None = None
    fingerprint: str | None = None
    brand_id: UUID | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def params(self) -> tuple[Any, ...]:
        """For `app.matching_dead_jobs`."""
        ids = None if self.ids is None else list(self.ids)
        return (ids, self.fingerprint, self.brand_id, self.actor, self.since, self.until)


@dataclass(frozen=True, slots=True)
class Group:
    """Dead letters that died of the same; `error` is the newest one's."""

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
class DeadJobInFull(DeadJob):
    """One dead letter, with all that is known of it."""

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
    """How far a replay has come that takes several batches.

    Attributes:
        began_at: when it began; what dies later is not part of it, and its first job was due then.
        revived: how many it has brought back, which is what the next one's due time follows from.
        died_at, id: the last letter that it looked at.
    """

    began_at: datetime
    revived: int
    died_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Blocked:
    """A letter that stays dead, since another job has its unique key."""

    id: UUID
    held_by: UUID


@dataclass(frozen=True, slots=True)
class Revived:
    """What a batch of a replay did. `place` is where the next one begins; None when there is nothing left."""

    ids: list[UUID]
    blocked: list[Blocked]
    last_due_at: datetime | None
    place: Place | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a replay would do."""

    matching: int
    blocked: int
    sample: list[DeadJob]


def groups(which: Filter, limit: int, after: tuple[int, str] | None = None) -> list[Group]:
    """Up to `limit` groups, the largest first, that come after the one with this count and fingerprint."""
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
    """Up to `limit` letters, the newest first, that come after the one that died then with this id."""
    died_at, id = after or (None, None)
    sql = (
        "SELECT id, actor, fingerprint, error, attempts, crashes, brand_id, subject_type, subject_id, request_id,"
        " created_at, finished_at FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s)"
        " WHERE %s::timestamptz IS NULL OR (finished_at, id) < (%s, %s)"
        " ORDER BY finished_at DESC, id DESC LIMIT %s"
    )
    return [DeadJob(**found) for found in rows(sql, (*which.params, died_at, died_at, id, limit))]


def get(id: UUID) -> DeadJobInFull:
    """One letter, with its arguments.

    Raises:
        NotFound: no job of that id is dead.
    """
    found = row(
        "SELECT id, actor, fingerprint, error, attempts, crashes, brand_id, subject_type, subject_id, request_id,"
        " created_at, finished_at, args, version, user_id, parent_id, group_id, correlation_id, traceparent, unique_key"
        " FROM app.dead_jobs WHERE id = %s",
        (id,),
    )
    if found is None:
        raise NotFound
    return DeadJobInFull(**found)


def forecast(which: Filter) -> Forecast:
    """What a replay of these would do now. Changes nothing."""
    sql = (
        "SELECT count(*) AS matching, count(*) FILTER (WHERE unique_key IS NOT NULL"
        " AND app.other_key_holder(unique_key, id) IS NOT NULL) AS blocked"
        " FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s)"
    )
    counted = row(sql, which.params) or {}
    return Forecast(counted["matching"], counted["blocked"], page(which, SAMPLE))


def batch(which: Filter, began_at: datetime, place: Place | None = None) -> list[dict[str, Any]]:
    """Of these letters those that a replay brings back next: `id` and `finished_at` of each, the oldest first."""
    return rows(
        "SELECT id, finished_at FROM app.matching_dead_jobs(%s::uuid[], %s, %s, %s, %s, %s) WHERE finished_at <= %s"
        " AND (%s::timestamptz IS NULL OR (finished_at, id) > (%s, %s)) ORDER BY finished_at, id LIMIT %s",
        (*which.params, began_at, place and place.died_at, place and place.died_at, place and place.id, BATCH),
    )


def replay(
    which: Filter, *, args: list[Any] | None = None, rate: float | None = None, place: Place | None = None
) -> Revived:
    """Make letters jobs again, the oldest first, at most `BATCH` of them; an audit entry each.

    Args:
        which: of those that were dead when the replay began.
        args: what a single letter is to run with instead.
        rate: how many are to run a second; all at once by default.
        place: where the batch before ended.

    Raises:
        NotFound: a single letter is asked for, and no job of that id is dead.
    """
    began_at = place.began_at if place else value("SELECT now()")
    found = batch(which, began_at, place)
    if not found:
        if which.ids is not None and len(which.ids) == 1:
            raise NotFound
        return Revived([], [], None, None)
    spacing = timedelta(seconds=1 / rate) if rate else timedelta()
    before = place.revived if place else 0
    done = _revive([letter["id"] for letter in found], args, began_at + before * spacing, spacing)
    ids = [letter["id"] for letter in done if letter["held_by"] is None]
    last, full = found[-1], len(found) == BATCH
    return Revived(
        ids,
        [Blocked(letter["id"], letter["held_by"]) for letter in done if letter["held_by"]],
        max((letter["due_at"] for letter in done if letter["due_at"]), default=None),
        Place(began_at, before + len(ids), last["finished_at"], last["id"]) if full else None,
    )


def _revive(ids: list[UUID], args: list[Any] | None, first_at: datetime, spacing: timedelta) -> list[dict[str, Any]]:
    request = context.request_info()
    after_commit(ring)
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
