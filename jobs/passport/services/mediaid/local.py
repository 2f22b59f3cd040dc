"""MediaID on PostgreSQL."""

import msgspec

from jobs.passport.local import once
from jobs.passport.services.mediaid.contract import (
    SERVICE,
    Forget,
    Forgotten,
    GetTraits,
    Identity,
    Link,
    PutTraits,
    Resolve,
    Trait,
    Traits,
)
from models.passport import mediaid
from models.passport.mediaid import Subject


class LocalMediaId:
    """MediaID in the tables `mediaid_*`."""

    def resolve(self, request: Resolve, *, key: str) -> Identity:
        """Return the identity of a person."""

        def act(asked: Resolve) -> Identity:
            return Identity(media_id=mediaid.resolve(Subject(asked.subject.kind, asked.subject.id)))

        return once(SERVICE.name, act, request, Identity, key=key)

    def link(self, request: Link, *, key: str) -> Identity:
        """Link an anonymous person to an account."""

        def act(asked: Link) -> Identity:
            return Identity(media_id=mediaid.link(asked.anonymous, asked.account))

        return once(SERVICE.name, act, request, Identity, key=key)

    def traits(self, request: GetTraits, *, key: str) -> Traits:
        """Return the traits of a person."""

        def act(asked: GetTraits) -> Traits:
            return _shown(mediaid.traits(Subject(asked.subject.kind, asked.subject.id)))

        return once(SERVICE.name, act, request, Traits, key=key)

    def put_traits(self, request: PutTraits, *, key: str) -> Traits:
        """Store observed traits of a person."""

        def act(asked: PutTraits) -> Traits:
            given = [mediaid.Trait(one.name, one.value, one.observed_at) for one in asked.traits]
            return _shown(mediaid.put_traits(Subject(asked.subject.kind, asked.subject.id), given))

        return once(SERVICE.name, act, request, Traits, key=key)

    def forget(self, request: Forget, *, key: str) -> Forgotten:
        """Delete the identity of a person."""

        def act(asked: Forget) -> Forgotten:
            return Forgotten(subjects=mediaid.forget(Subject(asked.subject.kind, asked.subject.id)))

        return once(SERVICE.name, act, request, Forgotten, key=key)


def _shown(found: list[mediaid.Trait]) -> Traits:
    return Traits(traits=[msgspec.convert(one, Trait, from_attributes=True) for one in found])
