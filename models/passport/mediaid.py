"""MediaID, local implementation: identities of people, their links and their traits."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from models.core.database import execute, new_id, rows, value
from models.core.errors import Conflict

SubjectKind = Literal["anonymous", "account"]
"""A CHECK constraint lists the same values; a test compares the two."""


class AlreadyLinked(Conflict):
    """The anonymous person is linked to another account."""

    code = "already_linked"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """A person, with or without an account."""

    kind: SubjectKind
    id: UUID


@dataclass(frozen=True, slots=True)
class Trait:
    """A fact about a person."""

    name: str
    value: str
    observed_at: datetime


def resolve(subject: Subject) -> UUID:
    """Return the identity of a person; an unknown person gets a new one."""
    execute(
        "INSERT INTO public.mediaid_subjects (kind, subject_id, media_id) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (subject.kind, subject.id, new_id()),
    )
    found = _locked(subject)
    assert found is not None
    return found


def link(anonymous: UUID, account: UUID) -> UUID:
    """Give an anonymous person the identity of an account, and return it. Newer observations of traits stay.

    Raises:
        AlreadyLinked: the anonymous person is linked to another account.
    """
    # Accounts before anonymous people: two links of the same people would deadlock otherwise.
    kept = resolve(Subject("account", account))
    old = resolve(Subject("anonymous", anonymous))
    if old == kept:
        return kept
    if value("SELECT EXISTS (SELECT FROM public.mediaid_subjects WHERE media_id = %s AND kind = 'account')", (old,)):
        raise AlreadyLinked
    execute(
        "INSERT INTO public.mediaid_traits AS t (media_id, name, value, observed_at)"
        " SELECT %s, name, value, observed_at FROM public.mediaid_traits WHERE media_id = %s"
        " ON CONFLICT (media_id, name) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at"
        " WHERE t.observed_at < excluded.observed_at",
        (kept, old),
    )
    execute("DELETE FROM public.mediaid_traits WHERE media_id = %s", (old,))
    execute("UPDATE public.mediaid_subjects SET media_id = %s WHERE media_id = %s", (kept, old))
    return kept


def traits(subject: Subject) -> list[Trait]:
    """Return the traits of a person, ordered by name; none of an unknown person."""
    found = rows(
        "SELECT t.name, t.value, t.observed_at FROM public.mediaid_traits t"
        " JOIN public.mediaid_subjects s ON s.media_id = t.media_id"
        " WHERE s.kind = %s AND s.subject_id = %s ORDER BY t.name",
        (subject.kind, subject.id),
    )
    return [Trait(**one) for one in found]


def put_traits(subject: Subject, given: Iterable[Trait]) -> list[Trait]:
    """Store observed traits of a person, and return all. A newer observation of the same name stays."""
    media_id = resolve(subject)
    for trait in sorted(given, key=lambda one: one.name):
        execute(
            "INSERT INTO public.mediaid_traits AS t (media_id, name, value, observed_at) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (media_id, name) DO UPDATE SET value = excluded.value, observed_at = excluded.observed_at"
            " WHERE t.observed_at <= excluded.observed_at",
            (media_id, trait.name, trait.value, trait.observed_at),
        )
    return traits(subject)


def forget(subject: Subject) -> int:
    """Delete the identity of a person, its traits and all people linked to it. Return the number of these people."""
    media_id = _locked(subject)
    execute("DELETE FROM public.mediaid_traits WHERE media_id = %s", (media_id,))
    return execute("DELETE FROM public.mediaid_subjects WHERE media_id = %s", (media_id,))


def _locked(subject: Subject) -> UUID | None:
    """Lock a person and return the identity: a link at the same time would change it after this statement."""
    found: UUID | None = value(
        "SELECT media_id FROM public.mediaid_subjects WHERE kind = %s AND subject_id = %s FOR UPDATE",
        (subject.kind, subject.id),
    )
    return found
