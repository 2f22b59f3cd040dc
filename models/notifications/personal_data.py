"""Declare the personal data of notifications."""

from models.core.personal_data import (
    BRAND_CONTENT,
    FIXED_LIST,
    NAME_IN_CODE,
    UNTIL_ERASURE,
    Category,
    Erasure,
    NotPersonal,
    Personal,
    Table,
)

PERSONAL = (
    Table(
        name="public.notifications",
        purpose="Inform members of events in their brand.",
        retention="90 days",
        deleted_by="notifications.expire",
        found_by="user_id",
        personal=(Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),),
        not_personal=(
            NotPersonal(("kind", "permission"), FIXED_LIST),
            NotPersonal(("subject_type",), NAME_IN_CODE),
            NotPersonal(("subject_id", "details"), BRAND_CONTENT),
        ),
    ),
    Table(
        name="public.notification_preferences",
        purpose="Send the notifications that a person wants.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(Personal(("user_id", "kind", "mail"), Category.PREFERENCE, Erasure.CASCADE),),
    ),
)
