"""Traits of the calling fan that brands may use."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.audiences import traits
from web.http.datetimes import Instant
from web.http.endpoint import endpoint


class TraitOut(msgspec.Struct):
    """A trait of the fan."""

    name: Annotated[str, Meta(description="Name of the trait.", examples=["language"])]
    value: Annotated[str, Meta(description="Value, as text.", examples=["es"])]
    observed_at: Annotated[Instant, Meta(description="Time at which it was observed, in UTC.")]
    usable_until: Annotated[Instant, Meta(description="Time at which the last consent that allows its use expires.")]
    brand_ids: Annotated[list[UUID], Meta(description="Ids of the brands that may use it.")]


class TraitsOut(msgspec.Struct):
    """The traits of the fan."""

    items: Annotated[list[TraitOut], Meta(description="Ordered by name. All of them: there are no pages.")]


class OwnTraits:
    """`/api/v1/users/me/traits`: what brands may know of the calling fan."""

    @endpoint(operation_id="listOwnTraits", response=TraitsOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's traits that brands may use to select contacts.

        A brand may use them while the fan is its contact and consents to `marketing`. A withdrawal deletes them at
        once. Members of a brand have none.
        """
        resp.media = TraitsOut([msgspec.convert(one, TraitOut, from_attributes=True) for one in traits.find_own()])


ROUTES: list[tuple[str, object]] = [("/api/v1/users/me/traits", OwnTraits())]
