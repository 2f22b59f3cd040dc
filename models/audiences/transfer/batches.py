"""Apply one batch of rows of an import, in one transaction that also advances the import's position."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import Any, cast
from uuid import UUID

import msgspec

from models.audiences.transfer import contact_rows
from models.audiences.transfer.cleaning import BadValue, Cleaner, Conventions, is_empty, unescape_formula
from models.audiences.transfer.fields import CONSENT, OPTED_OUT
from models.audiences.transfer.imports import ContactImport, Opened
from models.audiences.transfer.planning import ID, UNIQUE, Key, Overwrite, Plan, Planner, Row
from models.audiences.transfer.records import Record
from models.core.database import execute, new_id, row, rows

BATCH = 5_000
"""Rows of one transaction."""
MAX_LISTED = 100_000
"""Refused rows and notices of an import that its file of errors lists. Further ones are only counted."""


NOBODY = UUID(int=0)
"""Stands for the owner of a key that its contact has given up in this import."""


@dataclass(slots=True)
class Note:
    """A line of the file of errors."""

    number: int
    field: str
    reason: str
    cells: list[Any]


@dataclass(slots=True)
class Batch:
    """Rows whose values are clean, and the notes about the others.

    Attributes:
        start: position before the first row.
        end: position after the last row.
        count: number of rows.
        last_number: number of the last row.
        rows: the rows that may be stored.
        notes: why the others are refused.
        agreed: numbers of rows that say that the person agrees to marketing.
        cells: original values of each row that may be stored, by its number.
    """

    start: int
    end: int
    count: int
    last_number: int
    rows: list[Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    agreed: set[int] = field(default_factory=set)
    cells: dict[int, list[Any]] = field(default_factory=dict)


class Preparer:
    """Converts the records of a file to clean rows."""

    def __init__(self, opened: Opened, conventions: Conventions) -> None:
        self._is_csv = opened.layout.format == "csv"
        self._conventions = conventions
        self._columns: list[tuple[int, str, Cleaner]] = [
            (place, name, one.cleaner(name)) for place, name, one in opened.columns
        ]

    def batches(self, opened: Opened, *, position: int, number: int) -> Iterator[Batch]:
        """Yield the batches after a position."""
        records = opened.table.rows(position=position, number=number)

        def next_batch(start: int) -> Batch | None:
            found = list(islice(records, BATCH))
            return self.prepare(found, start) if found else None

        # Prepare the next batch while PostgreSQL works on this one.
        with ThreadPoolExecutor(1, "import") as ahead:
            prepared = ahead.submit(next_batch, position)
            while batch := prepared.result():
                prepared = ahead.submit(next_batch, batch.end)
                yield batch

    def prepare(self, records: Sequence[Record], start: int) -> Batch:
        """Return a batch of records that begin at a position."""
        batch = Batch(start, records[-1].end, len(records), records[-1].number)
        for record in records:
            if record.fault:
                batch.notes.append(Note(record.number, "", record.fault, record.cells))
                continue
            values, faults = self._clean(record.cells)
            if ("lat" in values) != ("lon" in values) and not faults:
                faults.append(("lat" if "lon" in values else "lon", "half_a_position"))
            if faults:
                batch.notes += [Note(record.number, name, reason, record.cells) for name, reason in faults]
                continue
            if CONSENT in values:
                if values.pop(CONSENT):
                    batch.agreed.add(record.number)
                else:
                    values[OPTED_OUT] = True
            batch.rows.append(Row(record.number, values))
            batch.cells[record.number] = record.cells
        return batch

    def _clean(self, cells: list[Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        values: dict[str, Any] = {}
        faults: list[tuple[str, str]] = []
        for place, name, clean in self._columns:
            cell = cells[place]
            if is_empty(cell):
                continue
            if self._is_csv and cell[0] == "'":
                cell = unescape_formula(cell)
            try:
                value = clean(cell, self._conventions)
            except BadValue as bad:
                faults.append((name, bad.reason))
            else:
                if value != []:
                    values[name] = value
        return values, faults


def apply(one: ContactImport, batch: Batch) -> bool:
    """Apply a batch and advance the import. Return False, and do nothing, if the import has ended or has moved on."""
    state = row("SELECT state, position, listed FROM public.contact_imports WHERE id = %s FOR NO KEY UPDATE", (one.id,))
    if state is None or state["state"] != "running" or state["position"] != batch.start:
        return False
    planner, earlier, hashes = _plan(one, batch)
    plan = planner.plan
    notes = batch.notes + [Note(number, "", reason, batch.cells[number]) for number, reason in plan.refused.items()]
    notices = _notices(planner, batch)
    if not one.dry_run:
        contact_rows.update(plan.updated)
        contact_rows.insert(one.brand_id, plan.created)
    _add_keys(one.id, plan, earlier, hashes)
    listed = _add_notes(one.id, [*notes, *notices], MAX_LISTED - state["listed"])
    _advance(one.id, batch, plan, notes, notices, listed)
    return True


def _plan(one: ContactImport, batch: Batch) -> tuple[Planner, set[Key], dict[Key, int]]:
    """Decide each row. Return the planner, the keys that rows of earlier batches have had, and hashes of keys.

    Keys that are remembered have a hash: the match keys, and in a dry run, which stores no contact, the unique values.
    """
    names = {**dict.fromkeys(one.match_keys), **UNIQUE}
    keys = {(name, found.values[name]) for found in batch.rows for name in names if name in found.values}
    hashes = {key: _hash(one.id, key) for key in keys if one.dry_run or key[0] in one.match_keys}
    known = contact_rows.load_for_update(contact_rows.find_ids(keys))
    owners = contact_rows.owners_of(known.values(), {key for name, key in keys if name == ID})
    earlier = _earlier(one.id, hashes)
    if one.dry_run:
        for key, contact_id in earlier.items():
            owners[key] = set() if contact_id == NOBODY else {contact_id}
    seen = {key for key, contact_id in earlier.items() if contact_id != NOBODY}
    planner = Planner(one.match_keys, cast(Overwrite, one.overwrite), owners, known, seen, new_id)
    for found in batch.rows:
        planner.add(found)
    return planner, seen, hashes


def _hash(import_id: UUID, key: Key) -> int:
    digest = blake2b(f"{key[0]}\0{key[1]}".encode(), digest_size=8, key=import_id.bytes).digest()
    return int.from_bytes(digest, "big", signed=True)


def _earlier(import_id: UUID, hashes: Mapping[Key, int]) -> dict[Key, UUID]:
    keys = {number: key for key, number in hashes.items()}
    found = rows(
        "SELECT key_hash, contact_id FROM public.contact_import_keys"
        " WHERE import_id = %s AND key_hash = ANY (%s::bigint[])",
        (import_id, _array(keys)),
    )
    return {keys[one["key_hash"]]: one["contact_id"] for one in found}


def _array(values: Iterable[object]) -> str:
    """Return numbers or UUIDs as the text of an array: the driver would write each element as an expression."""
    return "{" + ",".join(map(str, values)) + "}"


def _add_keys(import_id: UUID, plan: Plan, earlier: set[Key], hashes: Mapping[Key, int]) -> None:
    found = plan.keys.items()
    new = {hashes[key]: contact_id for key, contact_id in found if key in hashes and key not in earlier}
    new |= {_hash(import_id, key): NOBODY for key in plan.freed}
    if new:
        execute(
            "INSERT INTO public.contact_import_keys (brand_id, import_id, key_hash, contact_id)"
            " SELECT (SELECT app.job_brand()), %s, * FROM unnest(%s::bigint[], %s::uuid[]) "
            " ON CONFLICT (brand_id, import_id, key_hash) DO UPDATE SET contact_id = excluded.contact_id",
            (import_id, _array(new), _array(new.values())),
        )


def _notices(planner: Planner, batch: Batch) -> list[Note]:
    """Return a note for each row that says that a person agrees to marketing who has not, or who has withdrawn."""
    targets = {
        number: planner.plan.targets[number] for number in sorted(batch.agreed) if number in planner.plan.targets
    }
    if not targets:
        return []
    states = {
        one["contact_id"]: one["state"]
        for one in rows("SELECT * FROM app.marketing_consents(%s::uuid[])", (_array(set(targets.values())),))
    }
    notes = []
    for number, contact_id in targets.items():
        state = "withdrawn" if OPTED_OUT in planner.contact(contact_id).values else states.get(contact_id, "none")
        if state != "given":
            reason = "consent_withdrawn" if state == "withdrawn" else "consent_not_given"
            notes.append(Note(number, CONSENT, reason, batch.cells[number]))
    return notes


def _add_notes(import_id: UUID, notes: Sequence[Note], space: int) -> int:
    """Keep notes for the file of errors, as far as there is space. Return their number."""
    kept = [[one.number, one.field, one.reason, list(map(_as_text, one.cells))] for one in notes[: max(space, 0)]]
    if kept:
        # PostgreSQL can't store U+0000 in a text.
        encoded = msgspec.json.encode(kept).decode("utf-8", "replace").replace("\\u0000", "\ufffd")
        execute(
            "INSERT INTO public.contact_import_rows (brand_id, import_id, row_number, field, reason, cells)"
            " SELECT (SELECT app.job_brand()), %s, (n ->> 0)::int, n ->> 1, n ->> 2, n -> 3"
            " FROM jsonb_array_elements(%s::jsonb) AS n",
            (import_id, encoded),
        )
    return len(kept)


def _as_text(cell: Any) -> Any:
    """Return a cell without the surrogates that stand for bytes that are no text: neither JSON nor UTF-8 has them."""
    return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if isinstance(cell, str) else cell


def _advance(
    import_id: UUID, batch: Batch, plan: Plan, refused: Sequence[Note], notices: Sequence[Note], listed: int
) -> None:
    """Advance the position and the counts. Every row has one outcome; a refused one counts under its first reason."""
    outcomes = Counter(plan.outcomes)
    first = {one.number: one.reason for one in reversed(refused)}
    reasons = Counter(first.values()) + Counter(one.reason for one in notices)
    execute(
        "UPDATE public.contact_imports SET position = %s, row_number = %s, created = created + %s,"
        " updated = updated + %s, unchanged = unchanged + %s, duplicate = duplicate + %s, refused = refused + %s,"
        " listed = listed + %s, reasons = reasons || (SELECT coalesce(jsonb_object_agg(key, value::int +"
        " coalesce((reasons ->> key)::int, 0)), '{}') FROM jsonb_each_text(%s::jsonb)) WHERE id = %s",
        (
            *(batch.end, batch.last_number),
            *(outcomes[name] for name in ("created", "updated", "unchanged", "duplicate")),
            *(len(first), listed, msgspec.json.encode(dict(reasons)).decode(), import_id),
        ),
    )
