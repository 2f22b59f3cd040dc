"""Names of enumerated types in the OpenAPI document."""

from typing import Any, get_args

import msgspec


def enumeration(name: str, meaning: str) -> msgspec.Meta:
    """Return metadata that names an enumerated type in the document and in generated clients.

    `Annotated[Literal["Draft", "Active"], enumeration("CampaignStatus", "…")]` is the schema `CampaignStatus`, which
    every use refers to. A use can have a description of its own:
    `Annotated[CampaignStatus, msgspec.Meta(description="Only campaigns with this status.")]`.

    Args:
        name: unique in the document, in upper camel case.
        meaning: of the type, and of each value that its name does not explain.
    """
    return msgspec.Meta(title=name, description=meaning, extra_json_schema={MEANING: meaning})


def values_of(kind: Any) -> tuple[Any, ...]:
    """Return the values of an enumerated type that `enumeration` names, in their order."""
    return get_args(get_args(kind)[0])


MEANING = "x-meaning"
"""Key of the type's own description until the document is finished. A use may replace `description`."""
