"""Scans: report that a fan has scanned a code, and learn at once whether it counts.

Send the same `client_scan_id` again after a lost answer: a scan counts once. A phone without a connection reports its
scans later, with their own times, within the bound of the campaign.
"""

import hashlib
import time
from collections import Counter
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns.codes import read_token, token_in
from models.campaigns.config import EARLIEST, LATEST, OUT_OF_RANGE
from models.core import keys
from models.core.context import Identity, RequestInfo
from models.core.enumerations import enumeration
from models.core.errors import FieldError, Invalid, TooMany
from models.core.messages import NORMALISE
from models.jobs import ledger
from models.scans.outcomes import REFUSALS, Accepted, Outcome, Refused, require_accepted
from models.scans.recorder import MAX_BATCH, Recorder, ScanRequest
from web.http.datetimes import Instant
from web.http.endpoint import endpoint
from web.http.fields import CampaignId, DeviceLocale, DeviceTimezone, Id
from web.http.group_commit import GroupCommit
from web.http.rate_limits import RateLimiter, parse_rate
from web.http.request_metrics import Load

MAX_QUEUED = 512
"""Scans that may wait in each web process. More are refused with 503."""

TIMEOUT = 10.0
"""Seconds until a scan that is not decided is refused with 503."""

MAX_PER_MINUTE = 60
"""Scans of one session that one web process accepts in a minute."""


Platform = Annotated[
    Literal["ios", "android", "web"],
    enumeration(
        "DevicePlatform", "System of a phone's app. `ios` and `android`: an app. `web`: a browser on any system."
    ),
]

CodeOrUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=500,
        description="Token of the code: the last part of the code's URL. The whole URL is accepted, too.",
        examples=[
            "AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng",
            "https://app.companon.example/s/AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng",
        ],
        extra={NORMALISE: token_in},
    ),
]


class LocationIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Position of the phone."""

    lat: Annotated[
        float, Meta(ge=-90, le=90, description="Latitude in degrees (WGS-84), north positive.", examples=[40.4156])
    ]
    lon: Annotated[
        float, Meta(ge=-180, le=180, description="Longitude in degrees (WGS-84), east positive.", examples=[-3.7071])
    ]
    accuracy_m: Annotated[
        float,
        Meta(
            ge=0,
            le=1_000_000,
            description="Radius in metres within which the position is with 68 % certainty, as phones report it. A "
            "radius over the campaign's `max_accuracy_m` is refused with `location_inaccurate`.",
            examples=[12],
        ),
    ]
    captured_at: Annotated[
        Instant,
        Meta(
            description="Time of the measurement. Further from `scanned_at` than the campaign's "
            "`max_location_age_s`, the scan is refused with `location_stale`."
        ),
    ]


class DeviceIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The phone."""

    fingerprint: Annotated[
        str,
        Meta(
            min_length=8,
            max_length=256,
            description="Text that stays the same on this phone and differs on others. Only a hash is stored, with a "
            "key per brand.",
            examples=["3f1b2c4d5e6f7a8b"],
        ),
    ]
    platform: Annotated[
        Platform | None,
        Meta(
            description="System of the app. Default: null, unknown.",
            examples=["ios"],
        ),
    ] = None
    locale: Annotated[
        DeviceLocale | None,
        Meta(
            description="Language of the phone, a language tag (BCP 47); ignored if it is none. Default: null, "
            "unknown.",
            examples=["es-MX"],
        ),
    ] = None
    timezone: Annotated[
        DeviceTimezone | None,
        Meta(
            description="Time zone of the phone, a name from the IANA database. Default: null, unknown.",
            examples=["Europe/Madrid"],
        ),
    ] = None


class ScanIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A scan by the phone's clock and position."""

    code: CodeOrUrl
    client_scan_id: Annotated[
        UUID,
        Meta(
            description="Id that the phone generates once for each scan. Send the same id when you repeat the "
            "request: the scan then counts once. With other contents it is refused with `client_scan_id_reused`.",
            examples=["7d0c1e52-6a7f-4c0b-9f3e-2b8d4a6c5e10"],
        ),
    ]
    scanned_at: Annotated[
        Instant,
        Meta(
            description="Time of the scan by the phone's clock. At most 5 minutes in the future "
            "(`scan_time_invalid`); a phone without a network may send it later, within the campaign's "
            "`max_lateness_s` (`scan_too_old`)."
        ),
    ]
    location: Annotated[
        LocationIn | None,
        Meta(
            description="Position at the time of the scan. A campaign with a geofence needs it (`location_required`). "
            "Default: null, no position."
        ),
    ] = None
    device: Annotated[DeviceIn, Meta(description="The phone that scanned the code.")]


SCAN = {
    "code": "AZQfKXwAejuNXj8bLE1ebwGhqK-2vcTL0tng",
    "client_scan_id": "7d0c1e52-6a7f-4c0b-9f3e-2b8d4a6c5e10",
    "scanned_at": "2026-12-02T18:30:00Z",
    "location": {"lat": 40.4156, "lon": -3.7071, "accuracy_m": 12, "captured_at": "2026-12-02T18:29:58Z"},
    "device": {"fingerprint": "3f1b2c4d5e6f7a8b", "platform": "ios", "locale": "es-ES", "timezone": "Europe/Madrid"},
}
"""Example of a scan."""


class ScanOut(msgspec.Struct):
    """A scan that counts, or a test that would count without the test mode of its campaign."""

    id: Id
    status: Annotated[
        Literal["accepted"], Meta(description="Always `accepted`: other scans are answered with a problem document.")
    ]
    campaign_id: CampaignId
    scanned_at: Annotated[Instant, Meta(description="Time of the scan, as sent, in UTC.")]
    received_at: Annotated[
        Instant, Meta(description="Time of the first request for this scan, in UTC. Limits count by this time.")
    ]
    late: Annotated[
        bool,
        Meta(description="Whether the scan was received more than two minutes after it was made.", examples=[False]),
    ]
    is_test: Annotated[
        bool,
        Meta(
            description="Whether the campaign was in test mode when the scan was received: it doesn't count, takes no "
            "share of a limit and earns nothing. The person can scan again when the campaign has left test mode.",
            examples=[False],
        ),
    ]

    @classmethod
    def of(cls, scan: Accepted) -> "ScanOut":
        """Build the response. It shows no fraud score: a flagged scan looks the same."""
        return cls(scan.id, "accepted", scan.campaign_id, scan.scanned_at, scan.received_at, scan.late, scan.is_test)


INCOMPLETE_RATE = parse_rate("incompleteScans", "60 per 30 minute")
"""Limit of one person's incomplete scans, which are not stored. Counted for an hour at most."""


