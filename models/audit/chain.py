"""Audit chain: link each tenant's audit entries by keyed hashes, and verify them.

The MAC of an entry is HMAC-SHA256, under the key derived for `audit`, of the whole entry in canonical form and of the
MAC before it (`keys.keyed_hash` separates the two). Without the key, nothing can be changed, removed, inserted or
reordered unnoticed: `verify` returns the first broken place.

The canonical form is JSON as of RFC 8785: keys in the order of their UTF-16 code units, no white space. Numbers stay
the exact decimals that PostgreSQL stores, because no double holds them all. Null columns are left out, so that a
column added later does not change the MACs of older entries.

The chain covers no personal value. `personal_hashes` of an entry has SHA-256 of `<salt>:<path>=<value>` for each
value. Salts and values are in `app.audit_personal_values`. A value can be erased there, and the chain still verifies.
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
"""A row of `audit_logs`: every column by its name, the numbers in `details` as decimals.

`personal`, if present, maps the path of each personal value that is not erased to its `{"salt", "value"}`.
"""

PURPOSE = "audit"
PLATFORM = UUID(int=0)
"""Id of the chain of entries that belong to no brand."""

BATCH = 1_000
"""Entries sealed by one statement."""

OVERDUE = 60.0
"""Seconds without a seal after which an entry raises an alarm. Sealing takes less than one second."""

_UNCOVERED = ("mac", "personal")
"""Members of an entry that its MAC does not cover."""


@dataclass(frozen=True, slots=True)
class Head:
    """Last entry of a chain: its sequence number, which is the number of entries, and its MAC."""

    seq: int = 0
    mac: bytes = b""


_quote = json.JSONEncoder(ensure_ascii=False).encode


def canonical(value: Any) -> str:
    """Return the canonical form of a value.

    Raises:
        TypeError: the value contains a type without a canonical form, for example a float.
    """
    match value:
        case str():
            return _quote(value)
        case dict():
            members = sorted(value.items(), key=_utf16)
            return "{" + ",".join([f"{_quote(key)}:{canonical(part)}" for key, part in members]) + "}"
        case list():
            return "[" + ",".join([canonical(part) for part in value]) + "]"
        case None | bool():
            return _quote(value)
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


KeyLookup = Callable[[int], bytes]
"""Function that returns the MAC key of a root version. It raises KeyError for an unknown version."""


def mac_key(version: int) -> bytes:
    """Return our own MAC key of a root version.

    Raises:
        KeyError: `SECRET_KEYS` has no root of this version.
    """
    return keys.derive(PURPOSE, version)


def compute_mac(entry: Entry, previous: bytes, key_of: KeyLookup = mac_key) -> bytes:
    """Return the MAC of an entry that follows the entry with the MAC `previous`.

    The entry must have `seq`, `key_version` and `sealed_at`.

    Raises:
        KeyError: there is no key of the entry's version.
    """
    covered = {name: part for name, part in entry.items() if name not in _UNCOVERED and part is not None}
    return keys.hash_with(key_of(entry["key_version"]), canonical(covered).encode(), previous)


def link(entries: Iterable[Entry], head: Head, at: datetime) -> list[dict[str, Any]]:
    """Return unsealed entries as the next links after `head`, sealed with the active key at `at`."""
    version = keys.active_version()
    links = []
    for entry in entries:
        sealed = {**entry, "seq": head.seq + 1, "key_version": version, "sealed_at": at}
        sealed["mac"] = compute_mac(sealed, head.mac)
        links.append(sealed)
        head = Head(sealed["seq"], sealed["mac"])
    return links


def is_intact(entry: Entry, previous: bytes, key_of: KeyLookup = mac_key) -> bool:
    """Return whether an entry is unchanged since it was sealed after the entry with the MAC `previous`."""
    try:
        return hmac.compare_digest(bytes(entry["mac"] or b""), compute_mac(entry, previous, key_of))
    except (KeyError, TypeError):  # an unknown key version, or a value without a canonical form
        return False


def personal_hash(salt: str, path: str, value: str) -> str:
    """Return the hash of a personal value in hexadecimal, as its entry stores it."""
    return hashlib.sha256(f"{salt}:{path}={value}".encode()).hexdigest()


def changed_values(entry: Entry) -> list[str]:
    """Return the sorted paths of an entry's personal values that differ from the recorded ones."""
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
    """Return the sequence number at which a chain is broken first; None if it is intact.

    Args:
        entries: sealed entries of one tenant, in the order of the chain.
        after: the entry before the first of them; the beginning of the chain by default.
        head: the expected last entry. Without it, entries cut off at the end are not noticed.
    """
    last = after or Head()
    for entry in entries:
        expected = last.seq + 1
        if entry["seq"] != expected or not is_intact(entry, last.mac):
            return expected
        last = Head(expected, bytes(entry["mac"]))
    return last.seq + 1 if head is not None and head != last else None


