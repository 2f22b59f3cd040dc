"""Actors that call MediaID: link a fan who has signed up, and copy the traits that brands may use."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from uuid import UUID

from jobs.engine import actor, current_job, own_transaction
from jobs.passport.services.mediaid import mediaid
from jobs.passport.services.mediaid.contract import Link, PutTraits, Subject, Trait
from models.audiences import traits
from models.audiences.traits import Fan
from models.consents.uses import require_consent
from models.jobs.ledger import enqueue

mediaid_actor = partial(actor, runs_as="system", outward=True, max_attempts=None, give_up_after=timedelta(days=7))
"""Declare an actor that waits up to a week for MediaID."""


@mediaid_actor("mediaid.link")
def link(user_id: UUID) -> None:
    """Link a person at MediaID who was an anonymous fan and has an account now. Both have one id here."""
    mediaid().link(Link(anonymous=user_id, account=user_id), key=current_job().idempotency_key)
    with own_transaction():
        enqueue("mediaid.refresh", user_id, user_id=user_id, unique="while_waiting")


@mediaid_actor("mediaid.refresh")
def refresh(user_id: UUID) -> None:
    """Store at MediaID what a fan's profile says, and copy all traits of the fan to the brands that may use them."""
    with own_transaction():
        fan = traits.find_fan(user_id)
        for brand_id in fan.brand_ids if fan else ():
            require_consent(user_id, "profiling", brand_id=brand_id)
    if fan is not None:
        known = mediaid().put_traits(_observation(user_id, fan), key=_key(fan)).traits
        with own_transaction():
            traits.store(user_id, [_stored(trait) for trait in known])


@actor("mediaid.refresh_old", runs_as="system")
def refresh_old() -> None:
    """Enqueue the refresh of old copies of traits."""
    traits.enqueue_old()


def _key(fan: Fan) -> str:
    """Return the key of an observation. It depends on the profile, which may change before the next attempt."""
    shown = repr((fan.is_anonymous, sorted(fan.observed.items()))).encode()
    return f"{current_job().idempotency_key}-{hashlib.sha256(shown).hexdigest()}"


def _observation(user_id: UUID, fan: Fan) -> PutTraits:
    subject = Subject(kind="anonymous" if fan.is_anonymous else "account", id=user_id)
    # The time of the job, the same in every attempt: the same observation has the same key.
    at = current_job().claim.created_at
    observed = [Trait(name=name, value=text, observed_at=at) for name, text in sorted(fan.observed.items())]
    return PutTraits(subject=subject, traits=observed)


def _stored(trait: Trait) -> Mapping[str, str]:
    return {"name": trait.name, "value": trait.value, "observed_at": trait.observed_at.isoformat()}
