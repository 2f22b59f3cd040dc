"""The grammar of segments (DNA Query Builder), version 1.

A node has exactly one member, which says what it is: `all`, `any` and `not` combine nodes; others are leaves.

    {"all": [{"profile": {"field": "country", "op": "in", "value": ["ES", "PT"]}},
             {"event": {"kind": "scan", "count": {"op": "gte", "n": 2}, "window": {"last": {"n": 30, "unit": "day"}}}},
             {"not": {"consent": {"tier": "marketing", "state": "withdrawn"}}}]}

Every leaf is true or false for a contact, never unknown: a missing value makes a positive comparison false, and its
negation true. `schema()` is the published JSON Schema.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from models.audiences.engagement_events import EngagementKind
from models.consents.consents import ConsentTier
from models.core.enumerations import MEANING, enumeration
from models.core.errors import FieldError, Invalid
from models.core.messages import Message

DSL_VERSION = 1
MAX_DEPTH = 5
"""Maximum number of nested `all`, `any` and `not`."""
MAX_LEAVES = 50
"""Maximum number of leaves of a definition, without those of the segments that it refers to."""

Unit = Annotated[
    Literal["day", "week", "month", "year"],
    enumeration("SegmentUnit", "Calendar unit in the time zone of the brand."),
]
Op = Annotated[
    Literal[
        "is_set",
        "is_not_set",
        "eq",
        "neq",
        "in",
        "not_in",
        "gt",
        "gte",
        "lt",
        "lte",
        "between",
        "contains",
        "starts_with",
        "in_last",
        "before_last",
        "in_next",
    ],
    enumeration(
        "SegmentOperator",
        "Comparison of a value. `neq`, `not_in` and `is_not_set` are true without a value, all others are false. `in`: "
        "one of the values; of a list, any of them. `contains`: a text within the text in any case; of a list, this "
        "item. `between` includes both ends. `in_last` and `in_next`: within so many calendar units until, or from, "
        "today; `before_last`: earlier.",
    ),
]
CountOp = Annotated[
    Literal["gte", "lte", "eq", "between"],
    enumeration("SegmentCountOperator", "Comparison of a count. `between` includes both ends."),
]
ConsentState = Annotated[
    Literal["granted", "withdrawn", "expired", "never"],
    enumeration(
        "SegmentConsentState",
        "State of a consent towards the brand. `granted`: in force. `withdrawn` and `expired`: the last one has ended. "
        "`never`: none was given.",
    ),
]
Relation = Annotated[
    Literal["took_part", "addressed"],
    enumeration(
        "SegmentCampaignRelation",
        "`took_part`: the contact has an engagement in force with the campaign. `addressed`: the contact was in the "
        "audience of the campaign when it was launched.",
    ),
]

Text = Annotated[str, Meta(max_length=500)]
Scalar = Text | int | float | bool


class CalendarPeriod(Struct, frozen=True, forbid_unknown_fields=True):
    """A number of calendar units before or after today, which is included."""

    n: Annotated[int, Meta(ge=0, le=3660, description="Number of units; 0 is today.", examples=[30])]
    unit: Annotated[Unit, Meta(description="Calendar unit. A month ends on its last day if it is shorter.")] = "day"


class ProfileCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """A field of the contact: a built-in one, or `properties.<key>` for a property that the brand has declared."""

    field: Annotated[
        str,
        Meta(min_length=1, max_length=100, description="Name of the field.", examples=["country", "properties.vip"]),
    ]
    op: Annotated[Op, Meta(description="Comparison; the type of the field allows some.")]
    value: Annotated[
        Scalar | Annotated[list[Scalar], Meta(min_length=1, max_length=500)] | CalendarPeriod | UnsetType,
        Meta(
            description="Value to compare with, of the type of the field; dates as `YYYY-MM-DD`, days in the time zone "
            "of the brand. A list for `in` and `not_in`, two items for `between`, a period for `in_last`, "
            "`before_last` and `in_next`. None for `is_set` and `is_not_set`.",
            examples=[["ES", "PT"]],
        ),
    ] = UNSET


class TraitCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """A DNA trait from MediaID, while the fan's consent to marketing is in force."""

    name: Annotated[str, Meta(min_length=1, max_length=100, description="Name of the trait.", examples=["genre"])]
    op: Annotated[Op, Meta(description="Comparison of texts.")]
    value: Annotated[
        Text | Annotated[list[Text], Meta(min_length=1, max_length=500)] | UnsetType,
        Meta(description="Text to compare with; a list for `in` and `not_in`.", examples=["flamenco"]),
    ] = UNSET


