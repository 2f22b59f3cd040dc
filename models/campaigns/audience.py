"""The segments that a campaign addresses: `segment_ids` of its configuration, as rows of `campaign_audience`."""

from collections.abc import Sequence
from uuid import UUID

from models.audiences.segments import AudienceSegment, CampaignAudience
from models.core.errors import FieldError, Invalid


def require_segments(segment_ids: Sequence[UUID]) -> None:
    """Check that the caller's brand has all segments.

    Raises:
        Invalid: names each place of the list with another id.
    """
    if not segment_ids:
        return
    known = {found.id for found in AudienceSegment.select().where(AudienceSegment.id.in_(list(segment_ids)))}
    if unknown := [number for number, segment_id in enumerate(segment_ids) if segment_id not in known]:
        raise Invalid(
            errors=[FieldError(f"config.segment_ids[{n}]", "must be the id of a segment of the brand") for n in unknown]
        )


def replace_segments(brand_id: UUID, campaign_id: UUID, segment_ids: Sequence[UUID]) -> None:
    """Let a campaign address these segments and no others."""
    own = CampaignAudience.campaign_id == campaign_id
    gone = CampaignAudience.segment_id.not_in(list(segment_ids)) if segment_ids else True
    CampaignAudience.delete().where(own, gone).execute()
    rows = [{"brand_id": brand_id, "campaign_id": campaign_id, "segment_id": one} for one in segment_ids]
    if rows:
        CampaignAudience.insert_many(rows).on_conflict_ignore().execute()
