"""Declare the personal data of Passport."""

from models.core.personal_data import FIXED_LIST, NAME_IN_CODE, Category, Erasure, Export, NotPersonal, Personal, Table

PERSONAL = (
    Table(
        name="public.passport_calls",
        not_personal=(
            NotPersonal(("service", "operation", "error_code"), NAME_IN_CODE),
            NotPersonal(("transport", "outcome"), FIXED_LIST),
            NotPersonal(("request",), "members that name or describe people are redacted before it is stored"),
        ),
    ),
    Table(
        name="app.passport_answers",
        purpose="Answer a repeated call of a local service as the first one was answered.",
        retention="30 days",
        deleted_by="passport.expire",
        found_by="key",
        personal=(Personal(("answer",), Category.CONTENT, Erasure.EXPIRE, Export.INTERNAL),),
        not_personal=(
            NotPersonal(("service",), NAME_IN_CODE),
            NotPersonal(("key",), "made of the random id of a job"),
            NotPersonal(("digest",), "a hash of the request"),
        ),
    ),
)
