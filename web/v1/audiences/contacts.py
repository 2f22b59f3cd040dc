"""Contacts: list, create, read, change and delete them.

Members see each contact of their brand; every answer with contacts is in the audit trail.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.audiences import contact_list, contacts
from models.audiences.contact_list import Conditions, ContactSort, Key
from models.audiences.contacts import Contact, ContactKeyTaken, ContactMerged
from models.audiences.profile import MAX_TAGS
from models.core.errors import PreconditionFailed
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, etag, page_of, require_match
from web.http.fields import CreatedAt, Email, EmailText, Id, Locale, Text100, Text200, UpdatedAt, Version

Tag = Annotated[Text100, Meta(description="A word or name of the brand's own.", examples=["vip"])]
ExternalId = Annotated[
    Text200, Meta(description="Id of the person in the brand's system; of one contact only.", examples=["C-2041"])
]
PhoneText = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=40,
        description="Number with its country code, also with blanks. Kept in the form E.164.",
        examples=["+34 600 000 000"],
    ),
]
Name = Annotated[Text200, Meta(description="Name of the person.", examples=["Ana García"])]
Country = Annotated[str, Meta(min_length=2, max_length=2, description="ISO 3166-1 alpha-2.", examples=["ES"])]
City = Annotated[Text200, Meta(description="Name of the city.", examples=["Madrid"])]
BirthDate = Annotated[date, Meta(description="Date of birth, from 1900 to today.", examples=["1990-05-17"])]
Lat = Annotated[float, Meta(ge=-90, le=90, description="Latitude in degrees (WGS 84).", examples=[40.4154])]
Lon = Annotated[float, Meta(ge=-180, le=180, description="Longitude in degrees (WGS 84).", examples=[-3.7074])]
Tags = Annotated[
    list[Tag], Meta(max_length=MAX_TAGS, description="Different tags, up to 100.", examples=[["vip", "press"]])
]
Source = Annotated[Text200, Meta(description="Where the brand got to know the person.", examples=["web form"])]
Properties = Annotated[
    dict[str, Any],
    Meta(
        max_length=100,
        description="Values of the brand's properties by key, of the declared type. Null removes a value; a property "
        "that is left out keeps its value.",
        examples=[{"shoe_size": 38}],
    ),
]
EXAMPLE: dict[str, Any] = {
    "external_id": "C-2041",
    "email": "ana@fan.example",
    "phone": "+34 600 000 000",
    "name": "Ana García",
    "locale": "es-ES",
    "country": "ES",
    "city": "Madrid",
    "birth_date": "1990-05-17",
    "lat": 40.4154,
    "lon": -3.7074,
    "tags": ["vip"],
    "source": "web form",
    "properties": {},
    "opted_out": True,
}


class ContactFilter(PageQuery, kw_only=True):
    """Filter and order of the list of contacts; all conditions must hold."""

    q: Annotated[
        Text200 | None,
        Meta(
            description="Words that each begin a word of the name, the e-mail address, the number or the external id, "
            "whatever the case and accents. Default: all.",
            examples=["ana gar"],
        ),
    ] = None
    tag: Annotated[
        Annotated[list[Tag], Meta(max_length=10)] | None,
        Meta(
            description="Only contacts with all of these tags; repeat the parameter for several. Default: all.",
            examples=[["vip"]],
        ),
    ] = None
    property: Annotated[
        Annotated[list[Annotated[str, Meta(max_length=1100)]], Meta(max_length=10)] | None,
        Meta(
            description="Only contacts with these values of properties, each as `key=value`; of a list, with this "
            "value in it. Repeat the parameter for several. Default: all.",
            examples=[["shoe_size=38"]],
        ),
    ] = None
    segment_id: Annotated[
        UUID | None, Meta(description="Only contacts that are members of this segment now. Default: all.")
    ] = None
    email: Annotated[Email | None, Meta(description="Only the contact with this address. Default: all.")] = None
    external_id: Annotated[
        ExternalId | None, Meta(description="Only the contact with this external id. Default: all.")
    ] = None
    sort: Annotated[ContactSort, Meta(description="Order of the list. Default: `-created_at`, the newest first.")] = (
        "-created_at"
    )

    def conditions(self) -> Conditions:
        """Return the conditions of this filter."""
        return Conditions(
            text=self.q,
            tags=self.tag or (),
            properties=contact_list.parse_properties(self.property or ()),
            segment_id=self.segment_id,
            email=self.email,
            external_id=self.external_id,
        )


class ContactIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new contact without an account. One of `email`, `phone`, `external_id` and `name` is needed."""

    external_id: Annotated[
        ExternalId | None,
        Meta(description="Id of the person in the brand's system; of one contact only. Default: null."),
    ] = None
    email: Annotated[Email | None, Meta(description="E-mail address; of one contact only. Default: null.")] = None
    phone: Annotated[
        PhoneText | None,
        Meta(description="Number with its country code, also with blanks. Kept in the form E.164. Default: null."),
    ] = None
    name: Annotated[Name | None, Meta(description="Name of the person. Default: null.")] = None
    locale: Annotated[
        Locale | None, Meta(description="Language tag (BCP 47). Kept as language and region. Default: null.")
    ] = None
    country: Annotated[Country | None, Meta(description="Country code (ISO 3166-1 alpha-2). Default: null.")] = None
    city: Annotated[City | None, Meta(description="Name of the city. Default: null.")] = None
    birth_date: Annotated[BirthDate | None, Meta(description="Date of birth, from 1900 to today. Default: null.")] = (
        None
    )
    lat: Annotated[Lat | None, Meta(description="Latitude in degrees (WGS 84); together with `lon`.")] = None
    lon: Annotated[
        Lon | None, Meta(description="Longitude in degrees (WGS 84); together with `lat`. Default: null.")
    ] = None
    tags: Tags = []
    source: Annotated[Source | None, Meta(description="Where the brand got to know the person. Default: null.")] = None
    properties: Properties = {}
    opted_out: Annotated[
        bool, Meta(description="Whether the person told the brand to send no marketing. Default: false.")
    ] = False


class ContactChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a contact, as a merge patch (RFC 7396): a member that is left out stays, null removes the value."""

    external_id: Annotated[
        ExternalId | UnsetType | None, Meta(description="Id of the person in the brand's system; of one contact only.")
    ] = UNSET
    email: Annotated[Email | UnsetType | None, Meta(description="E-mail address; of one contact only.")] = UNSET
    phone: Annotated[
        PhoneText | UnsetType | None,
        Meta(description="Number with its country code, also with blanks. Kept in the form E.164."),
    ] = UNSET
    name: Annotated[Name | UnsetType | None, Meta(description="Name of the person.")] = UNSET
    locale: Annotated[
        Locale | UnsetType | None, Meta(description="Language tag (BCP 47). Kept as language and region.")
    ] = UNSET
    country: Annotated[Country | UnsetType | None, Meta(description="Country code (ISO 3166-1 alpha-2).")] = UNSET
    city: Annotated[City | UnsetType | None, Meta(description="Name of the city.")] = UNSET
    birth_date: Annotated[BirthDate | UnsetType | None, Meta(description="Date of birth, from 1900 to today.")] = UNSET
    lat: Annotated[Lat | UnsetType | None, Meta(description="Latitude in degrees (WGS 84); together with `lon`.")] = (
        UNSET
    )
    lon: Annotated[Lon | UnsetType | None, Meta(description="Longitude in degrees (WGS 84); together with `lat`.")] = (
        UNSET
    )
    tags: Tags | UnsetType = UNSET
    source: Annotated[Source | UnsetType | None, Meta(description="Where the brand got to know the person.")] = UNSET
    properties: Properties | UnsetType = UNSET
    opted_out: Annotated[
        bool,
        Meta(
            description="True: the person told the brand to send no marketing. False changes nothing: only a new "
            "consent of the person ends an opt-out. Default: false."
        ),
    ] = False


class ContactOut(msgspec.Struct, kw_only=True):
    """A contact of the brand."""

    id: Id
    user_id: Annotated[UUID | None, Meta(description="Id of the person's account; null: the contact has none.")]
    external_id: Annotated[
        ExternalId | None,
        Meta(description="Id of the person in the brand's system; of one contact only. Null: unknown."),
    ]
    email: Annotated[EmailText | None, Meta(description="E-mail address in lower case.", examples=["ana@fan.example"])]
    phone: Annotated[str | None, Meta(description="Number (E.164).", examples=["+34600000000"])]
    name: Annotated[Name | None, Meta(description="Name of the person. Null: unknown.")]
    locale: Annotated[str | None, Meta(description="Language tag (BCP 47).", examples=["es-ES"])]
    country: Annotated[Country | None, Meta(description="Country code (ISO 3166-1 alpha-2). Null: unknown.")]
    city: Annotated[City | None, Meta(description="Name of the city. Null: unknown.")]
    birth_date: Annotated[BirthDate | None, Meta(description="Date of birth, from 1900 to today. Null: unknown.")]
    lat: Annotated[Lat | None, Meta(description="Latitude in degrees (WGS 84). Null: unknown.")]
    lon: Annotated[Lon | None, Meta(description="Longitude in degrees (WGS 84); together with `lat`. Null: unknown.")]
    tags: Tags
    source: Annotated[
        str | None,
        Meta(description="Where the brand got to know the person; `scan` for people who scanned.", examples=["scan"]),
    ]
    properties: Annotated[
        dict[str, Any], Meta(description="Values of the brand's properties by key.", examples=[{"shoe_size": 38}])
    ]
    opted_out_at: Annotated[
        Instant | None,
        Meta(description="Time from which the person wants no marketing of the brand, in UTC; null: nothing is known."),
    ]
    merged_into: Annotated[
        UUID | None, Meta(description="Id of the contact that has taken this one in; null: none has.")
    ]
    first_seen_at: Annotated[Instant | None, Meta(description="Time of the first accepted scan, in UTC; null: none.")]
    last_seen_at: Annotated[Instant | None, Meta(description="Time of the last accepted scan, in UTC; null: none.")]
    created_at: CreatedAt
    updated_at: UpdatedAt
    version: Version

    @classmethod
    def of(cls, contact: Contact) -> "ContactOut":
        """Build the response for a contact."""
        return cls(**{name: getattr(contact, name) for name in cls.__struct_fields__})


class Contacts:
    """`/api/v1/crm/contacts`: the contacts of a brand."""

    @endpoint(query=ContactFilter, response=Page[ContactOut], permission="contacts:read", audit="contact.list")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the contacts of the brand, the newest first unless `sort` says otherwise.

        Contacts that another one has taken in are left out. The audit trail records the contacts shown.
        """
        query: ContactFilter = req.context.query
        conditions = query.conditions()
        scope = f"contacts:{query.sort}:{conditions}"
        found = contact_list.find(
            limit=query.limit + 1,
            after=decode_cursor(query.cursor, Key, scope=scope),  # type: ignore[arg-type]
            sort=query.sort,
            conditions=conditions,
        )
        page = page_of(found, query.limit, lambda contact: contact_list.key_of(query.sort, contact), scope=scope)
        audited(req, table="contacts", shown=[contact.id for contact in page.items])
        resp.media = Page([ContactOut.of(contact) for contact in page.items], page.next_cursor)

    @endpoint(
        body=ContactIn,
        example=EXAMPLE,
        response=ContactOut,
        status=201,
        permission="contacts:write",
        audit="contact.create",
        idempotent=True,
        problems=(ContactKeyTaken,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create a contact without an account.

        People who scan become contacts by themselves. Merge the two contacts of a person with `POST
        /api/v1/crm/contacts/{contact_id}/merges`.
        """
        body: ContactIn = req.context.body
        values = msgspec.structs.asdict(body)
        contact = contacts.create(values, opted_out=values.pop("opted_out"))
        audited(req, table="contacts", record_id=contact.id, after={"fields": _set_fields(contact)})
        resp.location = f"/api/v1/crm/contacts/{contact.id}"
        respond(resp, contact)


class OneContact:
    """`/api/v1/crm/contacts/{contact_id}`: one contact."""

    @endpoint(operation_id="getContact", response=ContactOut, permission="contacts:read", audit="contact.read")
    def on_get(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """Read a contact. The audit trail records who has read it.

        Send its `ETag` as `If-Match` with the next change, so that the change of another member is not overwritten.
        """
        contact = contacts.get(contact_id)
        audited(req, table="contacts", record_id=contact_id)
        respond(resp, contact)

    @endpoint(
        operation_id="updateContact",
        body=ContactChange,
        example=EXAMPLE,
        response=ContactOut,
        permission="contacts:write",
        audit="contact.update",
        problems=(ContactKeyTaken, ContactMerged, PreconditionFailed),
    )
    def on_patch(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """Change single fields, tags and properties of a contact, as a merge patch (RFC 7396)."""
        body: ContactChange = req.context.body
        contact = contacts.get_for_update(contact_id)
        require_match(req, contact.version)
        values = {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}
        changed = contacts.change(contact, values, opted_out=values.pop("opted_out"))
        fields = [name for name in ContactOut.__struct_fields__ if getattr(contact, name) != getattr(changed, name)]
        audited(req, table="contacts", record_id=contact_id, after={"fields": fields})
        respond(resp, changed)

    @endpoint(
        operation_id="deleteContact",
        status=204,
        permission="contacts:write",
        audit="contact.delete",
        problems=(PreconditionFailed,),
    )
    def on_delete(self, req: Request, resp: Response, contact_id: UUID) -> None:
        """Delete a contact with its profile, notes and merges, and the contacts that it has taken in.

        What the person did stays: account, scans, rewards and consents belong to the person, who can erase them. Counts
        of campaigns don't change. The next accepted scan of the person makes a new contact. CALS gets the deletion.
        """
        require_match(req, contacts.get(contact_id).version)
        contacts.delete(contact_id)
        audited(req, table="contacts", record_id=contact_id)


def respond(resp: Response, contact: Contact) -> None:
    """Answer with a contact and its `ETag`."""
    etag(resp, contact.version)
    resp.media = ContactOut.of(contact)


def _set_fields(contact: Contact) -> list[str]:
    """Return the names of the fields that have a value. Values of contacts are not kept in the audit trail."""
    values: Mapping[str, Any] = contacts.values_of(contact)
    return [name for name, value in values.items() if value not in (None, [], {})]


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/contacts", Contacts()),
    ("/api/v1/crm/contacts/{contact_id:uuid}", OneContact()),
]
