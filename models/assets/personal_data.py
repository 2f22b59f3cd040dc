"""Declare the personal data of assets."""

from models.core.personal_data import BRAND_CONTENT, FIXED_LIST, NotPersonal, Table

PERSONAL = (
    Table(
        name="public.assets",
        not_personal=(
            NotPersonal(("purpose", "content_type", "state", "reason"), FIXED_LIST),
            NotPersonal(("filename", "sha256"), BRAND_CONTENT),
        ),
    ),
)
