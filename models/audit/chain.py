"""Seals of the audit trail: each tenant's entries form a chain, and each link is keyed.

A link's MAC is HMAC-SHA256, under our `audit` key, of the whole entry in canonical form and of the MAC before it
(`keys.keyed_hash`, which separates the two). Without the key, a change, removal, insertion or reordering of a sealed
entry is found: `verify` reports its place.

The canonical form is JSON as of RFC 8785 (keys in the order of their UTF-16 code units, no white space), except that
numbers stay the exact decimals that PostgreSQL stores: no double would hold them all. Columns that are null are left
out, so that a column added later doesn't break the seals of today.

Personal values are not in the entry: its `personal_hashes` has SHA-256 of `<salt>:<path>=<value>` for each. Salts and
values are in `app.audit_personal_values`, where a value can be erased; the chain still verifies.
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from models.core import keys
from models.core.database import execute, now, row, rows

Entry = Mapping[str, Any]
"""A row of `audit_logs`: every column by its name, `details` with its numbers as decimals.

`personal`, if it is there, has the personal values that are not erased: path → `{"salt", "value"}`.
"""

PURPOSE = "audit"
PLATFORM = UUID(int=0)
"""The chain of the entries that belong to no brand."""

BATCH = 1_000
"""Entries sealed by one statement."""

_UNCOVERED = ("mac", "personal")

OVERDUE = 60.0
"""Seconds after which an entry without a seal is a reason for alarm: it takes less than one."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many entries it has, and the MAC of the last one."""

    seq: int = 0
    mac: bytes = b""


_quoted = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """The one text that a value has.

    Raises:
        TypeError: it holds something that has no such text; a float, for one.
    """
    match value:
        case str():
            return _quoted(value)
        case dict():
            members = sorted(value.items(), key=_utf16)
            return "{" + ",".join([f"{_quoted(key)}:{canonical(part)}" for key, part in members]) + "}"
        case list():
            return "[" + ",".join([canonical(part) for part in value]) + "]"
        case None | bool():
            return _quoted(value)
        case int():
            return str(value)
        case Decimal():
            return format(value, "f")
        case UUID():
            return f'"{value}"'
        case datetime():
            return f'"{value.astimezone(UTC).isoformat(timespec="microseconds")}"'
        case _:
            raise TypeError(f"{type(value).__name__} has no canonical form")


def _utf16(member: tuple[str, Any]) -> bytes:
    return member[0].encode("utf-16-be")


KeyOf = Callable[[int], bytes]
"""The key of a version; raises KeyError if there is none."""


def key_of(version: int) -> bytes:
    """Our own key of a version."""
    return keys.derive(PURPOSE, version)


def mac_of(entry: Entry, previous: bytes, key_of: KeyOf = key_of) -> bytes:
    """The MAC of an entry whose `seq`, `key_version` and `sealed_at` are set, after the entry with the MAC `previous`.

    Raises:
        KeyError: there is no key of its version.
    """
    covered = {name: part for name, part in entry.items() if name not in _UNCOVERED and part is not None}
    return keys.hash_with(key_of(entry["key_version"]), canonical(covered).encode(), previous)


def chained(entries: Iterable[Entry], head: Head, at: datetime) -> list[dict[str, Any]]:
    """Unsealed entries as the next links after `head`, sealed with the active key at `at`."""
    version = keys.active_version()
    links = []
    for entry in entries:
        link = {**entry, "seq": head.seq + 1, "key_version": version, "sealed_at": at}
        link["mac"] = mac_of(link, head.mac)
        links.append(link)
        head = Head(link["seq"], link["mac"])
    return links


def holds(entry: Entry, previous: bytes, key_of: KeyOf = key_of) -> bool:
    """Whether an entry is what was sealed after the entry with the MAC `previous`."""
    try:
        return hmac.compare_digest(bytes(entry["mac"] or b""), mac_of(entry, previous, key_of))
    except (KeyError, TypeError):  # sealed under a key that nobody has, or what no entry holds
        return False


def personal_hash(salt: str, path: str, value: str) -> str:
    """Return the hash of a personal value in hexadecimal, as its entry stores it."""
    return hashlib.sha256(f"{salt}:{path}={value}".encode()).hexdigest()


def changed_values(entry: Entry) -> list[str]:
    """Return the sorted paths of an entry's personal values that differ from what was recorded."""
    hashes, personal = entry.get("personal_hashes") or {}, entry.get("personal") or {}
    return sorted(
        path
        for path, kept in personal.items()
        if hashes.get(path) != personal_hash(str(kept.get("salt")), path, str(kept.get("value")))
    )


def erased_values(entry: Entry) -> list[str]:
    """Return the sorted paths of an entry's personal values that have been erased."""
    return sorted((entry.get("personal_hashes") or {}).keys() - (entry.get("personal") or {}).keys())


def verify(entries: Iterable[Entry], *, after: Head | None = None, head: Head | None = None) -> int | None:
    """Where a chain is broken first: a sequence number, or None if it is whole.

    Args:
        entries: sealed entries of one tenant, in the order that they are said to have.
        after: what comes before the first of them; the beginning of the chain by default.
        head: what the last of them has to be; without it, entries cut off at the end are not missed.
    """
    last = after or Head()
    for entry in entries:
        expected = last.seq + 1
        if entry["seq"] != expected or not holds(entry, last.mac):
            return expected
        last = Head(expected, bytes(entry["mac"]))
    return last.seq + 1 if head is not None and head != last else None


