"""Handing scans to the database, many at a time."""

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg2
from cachetools import LRUCache
from psycopg2.extensions import connection

from models.core import database, keys
from models.core.errors import Unavailable
from models.scans.outcomes import Accepted, Outcome, Refused

logger = logging.getLogger(__name__)

MAX_BATCH = 64
"""Scans that one transaction takes; more would only make the first of them wait."""

REMEMBERED_CODES = 10_000
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds without another try after PostgreSQL could not be reached for the first, second, … time in a row."""

_RECORD = (
    "SELECT reason, details, scan_id, campaign_id, scanned_at, received_at, late FROM app.record_scans(%s) ORDER BY n"
)
_CODE = "SELECT campaign_id, brand_id, key_version FROM app.scan_code(%s)"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A scan as it was asked for: by whom, of what, when, where and with which device; distances in metres.

    `code_id` is None where the code's signature is not ours. `member_of` is the brand in the caller's claims.
    """

    code_id: UUID | None
    client_scan_id: UUID
    request_digest: str
    scanned_at: datetime
    fingerprint: str
    user_id: UUID
    session_id: UUID
    user_role: str
    member_of: UUID | None = None
    lat: float | None = None
    lon: float | None = None
    accuracy_m: float | None = None
    captured_at: datetime | None = None
    locale: str | None = None
    address: str = ""
    user_agent: str = ""
    request_id: str = ""
    correlation_id: str = ""
    traceparent: str = ""


class _Code(NamedTuple):
    campaign_id: UUID | None
    brand_id: UUID | None
    key_version: int | None


_UNKNOWN = _Code(None, None, None)


class _Codes:
    """What is known of codes; lasts as long as it can't change, which is from their campaign's launch on."""

    def __init__(self, look_up: Callable[[UUID], _Code]) -> None:
        self._look_up = look_up
        self._known: LRUCache[UUID, _Code] = LRUCache(REMEMBERED_CODES)

    def get(self, code_id: UUID) -> _Code:
        known = self._known.get(code_id)
        if known is not None:
            return known
        found = self._look_up(code_id)
        if found.key_version is not None:
            self._known[code_id] = found
        return found


class Recorder:
    """Records scans over a connection of its own. For one thread."""

    def __init__(self, connect: Callable[[], connection] = lambda: database.connect("scan")) -> None:
        self._connect = connect
        self._connection: connection | None = None
        self._failures = 0
        self._not_before = 0.0
        self._codes = _Codes(self._find_code)

    def record(self, attempts: Sequence[Attempt]) -> list[Outcome]:
        """Decide up to `MAX_BATCH` scans in one transaction, which has committed when this returns.

        Where the connection breaks before PostgreSQL has answered, nobody knows whether it committed; the same
        batch goes there once more, which is safe, because what had been stored is answered again.

        Raises:
            Unavailable: PostgreSQL can't be reached or was too slow. The same request may be made again.
        """
        rows = [self._row(attempt) for attempt in attempts]
        answers = self._ask(_RECORD, (msgspec.json.encode(rows).decode(),))
        return [_outcome(row["id"], answer) for row, answer in zip(rows, answers, strict=True)]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _row(self, attempt: Attempt) -> dict[str, Any]:
        """What `app.record_scans` takes for an attempt."""
        code = self._codes.get(attempt.code_id) if attempt.code_id else _UNKNOWN
        row = msgspec.structs.asdict(attempt)
        row |= {"id": database.new_id(), "job_id": database.new_id()}
        fingerprint = row.pop("fingerprint").encode()
        if code.brand_id is not None:
            version = code.key_version or keys.active_version()
            hashed = keys.keyed_hash("device-fingerprint", code.brand_id.bytes, fingerprint, version=version)
            row |= {"campaign_id": code.campaign_id, "brand_id": code.brand_id}
            row |= {"key_version": version, "fingerprint_hash": hashed.hex()}
        return row

    def _find_code(self, code_id: UUID) -> _Code:
        ((campaign_id, brand_id, key_version),) = self._ask(_CODE, (code_id,))
        return _Code(campaign_id, brand_id, key_version)

    def _ask(self, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._fetch(sql, params)
        except psycopg2.Error as error:
            self._require_lost(error)
            logger.warning("scans: connection lost, asking again: %s", error)
        try:
            return self._fetch(sql, params)
        except psycopg2.Error as error:
            self._require_lost(error)
            raise Unavailable("The database does not answer.") from error

    def _require_lost(self, error: psycopg2.Error) -> None:
        """Let go of a connection that broke. For that psycopg2 has several errors, which mean other things, too.

        Raises:
            Unavailable: it is whole, and the statement took too long.
            psycopg2.Error: it is whole, and the statement is wrong.
        """
        if self._connection is None or self._connection.closed:
            self._connection = None
        elif isinstance(error, psycopg2.OperationalError):
            raise Unavailable("It took too long.") from error
        else:
            raise error

    def _fetch(self, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._connected().cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def _connected(self) -> connection:
        if self._connection is None:
            if time.monotonic() < self._not_before:
                raise Unavailable("The database does not answer.")
            try:
                self._connection = self._connect()
            except psycopg2.OperationalError as error:
                self._not_before = time.monotonic() + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
                self._failures += 1
                logger.warning("scans: no connection: %s", error)
                raise Unavailable("The database does not answer.") from error
            self._failures = 0
        return self._connection


def _outcome(id: UUID, answer: tuple[Any, ...]) -> Outcome:
    reason, details, scan_id, campaign_id, scanned_at, received_at, late = answer
    if reason is not None:
        return Refused(reason, details or {})
    # Stored under another id than the one we gave it: an earlier request's.
    return Accepted(scan_id, campaign_id, scanned_at, received_at, late, replayed=scan_id != id)