# Both `l.*` and the text are named `details`; the last one counts. The text keeps the exact numbers.
# `brand_id is not distinct from` can't use an index, so the platform's entries have their own statement.
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
    """Seal up to `limit` entries of a tenant (None: the platform), oldest first, and return their number.

    The head of the chain is locked until the transaction ends, so several seal processes make one chain without gaps.
    If the head is locked, seal nothing. An entry that commits late, with an older time than a sealed one, comes next.
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
    links = link(entries, head, at)
    ids, macs = ([sealed[column] for sealed in links] for column in ("id", "mac"))
    execute(
        "SELECT app.seal_entries(%s, %s, %s, %s, %s, %s::uuid[], %s::bytea[])",
        (chain_id, head.seq, head.mac, keys.active_version(), at, ids, macs),
    )
    return len(links)


def unsealed_chains() -> list[UUID | None]:
    """Return the tenants that have unsealed entries; None is the platform."""
    found = rows("SELECT chain_id FROM app.unsealed_chains() AS chain_id")
    return [None if chain["chain_id"] == PLATFORM else chain["chain_id"] for chain in found]


def get_head_for_update(chain_id: UUID) -> Head | None:
    """Lock the head of a chain until the transaction ends and return it; None while another transaction holds it.

    Create an empty chain for a new tenant.
    """
    found = row("SELECT seq, mac FROM app.get_chain_head_for_update(%s)", (chain_id,))
    if found is None or found["seq"] is None:
        return None
    return Head(found["seq"], bytes(found["mac"]))


def sealed_entries(
    brand_id: UUID | None, *, after: int = 0, limit: int = BATCH, personal: bool = False
) -> list[dict[str, Any]]:
    """Return up to `limit` sealed entries of a tenant after the sequence number `after`, ready for `verify`.

    Args:
        brand_id: the tenant; None is the platform.
        after: the sequence number before the first entry.
        limit: the largest number of entries.
        personal: whether to include the personal values of each entry.
    """
    return _entries(_SEALED_WITH_PERSONAL if personal else _SEALED, brand_id or PLATFORM, after, limit)


def sealed_chains() -> list[UUID]:
    """Return the chains that have sealed entries. Their heads are not read."""
    found = rows(
        "SELECT DISTINCT coalesce(brand_id, '00000000-0000-0000-0000-000000000000') AS chain FROM public.audit_logs"
        " WHERE seq IS NOT NULL"
    )
    return [chain["chain"] for chain in found]


def entries_by_version() -> dict[int, int]:
    """Return the number of sealed entries by the version of the root secret."""
    found = rows("SELECT key_version, count(*) FROM public.audit_logs WHERE seq IS NOT NULL GROUP BY 1 ORDER BY 1")
    return {version["key_version"]: version["count"] for version in found}


def overdue_tenants(seconds: float) -> list[tuple[UUID | None, float]]:
    """Return the tenants whose oldest unsealed entry is older than `seconds`, each with its age in seconds.

    None is the platform.
    """
    overdue = rows(
        "SELECT brand_id, extract(epoch FROM now() - min(timestamp))::float8 AS seconds FROM public.audit_logs"
        " WHERE seq IS NULL AND timestamp < now() - make_interval(secs => %s) GROUP BY brand_id",
        (seconds,),
    )
    return [(tenant["brand_id"], tenant["seconds"]) for tenant in overdue]


def _entries(sql: str, *params: Any) -> list[dict[str, Any]]:
    found = rows(sql, params)
    for entry in found:
        entry["details"] = json.loads(entry["details"], parse_float=Decimal, parse_int=Decimal)
        entry["mac"] = entry["mac"] and bytes(entry["mac"])
    return found
