"""Declare the personal data of segments, contacts and engagements."""

from models.core.personal_data import (
    BRAND_CONTENT,
    UNTIL_ERASURE,
    Category,
    Erasure,
    NotPersonal,
    Personal,
    Table,
)

PERSONAL = (
    Table(name="public.audience_segments", not_personal=(NotPersonal(("name", "preview"), BRAND_CONTENT),)),
    Table(name="public.segment_queries", not_personal=(NotPersonal(("query_definition",), BRAND_CONTENT),)),
    Table(
        name="public.contacts",
        purpose="Let a brand know the people who take part in its campaigns.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("properties",), Category.PROFILE, Erasure.DELETE),
        ),
    ),
    Table(
        name="public.engagements",
        purpose="Count a person's part in a campaign.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(Personal(("user_id",), Category.BEHAVIOUR, Erasure.DELETE),),
    ),
)
