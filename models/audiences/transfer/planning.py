"""Match the rows of a batch with contacts and decide what happens to each row. Pure: no database."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from uuid import UUID

from models.core.enumerations import enumeration

Outcome = Annotated[
    Literal["created", "updated", "unchanged", "duplicate", "refused"],
    enumeration(
        "ImportOutcome",
        "Outcome of a row; each row has one. `created`: a new contact. `updated`: a known contact has changed. "
        "`unchanged`: a known contact has these values already. `duplicate`: an earlier row of the file is about the "
        "same contact, and the values were added to it. `refused`: nothing was stored.",
    ),
]
Overwrite = Annotated[
    Literal["all", "missing"],
    enumeration(
        "ImportOverwrite",
        "Values of a known contact that a file changes. `all`: each that the file has. `missing`: only those that the "
        "contact does not have. An empty cell changes nothing.",
    ),
]
KeyFault = Annotated[
    Literal["no_key", "unknown_id", "matches_two_contacts", "email_of_other_contact", "external_id_of_other_contact"],
    enumeration(
        "ImportKeyFault",
        "Reason why a row has no contact. `no_key`: it has none of the match keys. `unknown_id`: no contact of the "
        "brand has this `companon_id`. `matches_two_contacts`: its keys belong to different contacts. "
        "`email_of_other_contact`, `external_id_of_other_contact`: another contact has this value, which is no match "
        "key of the import.",
    ),
]

ID = "companon_id"
UNIQUE: Mapping[str, KeyFault] = {"email": "email_of_other_contact", "external_id": "external_id_of_other_contact"}
"""Fields that one contact of a brand may have."""

Key = tuple[str, str]
"""Name and value of a key."""


@dataclass(slots=True)
class Row:
    """A row whose values are clean.

    Attributes:
        number: number of the row in the file.
        values: value of each field that has one; properties as `properties.<key>`.
    """

    number: int
    values: dict[str, Any]


@dataclass(slots=True)
class Known:
    """A contact that the keys of a batch belong to.

    Attributes:
        id: the contact's id.
        values: value of each field that has one.
        is_new: whether a row of this batch creates it.
        changed: fields that the batch changes.
    """

    id: UUID
    values: dict[str, Any]
    is_new: bool = False
    changed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Plan:
    """Decisions about a batch.

    Attributes:
        outcomes: outcome of each row, in order.
        refused: reason of each refused row, by its number.
        created: new contacts.
        updated: known contacts with changes.
        keys: contact of each key that a row of the batch has.
        freed: keys that contacts have given up.
        targets: contact of each row that was not refused, by its number.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    refused: dict[int, KeyFault] = field(default_factory=dict)
    created: list[Known] = field(default_factory=list)
    updated: list[Known] = field(default_factory=list)
    keys: dict[Key, UUID] = field(default_factory=dict)
    freed: set[Key] = field(default_factory=set)
    targets: dict[int, UUID] = field(default_factory=dict)


class Planner:
    """Plan one batch. The rows are decided in their order: a row sees the contacts of earlier ones."""

    def __init__(
        self,
        match: Sequence[str],
        overwrite: Overwrite,
        owners: Mapping[Key, Set[UUID]],
        contacts: Mapping[UUID, Known],
        earlier: Set[Key],
        new_id: Callable[[], UUID],
    ) -> None:
        """Begin the plan of a batch.

        Args:
            match: the match keys.
            overwrite: which values of known contacts change.
            owners: the contacts that have a key.
            contacts: these contacts.
            earlier: the keys that an earlier batch of the file has had.
            new_id: returns the id of a new contact.
        """
        self._match, self._overwrite, self._new_id = frozenset(match), overwrite, new_id
        self._key_names = tuple({**dict.fromkeys(match), **UNIQUE})
        self._owners = {key: set(found) for key, found in owners.items()}
        self._contacts = dict(contacts)
        self._earlier = earlier
        self.plan = Plan()

    def add(self, row: Row) -> None:
        """Decide one row."""
        values = row.values
        keys = [(name, values[name]) for name in self._key_names if name in values]
        if keys and not any(map(self._owners.get, keys)) and ID not in values and keys[0][0] in self._match:
            self._create(row, keys)
            return
        declared = [key for key in keys if key[0] in self._match]
        matched = {one for key in declared for one in self._owners.get(key, ())}
        fault = self._fault(row, keys, declared, matched)
        if fault:
            self.plan.refused[row.number] = fault
            self.plan.outcomes.append("refused")
            return
        contact = self._contact(matched)
        is_duplicate = any(key in self.plan.keys or key in self._earlier for key in declared if self._owners.get(key))
        self.plan.outcomes.append(self._apply(row, contact, is_duplicate))
        self.plan.targets[row.number] = contact.id
        for key in keys:
            if key[0] == ID or contact.values.get(key[0]) == key[1]:
                self.plan.keys[key] = contact.id
                self.plan.freed.discard(key)
                self._owners.setdefault(key, set()).add(contact.id)

    def _create(self, row: Row, keys: list[Key]) -> None:
        """Create a contact with the values of a row that shares no key with a known contact."""
        contact = Known(self._new_id(), row.values, is_new=True)
        self._contacts[contact.id] = contact
        self.plan.created.append(contact)
        self.plan.outcomes.append("created")
        self.plan.targets[row.number] = contact.id
        for key in keys:
            self.plan.keys[key] = contact.id
            self.plan.freed.discard(key)
            self._owners[key] = {contact.id}

    def contact(self, contact_id: UUID) -> Known:
        """Return a contact of the plan, as the rows so far leave it."""
        return self._contacts[contact_id]

    def _contact(self, matched: set[UUID]) -> Known:
        """Return the contact of a row. One that only a dry run would have created has no values here."""
        found = next(iter(matched)) if matched else self._new_id()
        if found not in self._contacts:
            self._contacts[found] = Known(found, {}, is_new=not matched)
            if not matched:
                self.plan.created.append(self._contacts[found])
        return self._contacts[found]

    def _fault(self, row: Row, keys: list[Key], declared: list[Key], matched: set[UUID]) -> KeyFault | None:
        if not declared:
            return "no_key"
        if ID in row.values and not self._owners.get((ID, str(row.values[ID]))):
            return "unknown_id"
        if len(matched) > 1:
            return "matches_two_contacts"
        for key in keys:
            if key[0] in UNIQUE and self._owners.get(key, matched) - matched:
                return UNIQUE[key[0]]
        return None

    def _apply(self, row: Row, contact: Known, is_duplicate: bool) -> Outcome:
        changed = {
            name
            for name, value in row.values.items()
            if name != ID and contact.values.get(name) != value and self._may_set(name, contact)
        }
        for name in changed & contact.values.keys() & UNIQUE.keys():
            # Another row may use the value that this contact gives up.
            key = (name, contact.values[name])
            self._owners.get(key, set()).discard(contact.id)
            self.plan.keys.pop(key, None)
            self.plan.freed.add(key)
        contact.values.update((name, row.values[name]) for name in changed)
        if changed and not contact.changed and not contact.is_new:
            self.plan.updated.append(contact)
        contact.changed |= changed
        if is_duplicate:
            return "duplicate"
        return "created" if contact.is_new else "updated" if changed else "unchanged"

    def _may_set(self, name: str, contact: Known) -> bool:
        return self._overwrite == "all" or name not in contact.values
