"""Declare the personal data of notices and consents."""

from models.core.personal_data import REQUEST_ID, Category, Erasure, NotPersonal, Personal, Table

_NOTICE = "a published text for every person"
_RETENTION = "without limit, as proof of consent"

PERSONAL = (
    Table(
        name="public.consent_notices",
        not_personal=(NotPersonal(("key", "locale", "title", "body", "body_sha256", "tiers"), _NOTICE),),
    ),
    Table(
        name="public.consents",
        purpose="Prove which processing a person agreed to.",
        retention=_RETENTION,
        found_by="user_id",
        personal=(Personal(("user_id", "consent_tier", "locale", "source"), Category.CONSENT, Erasure.PROOF),),
    ),
    Table(
        name="public.consent_events",
        purpose="Prove each consent and withdrawal.",
        retention=_RETENTION,
        found_by="user_id",
        personal=(
            Personal(("user_id", "action", "consent_tier", "locale", "source"), Category.CONSENT, Erasure.PROOF),
        ),
        not_personal=(NotPersonal(("notice_sha256",), _NOTICE), NotPersonal(("request_id",), REQUEST_ID)),
    ),
    Table(
        name="public.consent_uses",
        purpose="Prove which uses of personal data relied on which consent.",
        retention="three years",
        found_by="user_id",
        deleted_by="consents.expire_uses",
        personal=(Personal(("user_id", "purpose", "day"), Category.CONSENT, Erasure.PROOF),),
    ),
)
