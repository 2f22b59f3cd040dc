"""Previews: how many contacts fulfil a definition, how many of them can be reached, and how many fulfil each leaf.

A brand of up to `EXACT` contacts is counted exactly. Of a larger one, the contacts of some hash buckets are evaluated;
their shares, times the exact number of contacts, are the counts.

A preview must not tell about a single person. A count is withheld if it is below `SMALL`, or if its contacts differ by
fewer than `SMALL` from those of a count that the brand has seen within a day: the difference of the two would be such
a count. Sets are compared by their signatures: the XOR of the hashed ids in each of `PARTS` parts.
"""

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec
import psycopg2
from cachetools import TTLCache

from models.audiences import compiler, dsl, segments
from models.audiences.compiler import BUCKETS, Compiled
from models.audiences.dsl import Condition, ConsentCondition, ProfileCondition
from models.audiences.segments import AudienceSegment
from models.core import context
from models.core.database import execute, now, rows, sqlstate, value
from models.core.errors import Conflict, TooMany

EXACT = 100_000
"""Contacts of a brand up to which every count is exact."""
SAMPLE = 10_000
"""Contacts that are evaluated of a larger brand: half of a 95 % interval is at most 1 % of the contacts."""
SMALL = 10
"""Counts below are withheld."""
PARTS = 64
"""Parts of a signature."""
RUNNING = 3
"""Maximum number of previews of a brand that run at the same time."""

COUNTED_FOR = 60.0
"""Seconds for which the number of contacts of a larger brand is kept: counting a million takes 65 ms."""
_large: TTLCache[UUID, int] = TTLCache(maxsize=1_000, ttl=COUNTED_FOR)
_lock = threading.Lock()

Blocked = Literal["never", "withdrawn", "expired", "opted_out"]
BLOCKED: tuple[Blocked, ...] = ("never", "withdrawn", "expired", "opted_out")
"""Why a contact can't be reached: the state of its consent to marketing, or it told the brand to stop."""


class PreviewReplaced(Conflict):
    """The caller has asked for another preview meanwhile, or the definition has changed."""

    code = "preview_replaced"


class TooManyPreviews(TooMany):
    """The brand has the maximum number of previews that run at the same time."""

    code = "too_many_previews"


@dataclass(frozen=True, slots=True)
class Preview:
    """Counts of a definition; None for a count that is withheld.

    Attributes:
        contacts: contacts of the brand; of a larger brand, those of at most `COUNTED_FOR` seconds ago.
        total: contacts that fulfil the definition.
        reachable: of these, contacts with a consent to marketing in force that have not told the brand to stop.
        blocked: the others by reason; `total` is the sum of all.
        leaves: path of each leaf of the definition, and the number of the brand's contacts that fulfil it.
        exact: whether the counts are exact; otherwise estimates from a sample.
        half_width: half of the 95 % interval of an estimate, as a share of `contacts`; 0 if exact.
        as_of: time of the counts.
    """

    contacts: int
    total: int | None
    reachable: int | None
    blocked: Mapping[str, int | None]
    leaves: Sequence[tuple[str, int | None]]
    exact: bool
    half_width: float
    as_of: datetime


@dataclass(slots=True)
class _Count:
    """A count and the signature of its contacts. `slot` names what is counted, whatever the result is."""

    slot: bytes
    n: int = 0
    parts: list[int] = field(default_factory=lambda: [0] * PARTS)

    def is_close_to(self, other: "_Count") -> bool:
        """Return whether the contacts of two counts differ, but by fewer than `SMALL`."""
        if self.slot == other.slot or abs(self.n - other.n) >= SMALL:
            return False
        return 0 < sum(one != two for one, two in zip(self.parts, other.parts, strict=True)) < SMALL


_GRANTED = Condition(consent=ConsentCondition("marketing", "granted"))
_OPTED_OUT = Condition(profile=ProfileCondition("opted_out_at", "is_set"))
_STATES: Mapping[str, Condition] = {
    "reachable": Condition(all_of=[_GRANTED, Condition(not_of=_OPTED_OUT)]),
    "never": Condition(consent=ConsentCondition("marketing", "never")),
    "withdrawn": Condition(consent=ConsentCondition("marketing", "withdrawn")),
    "expired": Condition(consent=ConsentCondition("marketing", "expired")),
    "opted_out": Condition(all_of=[_GRANTED, _OPTED_OUT]),
}


