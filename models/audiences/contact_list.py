"""List contacts: search, filter, sort and page. `app.find_contacts` plans the query for the given conditions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from models.audiences import properties
from models.audiences.contacts import Contact
from models.audiences.properties import Property
from models.core import context, texts
from models.core.database import rows
from models.core.enumerations import enumeration
from models.core.errors import FieldError, Invalid

ContactSort = Annotated[
    Literal["-created_at", "created_at", "-last_seen_at", "last_seen_at", "name", "-name"],
    enumeration(
        "ContactSort",
        "Order of contacts; `-` is descending. `last_seen_at`: contacts without a scan count as seen before all others."
        " `name`: as people sort names, whatever the case and accents; contacts without a name come after all others.",
    ),
]
_ORDERS = ("created_at", "last_seen_at", "name")
"""Orders of `app.find_contacts`, from 1."""
NO_NAME = "\uffff"
"""Sorts after every name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions on contacts; all must hold. None and empty are no condition.

    Attributes:
        text: words that all begin a word of the name, the addresses or the external id.
        tags: tags that the contact has.
        properties: stored values of custom properties; of a list, values that it contains.
        segment_id: a segment that the contact is a member of.
        email: the whole address.
        phone: the whole number.
        external_id: the whole id.
    """

    text: str | None = None
    tags: Sequence[str] = ()
    properties: Mapping[str, Any] = field(default_factory=dict)
    segment_id: UUID | None = None
    email: str | None = None
    phone: str | None = None
    external_id: str | None = None


Key = tuple[str, UUID]
"""Sort key of a contact as text, and its id."""


def find(
    *, limit: int, after: Key | None = None, sort: ContactSort = "-created_at", conditions: Conditions
) -> list[Contact]:
    """Return up to `limit` contacts of the caller's brand. Merged contacts are left out.

    Args:
        limit: maximum number of contacts.
        after: key of the last contact of the previous page, from `key_of`.
        sort: the order; contacts with equal values are ordered by id, in the same direction.
        conditions: what all of them fulfil.
    """
    words = texts.folded(conditions.text or "").split()
    if conditions.text and not words:
        return []
    found = rows(
        "SELECT * FROM app.find_contacts(%s, %s, %s, %s, %s, %s, %s::text[], %s::jsonb, %s, %s, %s, %s)",
        (
            1 + _ORDERS.index(sort.removeprefix("-")),
            sort.startswith("-"),
            *(after or (None, None)),
            limit,
            " & ".join(f"'{word}':*" for word in words) or None,
            list(conditions.tags) or None,
            json.dumps(conditions.properties) if conditions.properties else None,
            conditions.segment_id,
            conditions.email,
            conditions.phone,
            conditions.external_id,
        ),
    )
    return [Contact(**one) for one in found]


def key_of(sort: ContactSort, contact: Any) -> Key:
    """Return the sort key of a contact, for the next page."""
    name = sort.removeprefix("-")
    found = getattr(contact, name)
    if found is None:
        found = NO_NAME if name == "name" else "-infinity"
    return found.isoformat() if isinstance(found, datetime | date) else str(found), contact.id


def parse_properties(given: Sequence[str]) -> dict[str, Any]:
    """Return the condition that texts of the form `key=value` express.

    Raises:
        Invalid: a text has no `=`, the brand has declared no such property, or the value does not fit its type.
    """
    identity = context.current()
    assert identity is not None
    assert identity.brand_id is not None
    known = properties.declared(identity.brand_id) if given else {}
    found: dict[str, Any] = {}
    errors: list[FieldError] = []
    for index, one in enumerate(given):
        key, separator, text = one.partition("=")
        try:
            if not separator or key not in known:
                raise ValueError("must be `key=value` with a declared property")
            value = _parsed(known[key], text)
            found[key] = [*found.get(key, []), *value] if isinstance(value, list) else value
        except ValueError as error:
            errors.append(FieldError(f"property[{index}]", error.args[0]))
    if errors:
        raise Invalid(errors=errors)
    return found


def _parsed(declaration: Property, text: str) -> Any:
    given: Any = text
    if declaration.type == "list":
        given = [text]
    elif declaration.type in ("number", "boolean"):
        try:
            given = json.loads(text)
        except ValueError:
            given = text
    return properties.normalise(declaration, given)
