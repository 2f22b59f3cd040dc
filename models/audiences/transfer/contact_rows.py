"""Read and write contacts of the job's brand in batches: one statement for each kind of change."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any
from uuid import UUID

import msgspec

from models.audiences.profile import FIELDS
from models.audiences.transfer.fields import OPTED_OUT, PROPERTY
from models.audiences.transfer.planning import ID, UNIQUE, Key, Known
from models.core.database import execute, rows

_TYPES: Mapping[str, str] = {"text": "text", "number": "double precision", "date": "date", "list": "text[]"}
COLUMNS: Mapping[str, str] = {name: _TYPES[one.type] for name, one in FIELDS.items() if one.importable}
"""SQL type of each column that a file may set."""
KEY_COLUMNS = ("external_id", "email", "phone")

_NAMES = ", ".join(COLUMNS)
_VALUES = {name: "coalesce(r.tags, '{}')" if name == "tags" else f"r.{name}" for name in COLUMNS}
_RECORDSET = (
    f"json_to_recordset(%s) AS r(id uuid, {', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())},"
    " properties jsonb, opted_out boolean)"
)
_INSERT = f"""
INSERT INTO public.contacts (id, brand_id, {_NAMES}, properties, opted_out_at)
SELECT r.id, %s, {", ".join(_VALUES.values())}, coalesce(r.properties, '{{}}'), CASE WHEN r.opted_out THEN now() END
FROM {_RECORDSET}
"""  # noqa: S608 (names of columns only)
_UPDATE = f"""
UPDATE public.contacts k SET {", ".join(f"{name} = {value}" for name, value in _VALUES.items())},
    properties = coalesce(r.properties, '{{}}'), updated_at = now(),
    opted_out_at = CASE WHEN r.opted_out THEN coalesce(k.opted_out_at, now()) ELSE k.opted_out_at END
FROM {_RECORDSET} WHERE k.id = r.id
"""  # noqa: S608
_SELECT = f"id, merged_into, user_id, {', '.join(COLUMNS)}, properties, opted_out_at"


def find_ids(keys: Set[Key]) -> set[UUID]:
    """Return the contacts that have one of the keys, after merges."""
    by_name: dict[str, list[str]] = {}
    for name, key in keys:
        by_name.setdefault(name, []).append(key)
    found: set[UUID] = set()
    for name, values in by_name.items():
        column, kind = ("id", "uuid") if name == ID else (name, "text")
        query = f"SELECT coalesce(merged_into, id) AS id FROM public.contacts WHERE {column} = ANY(%s::{kind}[])"  # noqa: S608
        query += "" if name == ID else " AND merged_into IS NULL"
        found |= {one["id"] for one in rows(query, (values,))}
    return found


def load_for_update(ids: Iterable[UUID]) -> dict[UUID, Known]:
    """Lock contacts and return them with their values."""
    wanted = sorted(ids)
    if not wanted:
        return {}
    # Lock in sorted order: two writers of the same contacts would deadlock otherwise.
    query = f"SELECT {_SELECT} FROM public.contacts WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
    return {one["id"]: Known(one["id"], values_of(one)) for one in rows(query, (wanted,))}


def values_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row of contacts by the names of a file's fields."""
    values = {name: _plain(row[name]) for name in COLUMNS if row[name] is not None and row[name] != []}
    values.update((PROPERTY + key, value) for key, value in row["properties"].items())
    if row["opted_out_at"] is not None:
        values[OPTED_OUT] = True
    return values


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | list) else value.isoformat()


def owners_of(contacts: Iterable[Known], ids: Iterable[str]) -> dict[Key, set[UUID]]:
    """Return the contacts that have a key, by their values; and by the given ids, also those of merged contacts."""
    owners: dict[Key, set[UUID]] = {}
    for contact in contacts:
        for name in KEY_COLUMNS:
            if name in contact.values:
                owners.setdefault((name, contact.values[name]), set()).add(contact.id)
    wanted = list(ids)
    if wanted:
        query = "SELECT id, coalesce(merged_into, id) AS owner FROM public.contacts WHERE id = ANY(%s::uuid[])"
        for one in rows(query, (wanted,)):
            owners[ID, str(one["id"])] = {one["owner"]}
    return owners


def insert(brand_id: UUID, contacts: Sequence[Known]) -> None:
    """Create contacts."""
    if contacts:
        execute(_INSERT, (brand_id, _encode(contacts)))


def update(contacts: Sequence[Known]) -> None:
    """Write the values of contacts that `load_for_update` has locked."""
    if not contacts:
        return
    # Unique values change in two steps: one contact may take the value that another one gives up.
    for name in UNIQUE:
        changed = [contact.id for contact in contacts if name in contact.changed]
        if changed:
            query = f"UPDATE public.contacts SET {name} = NULL WHERE id = ANY(%s) AND {name} IS NOT NULL"  # noqa: S608
            execute(query, (changed,))
    execute(_UPDATE, (_encode(contacts),))


def _encode(contacts: Iterable[Known]) -> str:
    return msgspec.json.encode([_record(contact) for contact in contacts]).decode()


def _record(contact: Known) -> dict[str, Any]:
    record: dict[str, Any] = {"id": contact.id}
    properties: dict[str, Any] = {}
    for name, value in contact.values.items():
        if name.startswith(PROPERTY):
            properties[name.removeprefix(PROPERTY)] = value
        else:
            record[name] = value
    if properties:
        record["properties"] = properties
    return record
