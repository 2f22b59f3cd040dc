"""Uses of personal data that rely on a consent: allowed while it is in force, and recorded.

An actor calls `require_consent`, or `with_consent` for many people, in the transaction in which it reads the data.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

from models.consents.consents import ConsentTier
from models.core.database import execute, rows
from models.core.enumerations import enumeration
from models.core.errors import Forbidden

Purpose = Annotated[
    Literal["contact", "profiling", "measurement", "ai_analysis"],
    enumeration(
        "ConsentPurpose",
        "Use of personal data. `contact`: send a person something about the brand. `profiling`: derive or copy traits. "
        "`measurement`: measure activations. `ai_analysis`: have texts analysed by an AI service.",
    ),
]
"""A CHECK constraint lists the same values; a test compares the two."""
TIERS: Mapping[Purpose, ConsentTier] = {
    "contact": "marketing",
    "profiling": "marketing",
    "measurement": "analytics",
    "ai_analysis": "ai_processing",
}
"""The tier that allows each purpose."""
KEPT = timedelta(days=3 * 365)
"""Time for which a recorded use is kept: the usual limitation period of claims."""


class ConsentMissing(Forbidden):
    """The person has no consent in force that allows the purpose."""

    code = "consent_missing"


def require_consent(user_id: UUID, purpose: Purpose, *, brand_id: UUID) -> None:
    """Check that a person's consent towards a brand allows a purpose now, and record the use.

    A withdrawal waits until the transaction ends, so the data may be used within it.

    Raises:
        ConsentMissing: no such consent is in force; nothing is recorded.
    """
    if not with_consent([user_id], purpose, brand_id=brand_id):
        raise ConsentMissing


def with_consent(user_ids: Collection[UUID], purpose: Purpose, *, brand_id: UUID) -> set[UUID]:
    """Return the people whose consent towards a brand allows a purpose now, and record the use for each of them."""
    found = rows(
        "SELECT user_id FROM app.use_consents(%s::uuid[], %s, %s, %s) AS user_id",
        (sorted(user_ids), brand_id, purpose, TIERS[purpose]),
    )
    return {one["user_id"] for one in found}


def expire() -> None:
    """Delete uses that are older than `KEPT`."""
    execute("DELETE FROM public.consent_uses WHERE day < now() - %s", (KEPT,))
