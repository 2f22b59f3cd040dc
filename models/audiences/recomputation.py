"""Computation of all members of a segment, in steps: after a new definition, when time passes, and on request.

A step evaluates the next contacts by id, and commits by itself. Changes of contacts between two steps are applied by
`membership.apply` as always, so the members are complete after the last step.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from models.audiences import changes, membership
from models.audiences.membership import Broken, Evaluator
from models.core.database import execute, now, row, rows, value
from models.jobs.ledger import JobRef, enqueue

STEP = 10_000
"""Number of contacts that one step evaluates."""


@dataclass(frozen=True, slots=True)
class Run:
    """A computation that has begun: the revision of the segment, its time, and the number of the brand's contacts."""

    revision: int
    as_of: datetime
    contacts: int


@dataclass(frozen=True, slots=True)
class Step:
    """An evaluated step: its last contact, the number of its contacts, and whether it was the last one."""

    last: UUID
    contacts: int
    is_last: bool


def request(segment_id: UUID) -> JobRef:
    """Enqueue the computation of all members of a segment of the caller's brand. It may be running already."""
    return enqueue("segment.recompute", segment_id, unique="until_done", subject=("segment", segment_id))


def begin(brand_id: UUID, segment_id: UUID) -> Run | None:
    """Begin the computation; return None if there is no segment, or it can't be evaluated.

    From now on, the changes of contacts are applied for the definition that is in effect.
    """
    changes.lock(brand_id)
    if not _is_archived(segment_id):
        try:
            kinds = Evaluator(brand_id, [segment_id]).compile(segment_id, []).kinds
        except Broken as error:
            membership.mark_broken(segment_id, str(error))
            return None
        execute(_BEGIN, (sorted(kinds), segment_id))
    return next((Run(**one) for one in rows(_RUN, (segment_id,))), None)


_BEGIN = """
UPDATE public.segment_states SET kinds = %s, problem = NULL, tried_at = clock_timestamp(),
    state = CASE WHEN state = 'broken' THEN 'computing' ELSE state END
WHERE brand_id = (SELECT app.job_brand()) AND segment_id = %s
"""
_RUN = """
SELECT s.revision, clock_timestamp() AS as_of,
    (SELECT count(*) FROM public.contacts c WHERE c.brand_id = s.brand_id) AS contacts
FROM public.segment_states s WHERE s.brand_id = (SELECT app.job_brand()) AND s.segment_id = %s
"""


def step(brand_id: UUID, segment_id: UUID, after: UUID | None, *, as_of: datetime | None = None) -> Step | None:
    """Evaluate the next contacts. Return None if the segment can't be evaluated any more.

    Args:
        brand_id: the job's brand.
        segment_id: the segment; the members of an archived one leave.
        after: the last contact of the step before; None for the first step.
        as_of: present time of the windows; None for now.
    """
    changes.lock(brand_id)
    found = [
        one["id"]
        for one in rows(
            "SELECT id FROM public.contacts WHERE brand_id = %s AND id > %s ORDER BY id LIMIT %s",
            (brand_id, after or UUID(int=0), STEP),
        )
    ]
    if _is_archived(segment_id):
        membership.remove(brand_id, segment_id, found)
    elif found:
        try:
            Evaluator(brand_id, [segment_id], as_of).update(segment_id, found)
        except Broken as error:
            membership.mark_broken(segment_id, str(error))
            return None
    return Step(found[-1] if found else UUID(int=0), len(found), len(found) < STEP)


def finish(segment_id: UUID, run: Run) -> None:
    """Record that all members have been computed, unless a newer definition is being computed, or it is broken."""
    execute(
        "UPDATE public.segment_states SET state = 'current', computed_as_of = %s"
        " WHERE brand_id = (SELECT app.job_brand()) AND segment_id = %s AND revision = %s AND state <> 'broken'",
        (run.as_of, segment_id, run.revision),
    )


def _is_archived(segment_id: UUID) -> bool:
    found = row("SELECT archived_at FROM public.audience_segments WHERE id = %s", (segment_id,))
    return found is None or found["archived_at"] is not None


def request_all(brand_id: UUID) -> None:
    """Enqueue the computation of every segment of the job's brand that is not archived."""
    found = rows(
        "SELECT s.segment_id FROM public.segment_states s JOIN public.audience_segments a ON a.id = s.segment_id"
        " WHERE s.brand_id = %s AND a.archived_at IS NULL ORDER BY s.segment_id",
        (brand_id,),
    )
    for one in found:
        enqueue("segment.recompute", one["segment_id"], unique="while_waiting")


def enqueue_due(at: datetime | None = None) -> int:
    """Enqueue the computations that are due at a time. Return their number.

    Segments that depend on the time, and broken ones, are due after each full hour and each midnight of their brand.
    """
    added: int = value("SELECT app.add_due_segments(%s)", (at or now(),))
    return added
