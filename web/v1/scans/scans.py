"""Scans: where phones report what they have scanned."""

import hashlib
import time
from collections import Counter
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.campaigns.codes import read_token
from models.campaigns.config import EARLIEST, LATEST
from models.core import keys
from models.core.context import Identity, RequestInfo
from models.core.errors import Invalid, TooMany
from models.jobs import ledger
from models.scans import KINDS, MAX_BATCH, Accepted, Attempt, Outcome, Recorder, Refused, require_accepted
from web.http.datetimes import Instant
from web.http.endpoint import endpoint
from web.http.fields import DeviceLocale, Timezone
from web.http.group_commit import GroupCommit
from web.http.rate_limits import Limiter, parse_rate

QUEUE = 512
"""Scans that may wait in each web process before it answers 503."""

ANSWER_WITHIN = 10.0
"""Seconds until a phone is told to ask again."""

PER_MINUTE = 60
"""Scans that one session may send to one web process in a minute."""


class LocationIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Where the phone was: degrees on WGS-84, the radius in metres that it was in with 68 % certainty, and when."""

    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    accuracy_m: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
    captured_at: Instant


class DeviceIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The phone. Of the fingerprint only a hash is kept, keyed per brand."""

    fingerprint: Annotated[str, msgspec.Meta(min_length=8, max_length=256, examples=["3f1b2c4d5e6f7a8b"])]
    platform: Literal["ios", "android", "web"] | None = None
    locale: DeviceLocale | None = None
    timezone: Timezone | None = None


class ScanIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A scan, as the phone saw it.

    The phone makes up `client_scan_id` once for each scan and keeps it when it sends the scan again.
    """

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="The token that the code holds.")]
    client_scan_id: UUID
    scanned_at: Instant
    location: LocationIn | None = None
    device: DeviceIn


class ScanOut(msgspec.Struct):
    """A scan that counts. `late`: it arrived long after it was made."""

    id: UUID
    status: Literal["accepted"]
    campaign_id: UUID
    scanned_at: Instant
    received_at: Instant
    late: bool

    @classmethod
    def of(cls, scan: Accepted) -> "ScanOut":
        """A scan as its phone sees it; what we think of it is not the phone's business."""
        return cls(scan.id, "accepted", scan.campaign_id, scan.scanned_at, scan.received_at, scan.late)


INCOMPLETE_RATE = parse_rate("incompleteScans", "60 per 30 minute")
"""Most unstored refusals of one person, to bound guesses. Counted for an hour at most."""


class SessionGuard:
    """Bounds what one session asks of one web process in a minute. Lives in one event loop, so it needs no lock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._counts: Counter[UUID | None] = Counter()

    def admit(self, session_id: UUID | None) -> None:
        """Count a request of a session.

        Raises:
            TooMany: it has had its share of this minute.
        """
        minute, second = divmod(int(time.time()), 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[session_id] += 1
        if self._counts[session_id] > self._per_minute:
            refusal = TooMany("Slow down.", retry_after=60 - second)
            # The consents of the person are unknown here: record no audit entry.
            refusal.is_audited = False
            raise refusal


class Scans:
    """`/api/v1/qr/scan`: where phones send their scans."""

    def __init__(self) -> None:
        recorder = Recorder()
        self._guard = SessionGuard(PER_MINUTE)
        self.writer: GroupCommit[Attempt, Outcome] = GroupCommit(
            "scans",
            recorder.record,
            size=MAX_BATCH,
            queue=QUEUE,
            patience=ANSWER_WITHIN,
            committed=ledger.ring,
            closed=recorder.close,
        )

    def open(self) -> None:
        """Take scans."""
        self.writer.open()

    def close(self, timeout: float) -> bool:
        """Write down what has been taken, and take no more; False if `timeout` seconds were too few."""
        return self.writer.close(timeout)

    @endpoint(
        body=ScanIn,
        response=ScanOut,
        status=201,
        also={200: ScanOut},
        permission="authenticated",
        refused_as="scan.record",  # before it is one: a scan that has been decided is its own record
        rate=None,  # where a scan comes from, and how often, is evidence; limits are the campaign's
        mode="async",
        problems=(*KINDS.values(), TooMany),
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Report a scan. 201 if it counts, 200 if it had been reported before; otherwise why it doesn't."""
        identity: Identity = req.context.identity
        self._guard.admit(identity.session_id)
        attempt = _attempt(req.context.body, identity, req.context.info)
        outcome = await self.writer.submit(attempt)
        if isinstance(outcome, Refused) and outcome.is_incomplete:
            await _bound_incomplete(req.context.kit.limiter, attempt.user_id)
        scan = require_accepted(outcome)
        if scan.replayed:
            resp.status = 200
        resp.media = ScanOut.of(scan)


async def _bound_incomplete(limiter: Limiter, user_id: UUID) -> None:
    """Count an unstored refusal under a keyed hash of the person.

    Raises:
        TooMany: the person has had too many of them.
    """
    try:
        await limiter.take(INCOMPLETE_RATE, keys.keyed_hash("incomplete-scans", user_id.bytes).hex())
    except TooMany as refusal:
        refusal.is_audited = False
        raise


def _attempt(asked: ScanIn, identity: Identity, info: RequestInfo) -> Attempt:
    """What was asked, and who asks from where."""
    assert identity.user_id is not None
    assert identity.session_id is not None
    _require_sane("scanned_at", asked.scanned_at)
    place = asked.location
    if place is not None:
        _require_sane("location.captured_at", place.captured_at)
    return Attempt(
        code_id=read_token(asked.code),
        client_scan_id=asked.client_scan_id,
        request_digest=hashlib.sha256(msgspec.json.encode(asked)).hexdigest(),
        scanned_at=asked.scanned_at,
        fingerprint=asked.device.fingerprint,
        user_id=identity.user_id,
        session_id=identity.session_id,
        user_role=identity.user_role or "",
        member_of=identity.brand_id,
        lat=place.lat if place else None,
        lon=place.lon if place else None,
        # To the millimetre: what is much finer than that, the column's single precision can't hold.
        accuracy_m=round(place.accuracy_m, 3) if place else None,
        captured_at=place.captured_at if place else None,
        locale=asked.device.locale,
        address=info.address,
        user_agent=info.user_agent,
        request_id=info.request_id,
        correlation_id=info.correlation_id,
        traceparent=info.traceparent,
    )


def _require_sane(field: str, moment: datetime) -> None:
    """Refuse what is no time of any phone, before it gets to where years have limits."""
    if not EARLIEST <= moment < LATEST:
        raise Invalid(field, f"not between {EARLIEST:%Y} and {LATEST:%Y}")


SCANS = Scans()
ROUTES = [("/api/v1/qr/scan", SCANS)]
