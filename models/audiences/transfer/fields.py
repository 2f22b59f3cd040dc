"""Fields of contacts that files have: profile fields, properties of the brand, the contact's id, and its opt-out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.audiences import properties
from models.audiences.profile import FIELDS
from models.audiences.transfer.cleaning import BadValue, Cleaner, Conventions, cleaner_of
from models.audiences.transfer.planning import ID
from models.core import context

CONSENT = "consent.marketing"
"""Column of an import that says whether a person agrees to marketing. `false` opts the contact out; `true` changes
nothing, because people give consent themselves."""
OPTED_OUT = "opted_out"
"""Name of the value that opts a contact out. It is only ever set."""
PROPERTY = "properties."
MATCHABLE = (ID, "external_id", "email", "phone")
"""Fields that may be match keys."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a file.

    Attributes:
        type: text, number, boolean, date, datetime or list.
        label: its name for people.
        options: the only values of a property; empty: any.
    """

    type: str
    label: str
    options: frozenset[str] = frozenset()

    def cleaner(self, name: str) -> Cleaner:
        """Return the function that converts a cell of the field `name`."""
        clean = cleaner_of(name, self.type)
        return clean if not self.options else _choosing(clean, self.options)


def _choosing(clean: Cleaner, options: frozenset[str]) -> Cleaner:
    def choose(cell: Any, conventions: Conventions) -> Any:
        found = clean(cell, conventions)
        if not options.issuperset(found if isinstance(found, list) else (found,)):
            raise BadValue("bad_choice")
        return found

    return choose


def of_brand() -> Mapping[str, Field]:
    """Return the fields that files of the caller's brand may have, in the order of an export."""
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    declared = [one for one in properties.declared(identity.brand_id).values() if not one.archived]
    return {
        ID: Field("text", ID),
        **{name: Field(one.type, name) for name, one in FIELDS.items() if one.importable},
        **{PROPERTY + one.key: Field(one.type, one.label, frozenset(one.options or ())) for one in declared},
        CONSENT: Field("boolean", CONSENT),
    }
