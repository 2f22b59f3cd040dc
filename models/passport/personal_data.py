"""Declare the personal data of Passport."""

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
        name="public.passport_calls",
        not_personal=(
            NotPersonal(("service", "operation", "error_code"), NAME_IN_CODE),
            NotPersonal(("transport", "outcome"), FIXED_LIST),
            NotPersonal(("request",), "members that name or describe people are redacted before it is stored"),
        ),
    ),
    Table(
        name="public.cals_contacts",
        purpose="Hold the contacts of brands that use no other CRM, in the local CALS.",
        retention="until the contact is deleted; its tombstone has no fields",
        found_by="contact_id",
        personal=(
            Personal(("contact_id",), Category.IDENTIFIER, Erasure.PSEUDONYM, Export.INTERNAL),
            Personal(("fields",), Category.PROFILE, Erasure.CLEAR, Export.INTERNAL),
        ),
    ),
    Table(
        name="public.cals_activities",
        purpose="Hold what contacts did, in the local CALS.",
        retention="until the contact is deleted",
        found_by="contact_id",
        personal=(
            Personal(("contact_id",), Category.IDENTIFIER, Erasure.DELETE, Export.INTERNAL),
            Personal(("activity_id", "kind"), Category.BEHAVIOUR, Erasure.DELETE, Export.INTERNAL),
        ),
    ),
    Table(name="public.coliseum_campaigns"),
    Table(
        name="public.coliseum_events",
        not_personal=(
            NotPersonal(("event_id",), "the id of an event without its person"),
            NotPersonal(("kind",), FIXED_LIST),
        ),
    ),
    Table(
        name="public.coliseum_moves",
        not_personal=(NotPersonal(("event_id",), "the id of a change of numbers, without people"),),
    ),
    Table(name="public.coliseum_segments"),
    Table(name="public.coliseum_totals", not_personal=(NotPersonal(("kind",), FIXED_LIST),)),
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
    Table(
        name="public.concierto_events",
        not_personal=(NotPersonal(("name", "venue"), BRAND_CONTENT), NotPersonal(("admission",), FIXED_LIST)),
    ),
    Table(name="public.concierto_guests", not_personal=(NotPersonal(("event_id",), "id of a campaign"),)),
    Table(
        name="public.concierto_tickets",
        purpose="Admit a person to an event.",
        retention="365 days after the end of the event",
        deleted_by="events.expire",
        found_by="subject",
        personal=(Personal(("subject",), Category.IDENTIFIER, Erasure.PSEUDONYM, Export.INTERNAL),),
        not_personal=(NotPersonal(("event_id",), "id of a campaign"),),
    ),
    Table(
        name="public.concierto_check_ins",
        purpose="Admit a person to an event once.",
        retention="365 days after the end of the event",
        deleted_by="events.expire",
        found_by="subject",
        personal=(Personal(("subject",), Category.BEHAVIOUR, Erasure.PSEUDONYM, Export.INTERNAL),),
        not_personal=(
            NotPersonal(("event_id",), "id of a campaign"),
            NotPersonal(("ticket_id", "guest_id"), "ids of other rows"),
            NotPersonal(("gate",), "name of an entrance"),
        ),
    ),
    Table(name="public.locker_campaigns"),
    Table(name="public.locker_rewards", not_personal=(NotPersonal(("key", "name", "per_user"), BRAND_CONTENT),)),
    Table(
        name="public.locker_reservations",
        purpose="Give a person no more units of a reward than allowed.",
        retention=UNTIL_ERASURE,
        found_by="subject",
        personal=(
            Personal(("id", "subject"), Category.IDENTIFIER, Erasure.PSEUDONYM, Export.INTERNAL),
            Personal(("reward_key", "state"), Category.BEHAVIOUR, Erasure.PSEUDONYM, Export.INTERNAL),
        ),
    ),
    Table(
        name="public.mediaid_subjects",
        purpose="Recognise a fan before and after the sign-up.",
        retention=UNTIL_ERASURE,
        found_by="subject_id",
        personal=(Personal(("subject_id", "media_id"), Category.IDENTIFIER, Erasure.DELETE, Export.INTERNAL),),
        not_personal=(NotPersonal(("kind",), FIXED_LIST),),
    ),
    Table(
        name="public.mediaid_traits",
        purpose="Select people whom a brand may contact.",
        retention=UNTIL_ERASURE,
        found_by="media_id = public.mediaid_subjects.media_id",
        personal=(
            Personal(("media_id",), Category.IDENTIFIER, Erasure.DELETE, Export.INTERNAL),
            Personal(("name", "value"), Category.PROFILE, Erasure.DELETE),
        ),
    ),
)
