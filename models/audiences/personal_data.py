"""Declare the personal data of segments, contacts and engagements."""

from models.core.personal_data import (
    BRAND_CONTENT,
    FIXED_LIST,
    UNTIL_ERASURE,
    Category,
    Erasure,
    Export,
    NotPersonal,
    Personal,
    Table,
)

_DECLARED = ("key", "type", "label", "options")

PERSONAL = (
    Table(
        name="public.audience_segments",
        purpose="Show which member created a segment.",
        retention=UNTIL_ERASURE,
        found_by="created_by",
        personal=(Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK),),
        not_personal=(NotPersonal(("name", "description", "preview"), BRAND_CONTENT),),
    ),
    Table(
        name="public.segment_queries",
        purpose="Show which member changed the definition of a segment.",
        retention=UNTIL_ERASURE,
        found_by="created_by",
        personal=(Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK),),
        not_personal=(NotPersonal(("definition",), BRAND_CONTENT),),
    ),
    Table(name="public.segment_dependencies", not_personal=(NotPersonal(("depends_on",), "the id of a segment"),)),
    Table(
        name="app.segment_preview_counts",
        not_personal=(NotPersonal(("slot", "parts"), "hashes of definitions, and of sets of at least 10 contacts"),),
    ),
    Table(
        name="public.campaign_members",
        purpose="Keep the audience of a campaign as it was at the launch.",
        retention=UNTIL_ERASURE,
        found_by="contact_id = public.contacts.id",
        personal=(Personal(("contact_id",), Category.IDENTIFIER, Erasure.CASCADE),),
    ),
    Table(
        name="public.contacts",
        purpose="Let a brand know the people who take part in its campaigns.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("id", "user_id", "external_id", "merged_into"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("email", "phone", "name"), Category.CONTACT, Erasure.DELETE),
            Personal(("country", "city", "lat", "lon"), Category.LOCATION, Erasure.DELETE),
            Personal(("locale",), Category.PREFERENCE, Erasure.DELETE),
            Personal(("birth_date", "tags", "source", "properties"), Category.PROFILE, Erasure.DELETE),
        ),
    ),
    Table(
        name="public.contact_notes",
        purpose="Let members of a brand remember what they agreed with a person.",
        retention="until the contact is deleted, or the person or the brand is erased",
        found_by="contact_id = public.contacts.id",
        personal=(
            Personal(("contact_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("text",), Category.CONTENT, Erasure.CASCADE),
            Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK, Export.OTHER_PERSON),
        ),
    ),
    Table(
        name="public.contact_merges",
        purpose="Undo the merge of two contacts.",
        retention="until one of the contacts is deleted, or the person or the brand is erased",
        found_by="survivor_id = public.contacts.id",
        personal=(
            Personal(("id", "survivor_id", "merged_id", "moved"), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("before", "after"), Category.PROFILE, Erasure.CASCADE, Export.INTERNAL),
            Personal(("created_by", "undone_by"), Category.IDENTIFIER, Erasure.UNLINK, Export.OTHER_PERSON),
        ),
    ),
    Table(name="public.contact_properties", not_personal=(NotPersonal(_DECLARED, BRAND_CONTENT),)),
    Table(
        name="public.contact_activity",
        purpose="Select contacts by what they did, and when.",
        retention="as the engagement events that it counts",
        found_by="contact_id = public.contacts.id",
        personal=(Personal(("contact_id", "day"), Category.BEHAVIOUR, Erasure.CASCADE, Export.INTERNAL),),
        not_personal=(NotPersonal(("event",), FIXED_LIST),),
    ),
    Table(
        name="public.segment_members",
        purpose="Know which contacts belong to a segment, and since when.",
        retention="400 days after the contact has left the segment, or until it is erased",
        deleted_by="segments.expire",
        found_by="contact_id = public.contacts.id",
        personal=(Personal(("contact_id",), Category.PROFILE, Erasure.CASCADE),),
    ),
    Table(
        name="public.segment_states",
        not_personal=(
            NotPersonal(("problem", "kinds"), "says which part of a definition can't be evaluated"),
            NotPersonal(("state",), FIXED_LIST),
        ),
    ),
    Table(
        name="app.segment_changes",
        purpose="Apply changes of a contact to segments.",
        retention="seconds: the job that applies a change deletes it",
        found_by="contact_id = public.contacts.id",
        personal=(Personal(("contact_id", "user_id"), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),),
        not_personal=(NotPersonal(("kinds",), FIXED_LIST),),
    ),
    Table(
        name="public.fan_traits",
        purpose="Select contacts by their traits, with their consent to marketing.",
        retention="until the consent ends, or the person or the brand is erased",
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("name", "value"), Category.PROFILE, Erasure.CASCADE),
        ),
    ),
    Table(
        name="public.engagements",
        purpose="Count a person's part in a campaign.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(Personal(("user_id",), Category.BEHAVIOUR, Erasure.DELETE),),
    ),
    Table(
        name="public.contact_imports",
        not_personal=(
            NotPersonal(("format", "encoding", "state", "unreadable", "match_keys", "overwrite", "region"), FIXED_LIST),
            NotPersonal(("filename", "mapping", "layout", "asset_id", "errors_asset_id"), BRAND_CONTENT),
            NotPersonal(("reasons",), "counts of rows"),
        ),
    ),
    Table(
        name="public.contact_import_rows",
        purpose="List the rows of a file that were refused, with their values, so that the brand can mend them.",
        retention="until the import has written them to its file of errors, which is deleted after 7 days",
        deleted_by="transfers.expire",
        found_by="import_id",
        personal=(Personal(("cells",), Category.PROFILE, Erasure.EXPIRE, Export.INTERNAL),),
        not_personal=(NotPersonal(("import_id", "field", "reason"), FIXED_LIST),),
    ),
    Table(
        name="public.contact_import_keys",
        purpose="Recognise rows of one file that are about the same contact.",
        retention="until the import ends",
        deleted_by="transfers.expire",
        found_by="contact_id = public.contacts.id",
        personal=(
            Personal(("contact_id",), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),
            Personal(("key_hash",), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),
        ),
        not_personal=(NotPersonal(("import_id",), FIXED_LIST),),
    ),
    Table(
        name="public.contact_exports",
        not_personal=(
            NotPersonal(("format", "state"), FIXED_LIST),
            NotPersonal(("tag", "asset_id"), BRAND_CONTENT),
        ),
    ),
    Table(name="public.campaign_metrics", not_personal=(NotPersonal(("totals", "minutes"), "counts of events"),)),
    Table(
        name="public.contact_sync",
        purpose="Synchronise a contact with the brand's CRM: versions of its fields, withdrawal, deletion.",
        retention=f"{UNTIL_ERASURE}; the tombstone of a deleted contact has no fields",
        found_by="contact_id = public.contacts.id",
        personal=(
            Personal(("contact_id",), Category.IDENTIFIER, Erasure.PSEUDONYM, Export.INTERNAL),
            Personal(("fields",), Category.PROFILE, Erasure.CLEAR, Export.INTERNAL),
        ),
    ),
    Table(name="public.contact_sync_state", not_personal=(NotPersonal(("pull_cursor",), "a position in a list"),)),
    Table(
        name="public.conversions",
        purpose="Let a brand measure what its campaigns earn.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("user_id", "contact_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("id", "external_id"), Category.BEHAVIOUR, Erasure.DELETE),
            Personal(("value_minor", "currency"), Category.FINANCE, Erasure.DELETE),
        ),
    ),
    Table(
        name="public.engagement_events",
        purpose="Record what a person does in a campaign, so that every count can be recomputed.",
        retention="36 months after the month of the event",
        deleted_by="engagements.rotate",
        found_by="user_id",
        personal=(
            Personal(("user_id", "contact_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("id", "source_id", "reversal_of"), Category.BEHAVIOUR, Erasure.DELETE),
        ),
        not_personal=(NotPersonal(("kind",), FIXED_LIST),),
    ),
    Table(
        name="app.activity_outbox",
        purpose="Send what contacts did to CALS.",
        retention="until CALS has the activity; without a contact 1 day",
        found_by="event_id = public.engagement_events.id",
        personal=(Personal(("event_id", "occurred_at"), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),),
    ),
    Table(
        name="app.segment_outbox",
        not_personal=(NotPersonal(("event_id",), "the id of a change of numbers, without people"),),
    ),
    Table(
        name="app.engagement_outbox",
        purpose="Fold a person's new events into the counts of the campaign.",
        retention="seconds: folding an event removes the person",
        deleted_by="engagements.rotate",
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.BEHAVIOUR, Erasure.DELETE, Export.INTERNAL),
            Personal(("event_id", "reversal_of"), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),
        ),
        not_personal=(NotPersonal(("kind",), FIXED_LIST),),
    ),
)
