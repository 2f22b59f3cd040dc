"""Declare the personal data of campaigns, codes and assignments."""

from models.campaigns import history
from models.core.personal_data import (
    BRAND_CONTENT,
    FIXED_LIST,
    NAME_IN_CODE,
    UNTIL_ERASURE,
    Category,
    Erasure,
    Export,
    NotPersonal,
    Personal,
    Table,
)

PERSONAL = (
    Table(
        name="public.campaigns",
        purpose="Show which member created a campaign.",
        retention=UNTIL_ERASURE,
        found_by="created_by",
        personal=(Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK),),
        not_personal=(
            NotPersonal(("type", "status"), FIXED_LIST),
            NotPersonal(("name", "config", "scan_config", "area", "border"), BRAND_CONTENT),
            NotPersonal(("fingerprint_key_version",), "version of a key"),
        ),
    ),
    Table(
        name="public.campaign_versions",
        purpose="Show which member changed a campaign.",
        retention=f"the newest {history.KEPT} versions of each campaign, or {UNTIL_ERASURE}",
        deleted_by="campaigns.prune_versions",
        found_by="created_by",
        personal=(Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK),),
        not_personal=(
            NotPersonal(("type",), FIXED_LIST),
            NotPersonal(("changed",), NAME_IN_CODE),
            NotPersonal(("name", "config"), BRAND_CONTENT),
        ),
    ),
    Table(name="public.qr_codes", not_personal=(NotPersonal(("label",), BRAND_CONTENT),)),
    Table(name="public.campaign_audience"),
    Table(
        name="public.rewards",
        purpose="Give a person the reward that a scan has earned, and account for it.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("id", "user_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("reward_key", "name", "campaign_name", "state"), Category.BEHAVIOUR, Erasure.DELETE),
            Personal(("code_hash",), Category.CREDENTIAL, Erasure.DELETE, Export.SECRET),
            Personal(("redeemed_by", "redemption_job_id"), Category.IDENTIFIER, Erasure.DELETE, Export.OTHER_PERSON),
        ),
    ),
    Table(name="public.reward_stocks", not_personal=(NotPersonal(("reward_key", "name", "per_user"), BRAND_CONTENT),)),
    Table(
        name="public.campaign_assignments",
        purpose="Grant a Creator access to assigned campaigns.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("assigned_by",), Category.IDENTIFIER, Erasure.UNLINK, Export.OTHER_PERSON),
        ),
    ),
    Table(
        name="public.tickets",
        purpose="Admit a person to an event.",
        retention="365 days after the completion of the event",
        deleted_by="events.expire",
        found_by="user_id",
        personal=(
            Personal(("id", "user_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("state", "refusal", "job_id"), Category.BEHAVIOUR, Erasure.DELETE),
        ),
        not_personal=(NotPersonal(("key_version",), "version of a key"),),
    ),
    Table(
        name="public.guests",
        purpose="Admit the guests of a brand to an event.",
        retention="365 days after the completion of the event",
        deleted_by="events.expire",
        found_by="user_id",
        personal=(
            Personal(("id", "user_id", "contact_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("name", "email"), Category.CONTACT, Erasure.DELETE),
            Personal(("state",), Category.BEHAVIOUR, Erasure.DELETE),
        ),
    ),
    Table(
        name="public.check_ins",
        purpose="Record who was admitted to an event, and when.",
        retention="365 days after the completion of the event",
        deleted_by="events.expire",
        found_by="user_id",
        personal=(
            Personal(("id", "user_id", "ticket_id", "guest_id", "scan_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("gate", "state", "refusal", "job_id"), Category.BEHAVIOUR, Erasure.DELETE),
        ),
    ),
    Table(
        name="public.venue_lookups",
        not_personal=(
            NotPersonal(("geocoder", "address", "country", "language", "candidates", "attribution"), BRAND_CONTENT),
        ),
    ),
)