def of_segment(segment: AudienceSegment) -> Preview:
    """Count a saved segment, and store the counts at it.

    Raises:
        Invalid: the definition can no longer be evaluated; carries the path of each leaf that is wrong.
        PreviewReplaced: the definition has changed meanwhile.
        TooManyPreviews: other previews of the brand are running.
    """
    definition = segments.definition_of(segment.id)
    found = _limited(definition, segment.brand_id, segments.preview_key(segment.id), segment_id=segment.id)
    segments.store_preview(segment, msgspec.to_builtins(found))
    return found


def of_definition(definition: Condition) -> Preview:
    """Count an unsaved definition. An older preview of the caller that is still running is cancelled.

    Raises:
        Invalid: the definition can't be evaluated, or contradicts itself; carries the path of each leaf that is wrong.
        PreviewReplaced: the caller has asked for another preview meanwhile.
        TooManyPreviews: other previews of the brand are running.
    """
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    segments.check(definition, identity.brand_id)
    key = f"unsaved:{identity.actor_id}"
    segments.cancel_previews(identity.brand_id, key)
    return _limited(definition, identity.brand_id, key)


def _limited(definition: Condition, brand_id: UUID, key: str, *, segment_id: UUID | None = None) -> Preview:
    """Count a definition while fewer than `RUNNING` others of the brand are being counted."""
    if not value("SELECT app.begin_preview(%s, %s)", (key, RUNNING)):
        raise TooManyPreviews(retry_after=1)
    try:
        return count(definition, brand_id, segment_id=segment_id)
    except Exception as error:
        if sqlstate(error) == "57014" and "user request" in _message(error):
            raise PreviewReplaced from error
        raise


def _message(error: BaseException) -> str:
    causes = (error, error.__cause__, error.__context__)
    return next((str(one) for one in causes if isinstance(one, psycopg2.Error)), str(error))


def count(definition: Condition, brand_id: UUID, *, segment_id: UUID | None = None) -> Preview:
    """Count a definition for the caller's brand."""
    as_of, contacts = now(), _contacts_of(brand_id)
    buckets = None if contacts <= EXACT else min(BUCKETS, math.ceil(BUCKETS * SAMPLE / contacts))
    at = segments.context_of(definition, brand_id, segment_id=segment_id, as_of=as_of, buckets=buckets)
    compiled = compiler.compile(definition, at, also=list(_STATES.values()))
    everyone, *found = _evaluate(definition, compiled, buckets)
    shown = _withhold(brand_id, [everyone, *found])
    scale = 1 if buckets is None else contacts / everyone.n
    numbers = iter(round(one.n * scale) if is_shown else None for one, is_shown in zip(found, shown[1:], strict=True))
    total, reachable = next(numbers), next(numbers)
    blocked: dict[str, int | None] = {state: next(numbers) for state in BLOCKED}
    return Preview(
        contacts=contacts,
        total=total,
        reachable=reachable,
        blocked=blocked,
        leaves=[(path, next(numbers)) for path, _ in compiled.leaves],
        exact=buckets is None,
        half_width=0 if buckets is None else round(1.96 * math.sqrt(0.25 / everyone.n), 4),
        as_of=as_of,
    )


def _contacts_of(brand_id: UUID) -> int:
    """Return the number of a brand's contacts; above `EXACT` it may be `COUNTED_FOR` seconds old."""
    with _lock:
        known = _large.get(brand_id)
    if known is not None:
        return known
    found: int = value(
        "SELECT count(*) FROM public.contacts c WHERE c.brand_id = %s AND c.merged_into IS NULL", (brand_id,)
    )
    if found > EXACT:
        with _lock:
            _large[brand_id] = found
    return found


