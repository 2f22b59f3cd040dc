"""Send batches of scans to the database, over a connection of its own."""

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
"""Scans in one transaction. A larger batch would make its first scans wait longer."""

REMEMBERED_CODES = 10_000
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds until the next attempt to connect after the first, second, … failure in a row."""

_RECORD = (
    "SELECT reason, details, scan_id, campaign_id, scanned_at, received_at, late, is_test"
    " FROM app.record_scans(%s) ORDER BY n"
)
_CODE = "SELECT campaign_id, brand_id, key_version FROM app.scan_code(%s)"


class ScanRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A scan that a phone reports (`app.scan_request` in SQL). Accuracy in metres, positions in degrees (WGS-84).

    `code_id` is None if the token has no valid signature. `member_of` is the brand in the caller's claims.
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
    """Cache codes from their campaign's launch on: then a code's campaign, brand and key version can't change."""

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
    """Record scans. Use it in one thread only."""

    def __init__(self, connect: Callable[[], connection] = lambda: database.connect("scan")) -> None:
        self._connect = connect
        self._connection: connection | None = None
        self._failures = 0
        self._not_before = 0.0
        self._codes = _Codes(self._find_code)

    def record(self, requests: Sequence[ScanRequest]) -> list[Outcome]:
        """Decide and commit up to `MAX_BATCH` scans in one transaction.

        If the connection breaks before the result arrives, the batch is sent once more: it may have committed or not.
        That is safe, because a stored scan returns its outcome again.

        Raises:
            Unavailable: PostgreSQL can't be reached or was too slow. The client may repeat the request.
        """
        rows = [self._row(request) for request in requests]
        results = self._query(_RECORD, (msgspec.json.encode(rows).decode(),))
        return [_outcome(row["id"], result) for row, result in zip(rows, results, strict=True)]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _row(self, request: ScanRequest) -> dict[str, Any]:
        """Add ids and the fingerprint's hash to a request."""
        code = self._codes.get(request.code_id) if request.code_id else _UNKNOWN
        row = msgspec.structs.asdict(request)
        row |= {"id": database.new_id(), "job_id": database.new_id()}
        fingerprint = row.pop("fingerprint").encode()
        if code.brand_id is not None:
            version = code.key_version or keys.active_version()
            hashed = keys.keyed_hash("device-fingerprint", code.brand_id.bytes, fingerprint, version=version)
            row |= {"campaign_id": code.campaign_id, "brand_id": code.brand_id}
            row |= {"key_version": version, "fingerprint_hash": hashed.hex()}
        return row

    def _find_code(self, code_id: UUID) -> _Code:
        ((campaign_id, brand_id, key_version),) = self._query(_CODE, (code_id,))
        return _Code(campaign_id, brand_id, key_version)

    def _query(self, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._fetch(sql, params)
        except psycopg2.Error as error:
            self._require_lost(error)
            logger.warning("scans: connection lost, repeating the statement: %s", error)
        try:
            return self._fetch(sql, params)
        except psycopg2.Error as error:
            self._require_lost(error)
            raise Unavailable("The database can't be reached.") from error

    def _require_lost(self, error: psycopg2.Error) -> None:
        """Drop a broken connection. The error's class alone doesn't show whether the connection broke.

        Raises:
            Unavailable: the connection is open, and the statement took too long.
            psycopg2.Error: the connection is open, and the statement is wrong.
        """
        if self._connection is None or self._connection.closed:
            self._connection = None
        elif isinstance(error, psycopg2.OperationalError):
            raise Unavailable("The database took too long.") from error
        else:
            raise error

    def _fetch(self, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._open_connection().cursor() as cursor:
            cursor.execute(sql, params)
            return cursor.fetchall()

    def _open_connection(self) -> connection:
        if self._connection is None:
            if time.monotonic() < self._not_before:
                raise Unavailable("The database can't be reached.")
            try:
                self._connection = self._connect()
            except psycopg2.OperationalError as error:
                self._not_before = time.monotonic() + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
                self._failures += 1
                logger.warning("scans: connection failed: %s", error)
                raise Unavailable("The database can't be reached.") from error
            self._failures = 0
        return self._connection


def _outcome(id: UUID, result: tuple[Any, ...]) -> Outcome:
    reason, details, scan_id, campaign_id, scanned_at, received_at, late, is_test = result
    if reason is not None:
        return Refused(reason, details or {})
    # Another id than the row's: the outcome of an earlier request.
    return Accepted(scan_id, campaign_id, scanned_at, received_at, late, is_test, replayed=scan_id != id)
