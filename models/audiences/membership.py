"""Membership of segments: who is a member, who was one and when.

The members are kept up to date from the marks of changed contacts (`changes`), and recomputed as a whole when the
definition changes or time passes (`recomputation`). Both evaluate the same SQL of the compiler for some contacts, and
apply the difference. `public.segment_members` holds every membership with its beginning and end, which
`membership_history` reads.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee

from models.audiences import activity, changes, compiler, segment_outbox, segments
from models.audiences.compiler import Compiled
from models.audiences.dsl import Condition
from models.core.database import db, execute, execute_deferred, now, row, rows, sqlstate
from models.core.enumerations import enumeration
from models.core.errors import Invalid, NotFound
from models.webhooks import outbox
from models.webhooks.events import EventType

EVALUATION_LIMIT = 10.0
"""Seconds that PostgreSQL may evaluate one segment for one batch of contacts. A slower segment is broken."""
EVENT_CONTACTS = 500
"""Maximum number of contacts that one webhook event names."""
_FAULTS = ("22", "42", "54", "57014")
"""Beginnings of the SQLSTATEs that are the fault of a definition: data, names and types, complexity, time."""


SegmentState = Annotated[
    Literal["computing", "current", "broken"],
    enumeration(
        "SegmentState",
        "State of a segment's members. `computing`: all contacts are being evaluated for a new definition. `current`: "
        "the members follow each change within a second. `broken`: the definition can't be evaluated any more, and the "
        "members stay as they were.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""


class Broken(Exception):
    """A segment can't be evaluated. The text says why."""


@dataclass(frozen=True, slots=True)
class Moves:
    """The contacts that entered and left a segment."""

    entered: Sequence[UUID] = ()
    left: Sequence[UUID] = ()


def apply(brand_id: UUID, *, as_of: datetime | None = None) -> bool:
    """Apply the next changes of the job's brand to activity and segments. Return whether there may be more.

    Args:
        brand_id: the job's brand.
        as_of: present time of the segments' windows; None for now.
    """
    changes.lock(brand_id)
    changed, has_more = changes.take(brand_id)
    if folded := [one for one, marked in changed.items() if any(map(_is_activity, marked))]:
        activity.fold(folded)
    affected = _affected({kind for marked in changed.values() for kind in marked})
    shared = _shared(brand_id, list(affected), as_of)
    for segment_id, kinds in affected.items():
        concerned = [one for one, marked in changed.items() if marked & kinds]
        try:
            evaluator = shared or Evaluator(brand_id, [segment_id], as_of)
            evaluator.update(segment_id, concerned)
        except Broken as error:
            mark_broken(segment_id, str(error))
    return has_more


def _is_activity(kind: str) -> bool:
    return kind == changes.CONTACT or kind.startswith(changes.EVENT)


def _affected(kinds: Collection[str]) -> dict[UUID, set[str]]:
    """Return the segments that changes of these kinds can alter, with their own kinds. Broken segments wait."""
    found = rows(
        "SELECT s.segment_id, s.kinds FROM public.segment_states s"
        " JOIN public.audience_segments a ON a.id = s.segment_id AND a.archived_at IS NULL"
        " WHERE s.brand_id = (SELECT app.job_brand()) AND s.state <> 'broken' AND s.kinds && %s::text[]"
        " ORDER BY s.segment_id",
        (sorted(kinds),),
    )
    return {one["segment_id"]: set(one["kinds"]) for one in found}


class Evaluator:
    """Evaluates segments of the job's brand, by their definitions in effect. The caller holds `changes.lock`.

    What the definitions refer to is read once for all of them.

    Raises:
        Broken: a definition is not valid.
    """

    def __init__(self, brand_id: UUID, segment_ids: Sequence[UUID], as_of: datetime | None = None) -> None:
        try:
            self._definitions = segments.definitions_of(segment_ids)
            together = Condition(any_of=list(self._definitions.values()))
            self._context = segments.context_of(together, brand_id, as_of=as_of)
        except Invalid as error:
            raise Broken(_text(error)) from error
        # Until the end of the transaction. What follows the evaluations takes milliseconds.
        execute_deferred("SELECT set_config('statement_timeout', %s, true)", (f"{EVALUATION_LIMIT * 1000:.0f}",))

    def compile(self, segment_id: UUID, contact_ids: Sequence[UUID]) -> Compiled:
        """Compile the definition of a segment, restricted to contacts.

        Raises:
            Broken: it can't be evaluated any more.
        """
        try:
            context = replace(self._context, segment_id=segment_id, contacts=contact_ids)
            return compiler.compile(self._definitions[segment_id], context)
        except Invalid as error:
            raise Broken(_text(error)) from error

    def update(self, segment_id: UUID, contact_ids: Sequence[UUID]) -> Moves:
        """Evaluate a segment for contacts, apply the difference to its members and publish it.

        Raises:
            Broken: the segment can't be evaluated; nothing has changed.
        """
        made = self.compile(segment_id, contact_ids)
        moves = _apply_within_limit(segment_id, made, contact_ids, self._context.as_of)
        _publish(self._context.brand_id, segment_id, moves, self._context.as_of)
        return moves


