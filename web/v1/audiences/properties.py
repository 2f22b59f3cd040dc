"""Properties of contacts: declare, relabel and archive them."""

from typing import Annotated, cast

import msgspec
from falcon.asgi import Request, Response
from msgspec import UNSET, Meta, UnsetType

from models.audiences import properties
from models.audiences.profile import ValueType
from models.audiences.properties import (
    MAX_VALUES,
    ContactProperty,
    PropertyExists,
    PropertyInUse,
    TooManyProperties,
)
from models.core.errors import PreconditionFailed
from models.core.messages import REASON, Message
from web.http.datetimes import Instant
from web.http.endpoint import audited, changes, endpoint, etag, require_match
from web.http.fields import CreatedAt, Text100, Text200, Version

Key = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_]{0,49}$(?!\n)",
        description="Key of the property. It never changes.",
        examples=["shoe_size"],
        extra={
            REASON: Message("must begin with a letter and have up to 50 lower-case letters, digits and underscores")
        },
    ),
]
Label = Annotated[Text200, Meta(description="Name of the property for members.", examples=["Shoe size"])]
Type = Annotated[ValueType, Meta(description="Type of the values.", examples=["text"])]
Option = Annotated[Text100, Meta(examples=["small"])]
Options = Annotated[
    list[Option],
    Meta(
        min_length=1,
        max_length=MAX_VALUES,
        description="The only values of a text or a list.",
        examples=[["small", "large"]],
    ),
]


class PropertyIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new property."""

    key: Key
    type: Type
    label: Label
    options: Annotated[
        Options | None, Meta(description="The only values of a text or a list. Default: null, any value.")
    ] = None


class PropertyChange(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Changes of a property. A member that is left out stays as it is."""

    type: Annotated[Type | UnsetType, Meta(description="New type. Default: unchanged.")] = UNSET
    label: Annotated[Label | UnsetType, Meta(description="New label. Default: unchanged.")] = UNSET
    options: Annotated[
        Options | UnsetType | None, Meta(description="New options; null: any value. Default: unchanged.")
    ] = UNSET
    archived: Annotated[
        bool | UnsetType,
        Meta(description="True: values can no longer be set, and are kept. False restores it. Default: unchanged."),
    ] = UNSET


class PropertyOut(msgspec.Struct, kw_only=True):
    """A property of the contacts of a brand."""

    key: Key
    type: Type
    label: Label
    options: Annotated[Options | None, Meta(description="The only values of a text or a list; null: any value.")]
    created_at: CreatedAt
    archived_at: Annotated[Instant | None, Meta(description="Time of archiving, in UTC; null: it can be set.")]
    version: Version

    @classmethod
    def of(cls, found: ContactProperty) -> "PropertyOut":
        """Build the response for a property."""
        return cls(**{name: getattr(found, name) for name in cls.__struct_fields__})


class PropertiesOut(msgspec.Struct):
    """All properties of a brand."""

    items: Annotated[list[PropertyOut], Meta(description="Properties ordered by key, also the archived ones.")]


_PROBLEMS = (PropertyInUse, PreconditionFailed)


class ContactProperties:
    """`/api/v1/crm/properties`: the properties of a brand's contacts."""

    @endpoint(operation_id="listContactProperties", response=PropertiesOut, permission="contacts:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the properties that the brand has declared: 100 at most, with the archived ones."""
        resp.media = PropertiesOut([PropertyOut.of(one) for one in properties.find()])

    @endpoint(
        operation_id="declareContactProperty",
        body=PropertyIn,
        example={"key": "shoe_size", "type": "text", "label": "Shoe size", "options": ["small", "large"]},
        response=PropertyOut,
        status=201,
        permission="contacts:write",
        audit="contact_property.create",
        idempotent=True,
        problems=(PropertyExists, TooManyProperties),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Declare a property. Contacts, segments, imports and exports can use it at once."""
        body: PropertyIn = req.context.body
        made = properties.declare(body.key, body.type, body.label, body.options)
        audited(req, table="contact_properties", record_key=made.key, after=_content(made))
        resp.location = f"/api/v1/crm/properties/{made.key}"
        _respond(resp, made)


class OneContactProperty:
    """`/api/v1/crm/properties/{property_key}`: one property."""

    @endpoint(operation_id="getContactProperty", response=PropertyOut, permission="contacts:read")
    def on_get(self, req: Request, resp: Response, property_key: str) -> None:
        """Read a property."""
        _respond(resp, properties.get(property_key))

    @endpoint(
        operation_id="updateContactProperty",
        body=PropertyChange,
        example={"type": "text", "label": "Size of shoes", "options": ["small", "large"], "archived": False},
        response=PropertyOut,
        permission="contacts:write",
        audit="contact_property.update",
        problems=_PROBLEMS,
    )
    def on_patch(self, req: Request, resp: Response, property_key: str) -> None:
        """Change the label, options or type of a property, archive or restore it.

        The type can change only while no contact has a value, and options only if all values are among them.
        """
        body: PropertyChange = req.context.body
        before = properties.get_for_update(property_key)
        require_match(req, before.version)
        changed = properties.change(
            property_key,
            kind=cast(ValueType, before.type) if body.type is UNSET else body.type,
            label=before.label if body.label is UNSET else body.label,
            options=before.options if body.options is UNSET else body.options,
            archived=before.archived_at is not None if body.archived is UNSET else body.archived,
        )
        was, now = changes(_content(before), _content(changed))
        audited(req, table="contact_properties", record_key=property_key, before=was, after=now)
        _respond(resp, changed)


def _respond(resp: Response, found: ContactProperty) -> None:
    etag(resp, found.version)
    resp.media = PropertyOut.of(found)


def _content(found: ContactProperty) -> dict[str, object]:
    return {name: getattr(found, name) for name in ("type", "label", "options", "archived_at")}


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/crm/properties", ContactProperties()),
    ("/api/v1/crm/properties/{property_key}", OneContactProperty()),
]
