"""Declare the personal data of subscriptions, payments and coupons."""

from models.core.personal_data import (
    FIXED_LIST,
    VENDOR_ID,
    Category,
    Erasure,
    NotPersonal,
    Personal,
    Table,
)

_RETENTION = "without limit, for accounting"

PERSONAL = (
    Table(
        name="public.subscriptions",
        purpose="Record the plan of a brand and the member who pays for it.",
        retention=_RETENTION,
        found_by="user_id",
        personal=(Personal(("id", "user_id", "plan_id", "status"), Category.FINANCE, Erasure.PSEUDONYM),),
    ),
    Table(
        name="public.payments",
        purpose="Account for payments.",
        retention=_RETENTION,
        found_by="user_id",
        personal=(
            Personal(("id", "user_id", "amount_cents", "currency", "status"), Category.FINANCE, Erasure.PSEUDONYM),
        ),
    ),
    Table(
        name="public.coupons",
        not_personal=(NotPersonal(("id",), VENDOR_ID), NotPersonal(("currency",), FIXED_LIST)),
    ),
)
