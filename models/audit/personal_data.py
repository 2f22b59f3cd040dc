"""Declare the personal data of the audit trail's tables."""

from models.core.personal_data import (
    FIXED_LIST,
    NAME_IN_CODE,
    REQUEST_ID,
    Category,
    Erasure,
    NotPersonal,
    Personal,
    Table,
)

_HASH = "a keyed hash over entries; it covers no personal value"
_RETENTION = "`AUDIT_RETENTION_YEARS` (7 by default)"

PERSONAL = (
    Table(
        name="public.audit_logs",
        purpose="Prove who did which sensitive act, and when.",
        retention=_RETENTION,
        deleted_by="the seal process",
        found_by="user_id",
        personal=(
            Personal(
                ("user_id", "session_id", "record_id", "record_key", "actor_role", "details"),
                Category.BEHAVIOUR,
                Erasure.PSEUDONYM,
            ),
            Personal(("reason",), Category.CONTENT, Erasure.AUDIT_VALUE),
        ),
        not_personal=(
            NotPersonal(("action", "table_name"), NAME_IN_CODE),
            NotPersonal(("outcome",), FIXED_LIST),
            NotPersonal(("request_id",), REQUEST_ID),
            NotPersonal(("personal_hashes",), "salted hashes; the salts are erased with the values"),
            NotPersonal(("mac",), _HASH),
        ),
    ),
    Table(
        name="app.audit_personal_values",
        purpose="Show addresses, user agents and changed values of audit entries.",
        retention=f"{_RETENTION}, or until erasure",
        deleted_by="the seal process",
        found_by="id = public.audit_logs.id",
        personal=(Personal(("contents",), Category.CONTENT, Erasure.AUDIT_VALUE),),
    ),
    Table(name="app.audit_chains", not_personal=(NotPersonal(("mac",), _HASH),)),
    Table(name="app.audit_starts", not_personal=(NotPersonal(("mac",), _HASH),)),
    Table(
        name="app.audit_checkpoints",
        not_personal=(NotPersonal(("sha256", "document"), "heads of chains: numbers and hashes"),),
    ),
)
