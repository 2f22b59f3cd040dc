"""Local implementation of Coliseum, on PostgreSQL."""

from jobs.engine import own_transaction
from jobs.passport.local import once
from jobs.passport.services.coliseum.contract import (
    SERVICE,
    Batch,
    Ingested,
    Metrics,
    MetricsOf,
    Minute,
    OpenCampaign,
    Opened,
    SegmentMoves,
    SegmentTotals,
    Total,
    TotalsOf,
)
from models.core.database import now
from models.passport import coliseum


class LocalColiseum:
    """Coliseum over the rules in `models/passport/coliseum.py`."""

    def open(self, request: OpenCampaign, *, key: str) -> Opened:
        """Register a campaign."""
        return once(SERVICE.name, _open, request, Opened, key=key)

    def ingest(self, request: Batch, *, key: str) -> Ingested:
        """Count events."""
        return once(SERVICE.name, _ingest, request, Ingested, key=key)

    def ingest_moves(self, request: SegmentMoves, *, key: str) -> Ingested:
        """Count contacts that entered and left segments."""
        return once(SERVICE.name, _ingest_moves, request, Ingested, key=key)

    def segment_totals(self, request: TotalsOf, *, key: str) -> SegmentTotals:
        """Return the counts of a segment. A question has no effect, so its key is not kept."""
        with own_transaction():
            return SegmentTotals(request.segment, *coliseum.segment_totals(request.segment))

    def metrics(self, request: MetricsOf, *, key: str) -> Metrics:
        """Return the counts of a campaign. A question has no effect, so its key is not kept."""
        with own_transaction():
            return Metrics(
                campaign=request.campaign,
                as_of=now(),
                totals=[Total(**found) for found in coliseum.totals(request.campaign)],
                minutes=[Minute(**found) for found in coliseum.minutes(request.campaign, request.since)],
            )


def _open(request: OpenCampaign) -> Opened:
    return Opened(request.campaign, coliseum.open_campaign(request.campaign))


def _ingest(request: Batch) -> Ingested:
    events = [
        coliseum.Event(event.id, event.campaign, event.kind, event.occurred_at, event.reverses is not None)
        for event in request.events
    ]
    added = coliseum.ingest(events)
    return Ingested(added, len(events) - added)


def _ingest_moves(request: SegmentMoves) -> Ingested:
    moves = [coliseum.Move(one.id, one.segment, one.at, one.entered, one.left) for one in request.moves]
    added = coliseum.ingest_moves(moves)
    return Ingested(added, len(moves) - added)