class EventCount(Struct, frozen=True, forbid_unknown_fields=True):
    """Compare the number of events. Contacts without any event have zero."""

    op: Annotated[CountOp, Meta(description="Comparison.")] = "gte"
    n: Annotated[int, Meta(ge=0, le=1_000_000, description="Number of events in force.", examples=[2])] = 1
    to: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType, Meta(description="Upper end of `between`.", examples=[5])
    ] = UNSET


class EventWindow(Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from", "end": "to"}):
    """Days in the time zone of the brand: the last ones, or those between two dates. Both ends are included."""

    last: Annotated[CalendarPeriod | UnsetType, Meta(description="The last days, today included.")] = UNSET
    start: Annotated[date | UnsetType, Meta(description="First day. Default: no bound.")] = UNSET
    end: Annotated[date | UnsetType, Meta(description="Last day. Default: no bound.")] = UNSET


class EventFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions on the events that count; all must hold."""

    campaign_ids: Annotated[
        Annotated[list[UUID], Meta(min_length=1, max_length=100)] | UnsetType,
        Meta(description="Only events of these campaigns. Default: every campaign."),
    ] = UNSET
    weekdays: Annotated[
        Annotated[list[Annotated[int, Meta(ge=1, le=7)]], Meta(min_length=1, max_length=7)] | UnsetType,
        Meta(description="Only events on these days of the week, 1 for Monday to 7. Default: every day."),
    ] = UNSET


class EventCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """Count engagement events of the contact."""

    kind: Annotated[EngagementKind, Meta(description="Kind of the engagement event.", examples=["scan"])]
    count: Annotated[EventCount, Meta(description="How often. Default: at least once.")] = EventCount()
    window: Annotated[EventWindow | UnsetType, Meta(description="When. Default: at any time.")] = UNSET
    where: Annotated[EventFilter | UnsetType, Meta(description="Which events count. Default: all of the kind.")] = UNSET


class ConsentCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """The state of a consent of the contact's person. A contact without an account has given none."""

    tier: Annotated[ConsentTier, Meta(description="Tier of the consent.")]
    state: Annotated[ConsentState, Meta(description="State of the consent.")] = "granted"


class GeoCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """A circle around a place; a contact without a position is outside."""

    lat: Annotated[float, Meta(ge=-90, le=90, description="Latitude in degrees.", examples=[40.4154])]
    lon: Annotated[float, Meta(ge=-180, le=180, description="Longitude in degrees.", examples=[-3.7074])]
    radius_m: Annotated[float, Meta(ge=1, le=5_000_000, description="Radius in metres.", examples=[5000])]


class CampaignCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """A relation with a campaign."""

    campaign_id: Annotated[UUID, Meta(description="Id of the campaign.")]
    relation: Annotated[Relation, Meta(description="The relation. Default: `took_part`.")] = "took_part"


class SegmentCondition(Struct, frozen=True, forbid_unknown_fields=True):
    """Membership of another segment of the brand, by its newest definition."""

    segment_id: Annotated[UUID, Meta(description="Id of the segment.")]


Leaf = (
    ProfileCondition
    | TraitCondition
    | EventCondition
    | ConsentCondition
    | GeoCondition
    | CampaignCondition
    | SegmentCondition
)


class Condition(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"all_of": "all", "any_of": "any", "not_of": "not"},
):
    """A condition on contacts. Exactly one member is present."""

    all_of: Annotated[
        Annotated[list["Condition"], Meta(min_length=1, max_length=MAX_LEAVES)] | UnsetType,
        Meta(description="Every condition holds."),
    ] = UNSET
    any_of: Annotated[
        Annotated[list["Condition"], Meta(min_length=1, max_length=MAX_LEAVES)] | UnsetType,
        Meta(description="At least one condition holds."),
    ] = UNSET
    not_of: Annotated["Condition | UnsetType", Meta(description="The condition does not hold.")] = UNSET
    profile: Annotated[ProfileCondition | UnsetType, Meta(description="A field of the contact.")] = UNSET
    trait: Annotated[TraitCondition | UnsetType, Meta(description="A DNA trait.")] = UNSET
    event: Annotated[EventCondition | UnsetType, Meta(description="An engagement and its count.")] = UNSET
    consent: Annotated[ConsentCondition | UnsetType, Meta(description="The state of a consent.")] = UNSET
    geo: Annotated[GeoCondition | UnsetType, Meta(description="A circle around a place.")] = UNSET
    campaign: Annotated[CampaignCondition | UnsetType, Meta(description="A relation with a campaign.")] = UNSET
    segment: Annotated[SegmentCondition | UnsetType, Meta(description="Another segment.")] = UNSET

    def present(self) -> list[str]:
        """Return the names of the members that are present, as a client writes them."""
        fields = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return [sent for name, sent in fields if getattr(self, name) is not UNSET]

    def leaf(self) -> Leaf | None:
        """Return the leaf of the node; None for `all`, `any` and `not`."""
        for name in self.__struct_fields__[3:]:
            if (found := getattr(self, name)) is not UNSET:
                return found  # type: ignore[no-any-return]
        return None

    def children(self) -> list[tuple[str, "Condition"]]:
        """Return the nodes that this one combines, each with its path from here."""
        if self.not_of is not UNSET:
            return [(".not", self.not_of)]
        for name, nodes in (("all", self.all_of), ("any", self.any_of)):
            if nodes is not UNSET:
                return [(f".{name}[{number}]", node) for number, node in enumerate(nodes)]
        return []


