"""Describe a code before it is scanned: brand, campaign, and the requirements of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from models.campaigns.codes import read_token
from models.consents.consents import ConsentTier
from models.consents.notices import Notice
from models.core.database import row
from models.core.enumerations import enumeration
from models.scans.outcomes import REFUSALS

CodeStatus = Annotated[
    Literal["not_started", "active", "closed", "paused", "ended"],
    enumeration(
        "CodeStatus",
        "Whether a scan of a code can count now: only with `active`. `not_started`: before the launch or the start "
        "of the campaign. `closed`: outside its weekly hours. `paused`: stopped for now. `ended`: no more scans count.",
    ),
]

_DESCRIBE = "SELECT * FROM app.describe_code(%s, %s)"


@dataclass(frozen=True, slots=True)
class Description:
    """A code's brand and campaign, the requirements of a scan, and the notice to show.

    `account_missing` and `missing_tiers` are None unless a person is signed in.
    """

    brand: dict[str, Any]
    campaign: dict[str, Any]
    status: CodeStatus
    test_mode: bool
    starts_at: datetime | None
    ends_at: datetime | None
    timezone: str
    scan_windows: list[dict[str, Any]]
    opens_at: datetime | None
    location_required: bool
    account_required: bool
    account_missing: bool | None
    consent_tiers: list[ConsentTier]
    missing_tiers: list[ConsentTier] | None
    notice: Notice | None


def describe(token: str, locales: Sequence[str]) -> Description:
    """Describe the code of a token. `locales`: preferred languages of the notice, best first.

    Raises:
        ScanRefused: `bad_token` for a token without a valid signature, `unknown_code` for an unknown or disabled code.
    """
    code_id = read_token(token)
    if code_id is None:
        raise REFUSALS["bad_token"]
    found = row(_DESCRIBE, (code_id, list(locales)))
    if found is None:
        raise REFUSALS["unknown_code"]
    notice_id: UUID | None = found.pop("notice_id")
    return Description(
        brand={name: found.pop(f"brand_{name}") for name in ("id", "name", "color")},
        campaign={name: found.pop(f"campaign_{name}") for name in ("id", "name", "type")},
        notice=Notice.get_by_id(notice_id) if notice_id else None,
        **found,
    )
