"""Declare the personal data of the job ledger."""

from models.core.personal_data import (
    FIXED_LIST,
    NAME_IN_CODE,
    REQUEST_ID,
    Category,
    Erasure,
    Export,
    NotPersonal,
    Personal,
    Table,
)

_PURPOSE = "Do the work that a request caused, and show its progress."
_IDS = Personal(("user_id", "subject_id", "args"), Category.IDENTIFIER, Erasure.EXPIRE)
_KEYS = Personal(("unique_key", "coalesce_key"), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL)
_ERROR = Personal(("error",), Category.CONTENT, Erasure.EXPIRE, Export.INTERNAL)
_OTHER = (
    NotPersonal(("actor", "subject_type", "progress_message"), NAME_IN_CODE),
    NotPersonal(("state",), FIXED_LIST),
    NotPersonal(("request_id", "correlation_id", "traceparent"), REQUEST_ID),
)

PERSONAL = (
    Table(
        name="app.jobs",
        purpose=_PURPOSE,
        retention="until the job is over",
        found_by="user_id",
        personal=(_IDS, _KEYS, _ERROR),
        not_personal=_OTHER,
    ),
    Table(
        name="app.job_history",
        purpose=_PURPOSE,
        retention="30 days",
        deleted_by="jobs.prune",
        found_by="user_id",
        personal=(_IDS, _ERROR),
        not_personal=_OTHER,
    ),
    Table(
        name="app.dead_jobs",
        purpose="Let an operator find and repeat a failed job.",
        retention="365 days",
        deleted_by="jobs.prune",
        found_by="user_id",
        personal=(_IDS, _KEYS, _ERROR),
        not_personal=(*_OTHER, NotPersonal(("fingerprint",), "a hash of an error's place in the program")),
    ),
    Table(
        name="app.job_groups",
        purpose=_PURPOSE,
        retention="30 days",
        deleted_by="jobs.prune",
        found_by="user_id",
        personal=(Personal(("user_id",), Category.IDENTIFIER, Erasure.EXPIRE),),
        not_personal=(
            NotPersonal(("kind", "state", "outcome"), FIXED_LIST),
            NotPersonal(("started_by",), "the id of a job"),
        ),
    ),
    Table(
        name="app.job_keys",
        purpose="Keep two jobs from doing the same work.",
        retention="as long as the job or its window",
        deleted_by="jobs.prune",
        found_by="key",
        personal=(Personal(("key",), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),),
    ),
    Table(name="app.actors", not_personal=(NotPersonal(("name", "queue"), NAME_IN_CODE),)),
    Table(name="app.actor_rates", not_personal=(NotPersonal(("actor",), NAME_IN_CODE),)),
    Table(name="app.brand_shares"),
    Table(
        name="app.paused_actors",
        purpose="Show which operator paused an actor.",
        retention="until the actor continues",
        found_by="paused_by",
        personal=(Personal(("paused_by",), Category.IDENTIFIER, Erasure.PSEUDONYM),),
        not_personal=(NotPersonal(("actor",), NAME_IN_CODE), NotPersonal(("reason",), "the reason of a pause")),
    ),
    Table(name="app.relay_lock"),
)