class SessionRateLimit:
    """Limit the scans of each session in one web process by the minute. For one event loop, so it needs no lock."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._minute = 0
        self._counts: Counter[UUID | None] = Counter()

    def take(self, session_id: UUID | None) -> None:
        """Count a request of a session.

        Raises:
            TooMany: the session has reached the limit of this minute.
        """
        minute, second = divmod(int(time.time()), 60)
        if minute != self._minute:
            self._minute = minute
            self._counts.clear()
        self._counts[session_id] += 1
        if self._counts[session_id] > self._per_minute:
            refusal = TooMany("The session sends too many scans.", retry_after=60 - second)
            # The consents of the person are not known here, so record no audit entry.
            refusal.is_audited = False
            raise refusal


class Scans:
    """`/api/v1/qr/scan`: scans that phones report."""

    def __init__(self) -> None:
        recorder = Recorder()
        self._rate_limit = SessionRateLimit(MAX_PER_MINUTE)
        self.writer: GroupCommit[ScanRequest, Outcome] = GroupCommit(
            "scans",
            recorder.record,
            max_batch=MAX_BATCH,
            max_queued=MAX_QUEUED,
            timeout=TIMEOUT,
            on_commit=ledger.notify_relay,
            on_close=recorder.close,
        )

    @property
    def load(self) -> Load:
        """Return the scans that are being written or wait."""
        return self.writer.load

    def open(self) -> None:
        """Admit scans."""
        self.writer.open()

    def close(self, timeout: float) -> bool:
        """Admit no more scans and store the admitted ones. Return False if `timeout` seconds were too few."""
        return self.writer.close(timeout)

    @endpoint(
        operation_id="reportScan",
        body=ScanIn,
        response=ScanOut,
        status=201,
        other_responses={200: ScanOut},
        permission="authenticated",
        counts="scans",
        refused_as="scan.record",  # A decided scan is its own record.
        rate=None,  # Origin and frequency are evidence of fraud. Limits are the campaign's.
        mode="async",
        problems=(*REFUSALS.values(), TooMany),
        example=SCAN,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Report a scan. 201 if it counts, 200 if the same scan was reported before, otherwise the reason.

        Call `GET /api/v1/qr/codes/{token}` before, and give the missing consents. The scan is stored before the answer.
        Jobs then score it for fraud and count it in the brand's overview; the answer doesn't show the score. Without a
        network, keep the request and send it later, unchanged. Repeat it after 429 and 503 when `Retry-After` has
        passed. A scan without a required account, consent or position is refused and not stored.

        In test mode the decision is the same, except that limits don't apply. The scan counts nowhere, and the answer
        says `is_test`.
        """
        identity: Identity = req.context.identity
        self._rate_limit.take(identity.session_id)
        request = _scan_request(req.context.body, identity, req.context.info)
        outcome = await self.writer.submit(request)
        if isinstance(outcome, Refused) and outcome.is_incomplete:
            await _limit_incomplete(req.context.dependencies.limiter, request.user_id)
        scan = require_accepted(outcome)
        if scan.replayed:
            resp.status = 200
        resp.media = ScanOut.of(scan)


async def _limit_incomplete(limiter: RateLimiter, user_id: UUID) -> None:
    """Count an incomplete scan under a keyed hash of the person.

    Raises:
        TooMany: the person has reached the limit.
    """
    try:
        await limiter.take(INCOMPLETE_RATE, keys.keyed_hash("incomplete-scans", user_id.bytes).hex())
    except TooMany as refusal:
        refusal.is_audited = False
        raise


def _scan_request(body: ScanIn, identity: Identity, info: RequestInfo) -> ScanRequest:
    assert identity.user_id is not None
    assert identity.session_id is not None
    location = body.location
    captured_at = location.captured_at if location else None
    _require_plausible({"scanned_at": body.scanned_at, "location.captured_at": captured_at})
    return ScanRequest(
        code_id=read_token(body.code),
        client_scan_id=body.client_scan_id,
        request_digest=hashlib.sha256(msgspec.json.encode(body)).hexdigest(),
        scanned_at=body.scanned_at,
        fingerprint=body.device.fingerprint,
        user_id=identity.user_id,
        session_id=identity.session_id,
        user_role=identity.user_role or "",
        member_of=identity.brand_id,
        lat=location.lat if location else None,
        lon=location.lon if location else None,
        # Round to the millimetre: the column's single precision can't store tiny positive numbers.
        accuracy_m=round(location.accuracy_m, 3) if location else None,
        captured_at=captured_at,
        locale=body.device.locale,
        address=info.address,
        user_agent=info.user_agent,
        request_id=info.request_id,
        correlation_id=info.correlation_id,
        traceparent=info.traceparent,
    )


def _require_plausible(times: dict[str, datetime | None]) -> None:
    """Refuse times that only a wrong clock reports, or that PostgreSQL can't store.

    Raises:
        Invalid: a time is not between `EARLIEST` and `LATEST`; names the field of each.
    """
    errors = [FieldError(field, OUT_OF_RANGE) for field, at in times.items() if at and not EARLIEST <= at < LATEST]
    if errors:
        raise Invalid(errors=errors)


SCANS = Scans()
ROUTES = [("/api/v1/qr/scan", SCANS)]