def _evaluate(definition: Condition, compiled: Compiled, buckets: int | None) -> list[_Count]:
    """Return the counts of all contacts, of the definition, of each state within it, and of each leaf."""
    whole = msgspec.json.encode(dsl.dump(definition))
    named: list[tuple[bytes, str]] = [(b"contacts", "true"), (whole, compiled.condition)]
    for state, expression in zip(_STATES, compiled.also, strict=True):
        named.append((whole + state.encode(), f"({compiled.condition} AND {expression})"))
    leaves = [msgspec.json.encode(leaf) for _, leaf in dsl.leaves(definition)]
    named += [(text, expression) for text, (_, expression) in zip(leaves, compiled.leaves, strict=True)]
    counts = [_Count(hashlib.sha256(b"%d:" % (buckets or 0) + slot).digest()) for slot, _ in named]
    for one in rows(_statement(compiled, [expression for _, expression in named]), compiled.arguments):
        for number, counted in enumerate(counts):
            counted.n += one[f"n{number}"]
            counted.parts[one["part"]] = one[f"x{number}"] or 0
    return counts


def _statement(compiled: Compiled, expressions: Sequence[str]) -> str:
    """Return the statement that counts in one pass; each expression is evaluated once for each contact."""
    inner = ", ".join(f"{expression} AS e{number}" for number, expression in enumerate(expressions))
    outer = ", ".join(
        f"count(*) FILTER (WHERE e{number}) AS n{number}, bit_xor(h) FILTER (WHERE e{number}) AS x{number}"
        for number in range(len(expressions))
    )
    return (
        f"SELECT part, {outer} FROM (SELECT c.bucket & {PARTS - 1} AS part, uuid_hash_extended(c.id, 0) AS h, {inner}"
        f" {compiled.source} OFFSET 0) evaluated GROUP BY part"
    )


def _withhold(brand_id: UUID, counts: Sequence[_Count]) -> list[bool]:
    """Return for each count whether it may be shown, and remember those that may."""
    # Serialise: of two previews at the same time, the later one must see the counts of the other.
    execute("SELECT app.lock_segments('previews')")
    known = list(_shown_before(brand_id))
    may: list[bool] = []
    for number, one in enumerate(counts):
        is_shown = number == 0 or (
            (one.n >= SMALL or (one.n == 0 and number in _PARTITION))
            and (number not in _PARTITION or may[1])
            and not any(one.is_close_to(other) for other in known)
        )
        may.append(is_shown)
        if is_shown:
            known.append(one)
    _withhold_difference(counts, may)
    for one, is_shown in zip(counts, may, strict=True):
        if is_shown:
            packed = b"".join(part.to_bytes(8, "big", signed=True) for part in one.parts)
            execute(_REMEMBER, (brand_id, one.slot, one.n, packed))
    return may


_PARTITION = range(2, 2 + len(_STATES))
"""Places of the states, whose sum is the count at place 1. Zero contacts of a larger set may be shown."""


def _withhold_difference(counts: Sequence[_Count], may: list[bool]) -> None:
    """Withhold states until those that are withheld can't be computed from the total and the others."""
    while 0 < sum(counts[one].n for one in _PARTITION if not may[one]) < SMALL:
        shown = [one for one in _PARTITION if may[one] and counts[one].n > 0]
        if not shown:
            return
        may[min(shown, key=lambda one: counts[one].n)] = False


def _shown_before(brand_id: UUID) -> Iterator[_Count]:
    execute(
        "DELETE FROM app.segment_preview_counts WHERE brand_id = %s AND shown_at < now() - interval '1 day'",
        (brand_id,),
    )
    for one in rows("SELECT slot, n, parts FROM app.segment_preview_counts WHERE brand_id = %s", (brand_id,)):
        packed = bytes(one["parts"])
        parts = [int.from_bytes(packed[at : at + 8], "big", signed=True) for at in range(0, len(packed), 8)]
        yield _Count(bytes(one["slot"]), one["n"], parts)


_REMEMBER = """
INSERT INTO app.segment_preview_counts (brand_id, slot, n, parts) VALUES (%s, %s, %s, %s)
ON CONFLICT (brand_id, slot) DO UPDATE SET n = excluded.n, parts = excluded.parts, shown_at = excluded.shown_at
"""