ROOT = "definition"
"""Path of the outermost node."""


def walk(node: Condition, path: str = ROOT) -> Iterator[tuple[str, Condition]]:
    """Yield a node and all nodes below it, each with its path, in the order of the definition."""
    yield path, node
    for step, child in node.children():
        yield from walk(child, path + step)


def leaves(node: Condition, path: str = ROOT) -> Iterator[tuple[str, Leaf]]:
    """Yield the leaves of a definition with the path of each, e.g. `definition.all[0].profile`."""
    for place, one in walk(node, path):
        if (leaf := one.leaf()) is not None:
            yield f"{place}.{one.present()[0]}", leaf


def load(stored: Any) -> Condition:
    """Return the definition that `dump` has encoded."""
    return msgspec.convert(stored, Condition)


def dump(node: Condition) -> dict[str, Any]:
    """Return a definition as stored: a JSON object with the defaults of its leaves."""
    encoded: dict[str, Any] = msgspec.to_builtins(node)
    return encoded


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a definition."""
    found = msgspec.json.schema(Condition)
    found["$defs"]["Condition"] |= {"minProperties": 1, "maxProperties": 1}
    _remove_meanings(found)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Definition of a segment, dsl_version {DSL_VERSION}",
        **found,
    }


def _remove_meanings(value: Any) -> None:
    """Remove the members that only the OpenAPI document needs."""
    if isinstance(value, dict):
        value.pop(MEANING, None)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _remove_meanings(part)


def require_shape(root: Condition) -> None:
    """Check that each node has one member, and that the definition is neither too deep nor too large.

    Raises:
        Invalid: carries the path of each node that is wrong.
    """
    found = [
        FieldError(path, "must have exactly one member")
        for path, node in walk_within(root, MAX_DEPTH)
        if len(node.present()) != 1
    ]
    if not found and (deep := _too_deep(root, ROOT, MAX_DEPTH)) is not None:
        found = [FieldError(deep, Message("must have at most {count} levels", count=MAX_DEPTH))]
    if not found and sum(1 for _ in leaves(root)) > MAX_LEAVES:
        found = [FieldError(ROOT, Message("must have at most {count} leaves", count=MAX_LEAVES))]
    if found:
        raise Invalid(errors=found)


def walk_within(node: Condition, levels: int, path: str = ROOT) -> Iterator[tuple[str, Condition]]:
    """Yield the nodes of the first levels: a definition of any depth may arrive."""
    yield path, node
    if levels > 0:
        for step, child in node.children():
            yield from walk_within(child, levels - 1, path + step)


def _too_deep(node: Condition, path: str, levels: int) -> str | None:
    children = node.children()
    if children and levels == 0:
        return path
    return next((deep for step, child in children if (deep := _too_deep(child, path + step, levels - 1))), None)
