"""List campaigns: filter, sort and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import peewee
from peewee import SQL, fn

from models.campaigns.campaigns import Campaign
from models.core.enumerations import enumeration

CampaignSort = Annotated[
    Literal["-created_at", "created_at", "name", "-name", "starts_at", "-starts_at"],
    enumeration(
        "CampaignSort",
        "Order of campaigns; `-` is descending. `name`: as people sort names, whatever the case and accents. "
        "`starts_at`: campaigns without a start are the last ones in both directions.",
    ),
]
Archived = Annotated[
    Literal["no", "only", "all"],
    enumeration("ArchivedFilter", "`no`: without archived campaigns. `only`: archived ones. `all`: both."),
]
Period = tuple[datetime | None, datetime | None]
"""From (inclusive) and to (exclusive); None: no bound."""

NO_PERIOD: Period = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Conditions on campaigns; all must hold.

    Attributes:
        text: words that occur in the name, or in the name or address of the venue, in any case.
        name: part of the name, in any case.
        statuses: any of these; empty: every status.
        kind: the type.
        archived: whether archived campaigns are found.
        created: period of the creation.
        starts: period of the configured start.
        ends: period of the configured end.
    """

    text: str | None = None
    name: str | None = None
    statuses: Sequence[str] = ()
    kind: str | None = None
    archived: Archived = "no"
    created: Period = NO_PERIOD
    starts: Period = NO_PERIOD
    ends: Period = NO_PERIOD


Key = tuple[Any, UUID]
"""Sort key of a campaign: the value of the order, and the id."""


def find(
    *,
    limit: int,
    after: Key | None = None,
    sort: CampaignSort = "-created_at",
    conditions: Conditions | None = None,
) -> list[Campaign]:
    """Return up to `limit` campaigns of the caller's brand that the caller may see.

    Args:
        limit: maximum number of campaigns.
        after: key of the last campaign of the previous page, from `key_of`.
        sort: the order; campaigns with equal values are ordered by id, in the same direction.
        conditions: by default all campaigns that are not archived.
    """
    value, last = _ORDERS[sort]
    descending = sort.startswith("-")
    order = (value.desc(), Campaign.id.desc()) if descending else (value.asc(), Campaign.id.asc())
    query = Campaign.select().order_by(*order).limit(limit)
    for condition in _expressions(conditions or Conditions()):
        query = query.where(condition)
    if after is not None:
        place, key = peewee.Tuple(value, Campaign.id), peewee.Tuple(last if after[0] is None else after[0], after[1])
        query = query.where(place < key if descending else place > key)
    return list(query)


def key_of(sort: CampaignSort, campaign: Any) -> Key:
    """Return the sort key of a campaign, for the next page.

    Args:
        sort: the order.
        campaign: a row, or anything else with its `id` and the attribute of the order.
    """
    return getattr(campaign, sort.removeprefix("-")), campaign.id


_NAME = Campaign.name.collate('"und-x-icu"')
_FIRST, _LAST = SQL("'-infinity'::timestamptz"), SQL("'infinity'::timestamptz")
_ORDERS: dict[str, tuple[Any, Any]] = {
    "created_at": (Campaign.created_at, None),
    "-created_at": (Campaign.created_at, None),
    "name": (_NAME, None),
    "-name": (_NAME, None),
    "starts_at": (fn.COALESCE(Campaign.starts_at, _LAST), _LAST),
    "-starts_at": (fn.COALESCE(Campaign.starts_at, _FIRST), _FIRST),
}
"""For each order its expression, and what stands for null in it: an index and a keyset need a value."""


def _expressions(conditions: Conditions) -> list[Any]:
    found = [] if conditions.archived == "all" else [Campaign.archived_at.is_null(conditions.archived == "no")]
    if conditions.statuses:
        found.append(Campaign.status.in_(conditions.statuses))
    if conditions.kind is not None:
        found.append(Campaign.type == conditions.kind)
    if conditions.name is not None:
        found.append(_contains(Campaign.name, conditions.name))
    venue = (fn.jsonb_extract_path_text(Campaign.config, "venue", part) for part in ("name", "address"))
    described = fn.concat_ws(" ", Campaign.name, *venue)
    found += [_contains(described, word) for word in (conditions.text or "").split()]
    periods = (
        (Campaign.created_at, conditions.created),
        (Campaign.starts_at, conditions.starts),
        (Campaign.ends_at, conditions.ends),
    )
    for column, (start, end) in periods:
        found += [column >= start] if start else []
        found += [column < end] if end else []
    return found


def _contains(value: Any, text: str) -> Any:
    return fn.strpos(fn.lower(value), text.lower()) > 0