def _shared(brand_id: UUID, segment_ids: Sequence[UUID], as_of: datetime | None) -> Evaluator | None:
    """Return the evaluator of several segments; None if one of their definitions is not valid."""
    with suppress(Broken):
        return Evaluator(brand_id, segment_ids, as_of) if segment_ids else None
    return None


def _text(error: Invalid) -> str:
    return "; ".join(f"{one.field}: {one.reason}" for one in error.values.errors)


def remove(brand_id: UUID, segment_id: UUID, contact_ids: Sequence[UUID]) -> Moves:
    """End the memberships of contacts in an archived segment. The caller holds `changes.lock`."""
    at = now()
    moves = _difference(_NOBODY, {}, segment_id, contact_ids, at)
    _publish(brand_id, segment_id, moves, at)
    return moves


_NOBODY = "SELECT NULL::uuid AS contact_id WHERE false"
_DIFFERENCE = """
WITH found AS MATERIALIZED ({found}),
gone AS (
    UPDATE public.segment_members m SET left_at = greatest(%(m_as_of)s, m.entered_at)
    WHERE m.brand_id = (SELECT app.job_brand()) AND m.segment_id = %(m_segment)s AND m.left_at IS NULL
        AND m.contact_id = ANY (%(m_contacts)s::uuid[])
        AND NOT EXISTS (SELECT FROM found f WHERE f.contact_id = m.contact_id)
    RETURNING m.contact_id
),
added AS (
    INSERT INTO public.segment_members AS m (brand_id, segment_id, contact_id, entered_at)
    SELECT (SELECT app.job_brand()), %(m_segment)s, f.contact_id, %(m_as_of)s
    FROM found f WHERE NOT EXISTS (
        SELECT FROM public.segment_members k
        WHERE k.brand_id = (SELECT app.job_brand()) AND k.segment_id = %(m_segment)s AND k.contact_id = f.contact_id
            AND k.left_at IS NULL)
    -- It left and enters again as of the same time.
    ON CONFLICT (brand_id, segment_id, contact_id, entered_at) DO UPDATE SET left_at = NULL
    RETURNING m.contact_id
)
SELECT contact_id, true AS entered FROM added UNION ALL SELECT contact_id, false FROM gone ORDER BY contact_id
"""


def _apply_within_limit(segment_id: UUID, made: Compiled, contact_ids: Sequence[UUID], as_of: datetime) -> Moves:
    """Apply the difference, unless PostgreSQL refuses the statement or needs too long for it."""
    try:
        with db.atomic():
            return _difference(made.sql, made.arguments, segment_id, contact_ids, as_of)
    except peewee.DatabaseError as error:
        state = sqlstate(error) or ""
        if not state.startswith(_FAULTS):
            raise
        text = "takes too long to evaluate" if state == "57014" else f"can't be evaluated (SQLSTATE {state})"
        raise Broken(text) from error


def _difference(
    found: str, arguments: Mapping[str, Any], segment_id: UUID, contact_ids: Sequence[UUID], as_of: datetime
) -> Moves:
    own = {"m_segment": segment_id, "m_contacts": list(contact_ids), "m_as_of": as_of}
    moved = rows(_DIFFERENCE.replace("{found}", found), {**arguments, **own})
    return Moves(
        entered=[one["contact_id"] for one in moved if one["entered"]],
        left=[one["contact_id"] for one in moved if not one["entered"]],
    )


def _publish(brand_id: UUID, segment_id: UUID, moves: Moves, at: datetime) -> None:
    segment_outbox.add(segment_id, at, entered=len(moves.entered), left=len(moves.left))
    events: tuple[tuple[EventType, Sequence[UUID]], ...] = (
        ("segment.entered", moves.entered),
        ("segment.left", moves.left),
    )
    for event, contact_ids in events:
        for start in range(0, len(contact_ids), EVENT_CONTACTS):
            named = contact_ids[start : start + EVENT_CONTACTS]
            outbox.publish(event, brand_id=brand_id, data={"segment_id": segment_id, "contact_ids": named})


def mark_broken(segment_id: UUID, problem: str) -> None:
    """Record that a segment of the job's brand can't be evaluated. Its members stay until it can be."""
    execute(
        "UPDATE public.segment_states SET state = 'broken', problem = %s, tried_at = clock_timestamp()"
        " WHERE brand_id = (SELECT app.job_brand()) AND segment_id = %s",
        (problem[:2000], segment_id),
    )


@dataclass(frozen=True, slots=True)
class Computation:
    """The computation of a segment's members.

    Attributes:
        state: its state.
        problem: why it is broken; None in other states.
        computed_as_of: time as of which all members were last computed; None if never.
    """

    state: SegmentState
    problem: str | None = None
    computed_as_of: datetime | None = None


def find_computation(segment_id: UUID) -> Computation:
    """Return the computation of a segment of the caller's brand.

    Raises:
        NotFound: the brand has no such segment.
    """
    found = row("SELECT state, problem, computed_as_of FROM public.segment_states WHERE segment_id = %s", (segment_id,))
    if found is None:
        raise NotFound
    return Computation(**found)
