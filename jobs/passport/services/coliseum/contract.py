"""Contract of Coliseum: requests and answers of each operation. `docs/services/coliseum.md` explains them."""

from datetime import datetime
from typing import Annotated, Protocol
from uuid import UUID

from msgspec import Meta, Struct

from jobs.passport.contract import Operation, Service
from models.audiences.engagement_events import EngagementKind

MAX_EVENTS = 500
"""Maximum number of events in one batch."""

Campaign = Annotated[UUID, Meta(description="Id of the campaign.")]
Segment = Annotated[UUID, Meta(description="Id of the segment.")]
Instant = Annotated[datetime, Meta(tz=True)]
Kind = Annotated[EngagementKind, Meta(description="What a person did.")]
Number = Annotated[int, Meta(description="Events that count: those received, minus their reversals.")]


class Event(Struct, frozen=True):
    """An engagement event without its person."""

    id: Annotated[UUID, Meta(description="Id of the event. An event is counted once, however often it is received.")]
    campaign: Campaign
    kind: Kind
    occurred_at: Annotated[Instant, Meta(description="Time at which the person did it; of a reversal, too.")]
    reverses: Annotated[
        UUID | None, Meta(description="Id of the event that no longer counts. It may be received later than this one.")
    ] = None


class Batch(Struct, frozen=True):
    """Events to count, of any campaigns and in any order. Known ones change nothing."""

    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS, description="Events.")]


class Ingested(Struct, frozen=True):
    """The numbers of a batch."""

    added: Annotated[int, Meta(ge=0, description="Number of events that were new.")]
    known: Annotated[int, Meta(ge=0, description="Number of events that were received before.")]


class SegmentMove(Struct, frozen=True):
    """Contacts that entered and left a segment of an audience at one time, without the contacts."""

    id: Annotated[UUID, Meta(description="Id of the event. An event is counted once, however often it is received.")]
    segment: Segment
    at: Annotated[Instant, Meta(description="Time as of which they entered and left.")]
    entered: Annotated[int, Meta(ge=0, description="Number of contacts that entered.")]
    left: Annotated[int, Meta(ge=0, description="Number of contacts that left.")]


class SegmentMoves(Struct, frozen=True):
    """Moves to count, of any segments and in any order. Known ones change nothing."""

    moves: Annotated[list[SegmentMove], Meta(min_length=1, max_length=MAX_EVENTS, description="Moves.")]


class TotalsOf(Struct, frozen=True):
    """The segment of a question for its totals."""

    segment: Segment


class SegmentTotals(Struct, frozen=True):
    """The counts of a segment since the beginning; 0 for an unknown one."""

    segment: Segment
    entered: Annotated[int, Meta(ge=0, description="Number of contacts that entered.")]
    left: Annotated[int, Meta(ge=0, description="Number of contacts that left.")]


class OpenCampaign(Struct, frozen=True):
    """A campaign to register. A registered one stays as it is. Events of other campaigns are counted, too."""

    campaign: Campaign


class Opened(Struct, frozen=True):
    """A registered campaign."""

    campaign: Campaign
    opened_at: Annotated[Instant, Meta(description="Time of the first registration.")]


class MetricsOf(Struct, frozen=True):
    """The campaign and the period of a question for metrics."""

    campaign: Campaign
    since: Annotated[
        Instant, Meta(description="Start of the series of minutes. A start more than 24 hours ago means 24 hours ago.")
    ]


class Total(Struct, frozen=True):
    """The number of events of one kind."""

    kind: Kind
    n: Number


class Minute(Struct, frozen=True):
    """The number of events of one kind that occurred within one minute."""

    minute: Annotated[Instant, Meta(description="Beginning of the minute, in UTC.")]
    kind: Kind
    n: Number


class Metrics(Struct, frozen=True):
    """The counts of a campaign. A count of 0 is left out."""

    campaign: Campaign
    as_of: Annotated[Instant, Meta(description="Time of the counts.")]
    totals: Annotated[list[Total], Meta(description="Counts since the beginning, by kind.")]
    minutes: Annotated[list[Minute], Meta(description="Counts since `since`, by minute and kind, oldest first.")]


class Coliseum(Protocol):
    """Analytics events and live metrics. The structs of the requests describe the operations."""

    def open(self, request: OpenCampaign, *, key: str) -> Opened:
        """Register a campaign."""

    def ingest(self, request: Batch, *, key: str) -> Ingested:
        """Count events."""

    def ingest_moves(self, request: SegmentMoves, *, key: str) -> Ingested:
        """Count contacts that entered and left segments."""

    def segment_totals(self, request: TotalsOf, *, key: str) -> SegmentTotals:
        """Return the counts of a segment."""

    def metrics(self, request: MetricsOf, *, key: str) -> Metrics:
        """Return the counts of a campaign."""


SERVICE = Service(
    "coliseum",
    operations=(
        Operation("open", OpenCampaign, Opened),
        Operation("ingest", Batch, Ingested, timeout=10.0),
        Operation("ingest_moves", SegmentMoves, Ingested, timeout=10.0),
        Operation("segment_totals", TotalsOf, SegmentTotals),
        Operation("metrics", MetricsOf, Metrics),
    ),
)