# Of the two columns named `details` the last one counts: the text, whose numbers are exact.
# «brand_id is not distinct from» can't use an index, so the platform's entries have a statement of their own.
_UNSEALED = """
    SELECT l.*, l.details::text AS details FROM public.audit_logs l
    WHERE l.brand_id = %s AND l.seq IS NULL ORDER BY l.timestamp, l.id LIMIT %s
"""
_UNSEALED_OF_PLATFORM = """
    SELECT l.*, l.details::text AS details FROM public.audit_logs l
    WHERE l.brand_id IS NULL AND l.seq IS NULL ORDER BY l.timestamp, l.id LIMIT %s
"""
_SEALED = """
    SELECT l.*, l.details::text AS details FROM public.audit_logs l
    WHERE coalesce(l.brand_id, '00000000-0000-0000-0000-000000000000') = %s AND l.seq > %s ORDER BY l.seq LIMIT %s
"""
_SEALED_WITH_PERSONAL = """
    SELECT l.*, l.details::text AS details, v.contents AS personal
    FROM public.audit_logs l LEFT JOIN app.audit_personal_values v ON v.id = l.id
    WHERE coalesce(l.brand_id, '00000000-0000-0000-0000-000000000000') = %s AND l.seq > %s ORDER BY l.seq LIMIT %s
"""


def seal(brand_id: UUID | None, *, limit: int = BATCH) -> int:
    """Seal up to `limit` entries of a tenant (None: the platform), oldest first; return their number.

    The chain's head is locked until the transaction ends, so any number of sealers makes one gapless chain; one that
    finds it locked seals nothing. An entry that commits late, with an older time than one that is sealed, comes next.
    `app.seal_entries` checks that the entries follow the head.
    """
    chain_id = brand_id or PLATFORM
    head = get_head_for_update(chain_id)
    if head is None:
        return 0
    entries = _entries(_UNSEALED, brand_id, limit) if brand_id else _entries(_UNSEALED_OF_PLATFORM, limit)
    if not entries:
        return 0
    at = now()
    links = chained(entries, head, at)
    ids, macs = ([link[column] for link in links] for column in ("id", "mac"))
    execute(
        "SELECT app.seal_entries(%s, %s, %s, %s, %s, %s::uuid[], %s::bytea[])",
        (chain_id, head.seq, head.mac, keys.active_version(), at, ids, macs),
    )
    return len(links)


def unsealed_chains() -> list[UUID | None]:
    """Return the tenants that have entries without a seal; None is the platform."""
    found = rows("SELECT chain_id FROM app.unsealed_chains() AS chain_id")
    return [None if chain["chain_id"] == PLATFORM else chain["chain_id"] for chain in found]


def get_head_for_update(chain_id: UUID) -> Head | None:
    """Lock the head of a chain until the transaction ends and return it; None while another sealer holds it.

    A new tenant gets an empty chain.
    """
    found = row("SELECT seq, mac FROM app.get_chain_head_for_update(%s)", (chain_id,))
    if found is None or found["seq"] is None:
        return None
    return Head(found["seq"], bytes(found["mac"]))


def sealed(
    brand_id: UUID | None, *, after: int = 0, limit: int = BATCH, personal: bool = False
) -> list[dict[str, Any]]:
    """Return up to `limit` sealed entries of a tenant after the sequence number `after`, as `verify` takes them.

    `personal`: include the personal values of each entry.
    """
    return _entries(_SEALED_WITH_PERSONAL if personal else _SEALED, brand_id or PLATFORM, after, limit)


def chains() -> list[UUID]:
    """The chains that there are sealed entries of, whatever their heads say."""
    found = rows(
        "SELECT DISTINCT coalesce(brand_id, '00000000-0000-0000-0000-000000000000') AS chain FROM public.audit_logs"
        " WHERE seq IS NOT NULL"
    )
    return [chain["chain"] for chain in found]


def entries_by_version() -> dict[int, int]:
    """How many entries are sealed under each version of the root secrets."""
    found = rows("SELECT key_version, count(*) FROM public.audit_logs WHERE seq IS NOT NULL GROUP BY 1 ORDER BY 1")
    return {version["key_version"]: version["count"] for version in found}


def unsealed_since(seconds: float) -> list[tuple[UUID | None, float]]:
    """Tenants (None is the platform) with entries that have waited for their seal for longer, and for how long."""
    waiting = rows(
        "SELECT brand_id, extract(epoch FROM now() - min(timestamp))::float8 AS seconds FROM public.audit_logs"
        " WHERE seq IS NULL AND timestamp < now() - make_interval(secs => %s) GROUP BY brand_id",
        (seconds,),
    )
    return [(tenant["brand_id"], tenant["seconds"]) for tenant in waiting]


def _entries(sql: str, *params: Any) -> list[dict[str, Any]]:
    found = rows(sql, params)
    for entry in found:
        entry["details"] = json.loads(entry["details"], parse_float=Decimal, parse_int=Decimal)
        entry["mac"] = entry["mac"] and bytes(entry["mac"])
    return found
