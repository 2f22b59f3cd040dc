"""Fields of contacts that definitions of segments may use."""

from uuid import UUID

from models.audiences import profile, properties
from models.audiences.compiler import Field

PROPERTY = "properties."
"""Prefix of the custom properties of a brand."""


def fields_of(brand_id: UUID) -> dict[str, Field]:
    """Return the built-in fields, and the properties of the brand that are not archived, by name."""
    fields = {name: Field(one.type, column=one.column) for name, one in profile.FIELDS.items()}
    for key, one in properties.declared(brand_id).items():
        if not one.archived:
            fields[PROPERTY + key] = Field(one.type, key=key)
    return fields
