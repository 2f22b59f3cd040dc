"""The conflict rule of contacts: how two copies of a contact become one.

The merge is commutative, associative and idempotent: copies that have received the same changes are equal, in whatever
order and however often they received them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

Source = Literal["cals", "companon"]
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """The value of a field, the time of its change, and the system in which it was changed. None: removed."""

    value: Scalar
    at: datetime
    source: Source

    @property
    def rank(self) -> tuple[datetime, str, str]:
        """Order of versions: the later one, then that of Compañon, then the greater value."""
        return self.at, self.source, json.dumps(self.value)


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of a contact. A deleted one has no fields."""

    fields: Mapping[str, Field] = field(default_factory=dict)
    opted_out_at: datetime | None = None
    deleted_at: datetime | None = None


def merge(one: Copy, other: Copy) -> Copy:
    """Merge two copies of a contact.

    The highest version of each field wins. A withdrawal of consent stays, whatever the other copy says; of two, the
    earlier one. A deletion is final: the earlier one, without fields.
    """
    opted_out_at = _earlier(one.opted_out_at, other.opted_out_at)
    deleted_at = _earlier(one.deleted_at, other.deleted_at)
    if deleted_at is not None:
        return Copy({}, opted_out_at, deleted_at)
    names = sorted(one.fields.keys() | other.fields.keys())
    return Copy({name: _winner(one.fields.get(name), other.fields.get(name)) for name in names}, opted_out_at)


def _winner(one: Field | None, other: Field | None) -> Field:
    return max((found for found in (one, other) if found is not None), key=lambda found: found.rank)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)


def to_json(fields: Mapping[str, Field]) -> str:
    """Return fields as JSON, for storage."""
    return json.dumps(
        {name: {"value": kept.value, "at": kept.at.isoformat(), "source": kept.source} for name, kept in fields.items()}
    )


def from_row(row: Mapping[str, Any]) -> Copy:
    """Return the copy that a row with `fields`, `opted_out_at` and `deleted_at` holds."""
    fields = {
        name: Field(kept["value"], datetime.fromisoformat(kept["at"]), kept["source"])
        for name, kept in row["fields"].items()
    }
    return Copy(fields, row["opted_out_at"], row["deleted_at"])
