"""The segments that a campaign addresses: `segment_ids` of its configuration, as rows of `campaign_audience`."""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from models.audiences import segments
from models.audiences.segments import AudienceSegment, CampaignAudience
from models.core.errors import FieldError, Invalid


def require_segments(segment_ids: Sequence[UUID]) -> None:
    """Check that the caller's brand has all segments, and that none is archived.

    Raises:
        Invalid: names each place of the list with another id.
    """
    known = _readable(segment_ids)
    if unknown := [number for number, segment_id in enumerate(segment_ids) if known.get(segment_id) != "live"]:
        raise Invalid(errors=[FieldError(_place(n), "must be the id of a segment of the brand") for n in unknown])


def missing_of_segments(brand_id: UUID, segment_ids: Sequence[UUID]) -> list[FieldError]:
    """Return the places of segments that are archived or can't be evaluated.

    Segments that the caller may not read are left out: the launch job reads all.
    """
    readable = _readable(segment_ids)
    return [
        FieldError(_place(number), "must be the id of a segment that can be evaluated")
        for number, segment_id in enumerate(segment_ids)
        if segment_id in readable
        and (readable[segment_id] == "archived" or not segments.can_be_evaluated(segment_id, brand_id))
    ]


def _readable(segment_ids: Sequence[UUID]) -> dict[UUID, Literal["live", "archived"]]:
    """Return the segments that the caller may read, and whether they are archived."""
    if not segment_ids:
        return {}
    query = AudienceSegment.select().where(AudienceSegment.id.in_(list(segment_ids)))
    return {found.id: "live" if found.archived_at is None else "archived" for found in query}


def _place(number: int) -> str:
    return f"config.segment_ids[{number}]"


def replace_segments(brand_id: UUID, campaign_id: UUID, segment_ids: Sequence[UUID]) -> None:
    """Let a campaign address these segments and no others."""
    own = CampaignAudience.campaign_id == campaign_id
    gone = CampaignAudience.segment_id.not_in(list(segment_ids)) if segment_ids else True
    CampaignAudience.delete().where(own, gone).execute()
    rows = [{"brand_id": brand_id, "campaign_id": campaign_id, "segment_id": one} for one in segment_ids]
    if rows:
        CampaignAudience.insert_many(rows).on_conflict_ignore().execute()
