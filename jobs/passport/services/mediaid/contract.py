"""Contract of MediaID."""

from datetime import datetime
from typing import Annotated, Literal, Protocol
from uuid import UUID

import msgspec
from msgspec import Meta

from jobs.passport.contract import Operation, Service

TraitName = Annotated[
    str,
    Meta(
        min_length=1, max_length=60, pattern="^[a-z][a-z0-9_.]*$", description="Name of a trait.", examples=["language"]
    ),
]
MediaIdentity = Annotated[UUID, Meta(description="Id of the identity. People who are linked share it.")]


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the caller knows the person."""

    kind: Annotated[Literal["anonymous", "account"], Meta(description="Whether the person has an account.")]
    id: Annotated[UUID, Meta(description="Id of the person at the caller.")]


class Trait(msgspec.Struct, frozen=True, kw_only=True):
    """A fact about a person."""

    name: TraitName
    value: Annotated[str, Meta(min_length=1, max_length=200, description="Value, as text.", examples=["es"])]
    observed_at: Annotated[datetime, Meta(tz=True, description="Time at which it was observed.")]


class Resolve(msgspec.Struct, frozen=True, kw_only=True):
    """Return the identity of a person. An unknown person gets a new one."""

    subject: Subject


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a person."""

    media_id: MediaIdentity


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """Link an anonymous person to an account. Both share the identity of the account from then on.

    If both have traits, the newer observation of each name stays. A repetition changes nothing.
    """

    anonymous: Annotated[UUID, Meta(description="Id of the anonymous person.")]
    account: Annotated[UUID, Meta(description="Id of the account.")]


class GetTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Return the traits of a person."""

    subject: Subject


class PutTraits(msgspec.Struct, frozen=True, kw_only=True):
    """Store observed traits of a person. A newer observation of the same name stays."""

    subject: Subject
    traits: Annotated[list[Trait], Meta(max_length=50, description="Traits, each name once.")]


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """The traits of a person."""

    traits: Annotated[list[Trait], Meta(description="All traits, ordered by name; none of an unknown person.")]


class Forget(msgspec.Struct, frozen=True, kw_only=True):
    """Delete the identity of a person, with its traits and all people who are linked to it."""

    subject: Subject


class Forgotten(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a deletion."""

    subjects: Annotated[int, Meta(ge=0, description="Number of deleted people; 0 if the person was unknown.")]


class MediaId(Protocol):
    """MediaID as jobs call it. `key` is the idempotency key of the call."""

    def resolve(self, request: Resolve, *, key: str) -> Identity:
        """Return the identity of a person."""
        ...

    def link(self, request: Link, *, key: str) -> Identity:
        """Link an anonymous person to an account, and return their identity.

        Raises:
            ServiceRefused: `already_linked`: the anonymous person is linked to another account.
        """
        ...

    def traits(self, request: GetTraits, *, key: str) -> Traits:
        """Return the traits of a person."""
        ...

    def put_traits(self, request: PutTraits, *, key: str) -> Traits:
        """Store observed traits of a person, and return all."""
        ...

    def forget(self, request: Forget, *, key: str) -> Forgotten:
        """Delete the identity of a person."""
        ...


SERVICE = Service(
    "mediaid",
    operations=(
        Operation("resolve", Resolve, Identity),
        Operation("link", Link, Identity, refusals=("already_linked",)),
        Operation("traits", GetTraits, Traits),
        Operation("put_traits", PutTraits, Traits, redacted=("traits",)),
        Operation("forget", Forget, Forgotten),
    ),
)
