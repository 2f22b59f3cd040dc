"""Compile the definition of a segment to one parameterised SQL statement.

Preview, membership and explain use the same FROM clause and the same expressions, so they can't disagree. Each leaf is
an expression that is true or false, never null. What a leaf counts in another table is a LEFT JOIN of one row for each
contact: PostgreSQL makes it an inner join or an anti-join if the leaf stands in a conjunction, and hashes it otherwise.
Equal joins are shared. Everything that a client wrote is an argument of the statement.

The caller is a member with `audiences:read`, or a job of the brand; row security holds for every table but consents,
which a definer function reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from msgspec import UNSET

from models.audiences import _calendar, dsl
from models.audiences._values import Comparison, comparison, require_years
from models.audiences.dsl import (
    CampaignCondition,
    Condition,
    ConsentCondition,
    EventCondition,
    GeoCondition,
    ProfileCondition,
    SegmentCondition,
    TraitCondition,
)
from models.audiences.engagement_events import EngagementKind
from models.audiences.profile import ValueType
from models.core.enumerations import values_of
from models.core.errors import Invalid

BUCKETS = 1024
"""Number of values of `contacts.bucket`, a hash of the id."""
MAX_EXPANDED = 200
"""Maximum number of leaves with those of the segments that a definition refers to."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of contacts.

    Attributes:
        type: type of its values.
        column: column of `public.contacts`; None for a property of the brand.
        key: key of the property.
    """

    type: ValueType
    column: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Inputs of a compilation, beside the definition.

    Attributes:
        brand_id: brand of the caller.
        zone: time zone of the brand: windows are days, weeks, months and years in it.
        as_of: present time of the windows.
        fields: fields of contacts by the names that definitions use.
        segments: definitions of the segments that leaves refer to.
        segment_id: the segment that the definition belongs to; None for an unsaved one.
        contacts: only these contacts; None for all.
        buckets: only contacts of the first buckets, for a sample; None for all.
    """

    brand_id: UUID
    zone: str
    as_of: datetime
    fields: Mapping[str, Field]
    segments: Mapping[UUID, Condition] = field(default_factory=dict)
    segment_id: UUID | None = None
    contacts: Sequence[UUID] | None = None
    buckets: int | None = None


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled definition.

    Attributes:
        sql: selects the ids of the contacts that fulfil the definition, as `contact_id`.
        arguments: arguments of `sql`, and of every statement made of the parts below.
        kinds: kinds of change that can alter the result: `contact`, `profile`, `properties`, `tags`, `traits`,
            `event:<kind>`, `consent`, `geo`, `campaign`, `segment:<id>`, `time`.
        source: FROM and WHERE of all contacts, whether they fulfil the definition or not; `c` is the contact.
        condition: expression of the definition.
        leaves: path and expression of each leaf of the definition itself.
        since: for each of these leaves, an expression of the time since when the leaf has its value; null if the data
            doesn't show it.
        also: expressions of further definitions, over the same `source`.
    """

    sql: str
    arguments: Mapping[str, Any]
    kinds: frozenset[str]
    source: str
    condition: str
    leaves: tuple[tuple[str, str], ...]
    since: tuple[str, ...]
    also: tuple[str, ...] = ()


def compile(  # noqa: A001 (the name of the act)
    definition: Condition, context: Context, *, also: Sequence[Condition] = ()
) -> Compiled:
    """Compile a definition, and others that are evaluated beside it.

    Raises:
        Invalid: the definition can't be evaluated; carries the path of each leaf that is wrong.
    """
    builder = _Builder(context)
    condition = builder.node(definition, dsl.ROOT)
    leaves = tuple(builder.leaves)
    others = tuple(builder.node(other, dsl.ROOT) for other in also)
    if builder.errors:
        raise Invalid(errors=builder.errors)
    source = builder.source()
    return Compiled(
        sql=f"SELECT c.id AS contact_id {source} AND {condition}",
        arguments=builder.arguments,
        kinds=frozenset(builder.kinds),
        source=source,
        condition=condition,
        leaves=leaves,
        since=tuple(builder.since[: len(leaves)]),
        also=others,
    )


_UNKNOWN = "NULL::timestamptz"


class _Builder:
    """Collects the joins, arguments and kinds of one definition."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.today = _calendar.today(context.zone, context.as_of)
        self.arguments: dict[str, Any] = {}
        self.kinds: set[str] = {"contact"}
        self.leaves: list[tuple[str, str]] = []
        self.since: list[str] = []
        self.errors: list[Any] = []
        self._joins: dict[str, str] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._compiled = 0
        self._since = _UNKNOWN
        self._within: tuple[UUID, ...] = ()

    def argument(self, value: Any, cast: str) -> str:
        """Return the placeholder of a value. Equal values share one, so that equal joins have equal text."""
        name = self._names.setdefault((cast, repr(value)), f"p{len(self._names)}")
        self.arguments[name] = value
        return f"%({name})s::{cast}"

    def join(self, query: str) -> str:
        """Return the alias of a LEFT JOIN with a query that has one row for each `contact_id`."""
        return self._joins.setdefault(query, f"j{len(self._joins)}")

    def source(self) -> str:
        """Return FROM and WHERE of the contacts of the context."""
        joins = [f"LEFT JOIN ({query}) {alias} ON {alias}.contact_id = c.id" for query, alias in self._joins.items()]
        where = f"WHERE c.brand_id = {self.brand()} AND c.merged_into IS NULL{self.restriction('c.id', 'c.bucket')}"
        return " ".join(["FROM public.contacts c", *joins, where])

    def brand(self) -> str:
        """Return the placeholder of the brand."""
        return self.argument(self.context.brand_id, "uuid")

    def restriction(self, contact: str, bucket: str | None = None) -> str:
        """Return the conditions that restrict a table to the contacts of the context.

        Args:
            contact: column with the contact's id.
            bucket: column with its bucket, in `public.contacts` itself.
        """
        sql = ""
        if self.context.contacts is not None:
            sql += f" AND {contact} = ANY ({self._contacts()})"
        if self.context.buckets is not None:
            sql += f" AND {bucket} < {self._buckets()}" if bucket else f" AND {contact} IN ({self._sample()})"
        return sql

    def restriction_with_merged(self, contact: str) -> str:
        """Return the condition that restricts `public.contacts` to those of the context, and those that they took in.

        A condition on `coalesce(merged_into, id)` would read all contacts of the brand.
        """
        if self.context.contacts is None and self.context.buckets is None:
            return ""
        chosen = self._sample() if self.context.contacts is None else f"SELECT unnest({self._contacts()})"
        merged = f"SELECT s.id FROM public.contacts s WHERE s.brand_id = {self.brand()} AND s.merged_into IN ({chosen})"
        return f" AND {contact} IN ({chosen} UNION ALL {merged})"

    def _contacts(self) -> str:
        return self.argument(list(self.context.contacts or ()), "uuid[]")

    def _buckets(self) -> str:
        return self.argument(self.context.buckets, "smallint")

    def _sample(self) -> str:
        return (
            f"SELECT s.id FROM public.contacts s WHERE s.brand_id = {self.brand()} AND s.bucket < {self._buckets()}"
            " AND s.merged_into IS NULL"
        )

    def node(self, node: Condition, path: str) -> str:
        """Return the expression of a node."""
        if node.not_of is not UNSET:
            return f"(NOT {self.node(node.not_of, path + '.not')})"
        if children := node.children():
            glue = " AND " if node.all_of is not UNSET else " OR "
            return f"({glue.join([self.node(child, path + step) for step, child in children])})"
        leaf = node.leaf()
        place = f"{path}.{node.present()[0]}"
        self._since = _UNKNOWN
        try:
            expression = self.leaf(leaf, place)
        except Invalid as error:
            self.errors += error.values.errors
            return "false"
        if not self._within:
            self.leaves.append((place, expression))
            self.since.append(self._since)
        return expression

    def leaf(self, leaf: Any, path: str) -> str:
        """Return the expression of a leaf."""
        self._compiled += 1
        if self._compiled > MAX_EXPANDED:
            raise Invalid(path, "makes the definition too large, with the segments that it refers to")
        return str(getattr(self, f"_{path.rpartition('.')[2]}")(leaf, path))

    def _profile(self, leaf: ProfileCondition, path: str) -> str:
        found = self.context.fields.get(leaf.field)
        if found is None:
            raise Invalid(f"{path}.field", "must be a field of contacts, or `properties.<key>` of a declared property")
        compared = comparison(found.type, leaf.op, leaf.value, path=path, today=self.today)
        if found.column is None:
            self.kinds.add("properties")
        else:
            self.kinds.add({"tags": "tags", "lat": "geo", "lon": "geo"}.get(found.column, "profile"))
        if leaf.op in ("in_last", "before_last", "in_next"):
            self.kinds.add("time")
        return self.compare(found, compared)

    def _trait(self, leaf: TraitCondition, path: str) -> str:
        compared = comparison("text", leaf.op, leaf.value, path=path, today=self.today)
        self.kinds |= {"traits", "time"}
        # A merged contact's person counts for the contact that it was merged into; the newest observation is used.
        name, as_of = self.argument(leaf.name, "text"), self.argument(self.context.as_of, "timestamptz")
        alias = self.join(
            "SELECT DISTINCT ON (1) coalesce(m.merged_into, m.id) AS contact_id, t.value FROM public.fan_traits t"
            " JOIN public.contacts m ON m.brand_id = t.brand_id AND m.user_id = t.user_id"
            f" WHERE t.brand_id = {self.brand()} AND t.name = {name} AND t.usable_until > {as_of}"
            f"{self.restriction_with_merged('m.id')} ORDER BY 1, t.observed_at DESC, t.value"
        )
        return _compared(f"{alias}.value", compared, self, "text", "text")

    def _event(self, leaf: EventCondition, path: str) -> str:
        self.kinds.add(f"event:{leaf.kind}")
        conditions = f" AND a.event = {self.argument(leaf.kind, 'text')}"
        if leaf.window is not UNSET:
            conditions += self._window(leaf.window, f"{path}.window")
        if leaf.where is not UNSET and leaf.where.campaign_ids is not UNSET:
            conditions += f" AND a.campaign_id = ANY ({self.argument(list(leaf.where.campaign_ids), 'uuid[]')})"
        if leaf.where is not UNSET and leaf.where.weekdays is not UNSET:
            days = self.argument(list(leaf.where.weekdays), "int[]")
            conditions += f" AND extract(isodow FROM a.day)::int = ANY ({days})"
        return self._counted(conditions, *bounds(leaf.count, f"{path}.count"))

    def _window(self, window: dsl.EventWindow, path: str) -> str:
        if window.last is not UNSET:
            if window.start is not UNSET or window.end is not UNSET:
                raise Invalid(path, "must have either `last`, or `from` and `to`")
            self.kinds.add("time")
            first: date | None = _calendar.shift(self.today, window.last, -1)
            last: date | None = self.today
        else:
            first, last = window.start or None, window.end or None
            for name, day in (("from", first), ("to", last)):
                if day is not None:
                    require_years(day, f"{path}.{name}")
            if first is not None and last is not None and first > last:
                raise Invalid(f"{path}.to", "must not be before `from`")
        return "".join(
            f" AND a.day {operator} {self.argument(day, 'date')}"
            for operator, day in ((">=", first), ("<=", last))
            if day is not None
        )

    def _counted(self, conditions: str, low: int, high: int | None) -> str:
        alias = self.join(
            f"SELECT a.contact_id, sum(a.n) AS n FROM public.contact_activity a WHERE a.brand_id = {self.brand()}"
            f"{conditions}{self.restriction('a.contact_id')} GROUP BY a.contact_id"
        )
        if high == 0:
            return f"({alias}.n IS NULL)"
        if high is None:
            self._since = self._reached(conditions, low)
        n = f"{alias}.n" if low > 0 else f"coalesce({alias}.n, 0)"
        bounds = [f"{n} >= {self.argument(low, 'bigint')}"] if low > 0 else []
        if high is not None:
            bounds.append(f"{n} <= {self.argument(high, 'bigint')}")
        return f"(({' AND '.join(bounds)}) IS TRUE)" if bounds else "true"

    def _reached(self, conditions: str, low: int) -> str:
        """Return the expression of the beginning of the day on which a contact reached a number of events."""
        days = (
            f"SELECT a.day, sum(sum(a.n)) OVER (ORDER BY a.day) AS n FROM public.contact_activity a"
            f" WHERE a.brand_id = {self.brand()} AND a.contact_id = c.id{conditions} GROUP BY a.day"
        )
        day = f"(SELECT min(d.day) FROM ({days}) d WHERE d.n >= {self.argument(low, 'bigint')})"
        return f"({day}::timestamp AT TIME ZONE {self.argument(self.context.zone, 'text')})"

    def _consent(self, leaf: ConsentCondition, path: str) -> str:
        self.kinds |= {"consent", "time"}
        contacts = "NULL" if self.context.contacts is None else self._contacts()
        buckets = "NULL" if self.context.buckets is None else self._buckets()
        tier = self.argument(leaf.tier, "text")
        alias = self.join(
            "SELECT s.contact_id, s.state, s.since FROM"
            f" app.find_consent_states({self.brand()}, {tier}, {contacts}, {buckets}) s"
        )
        if leaf.state == "never":
            return f"({alias}.state IS NULL)"
        holds = f"(({alias}.state = {self.argument(leaf.state, 'text')}) IS TRUE)"
        self._since = f"(CASE WHEN {holds} THEN {alias}.since END)"
        return holds

    def _geo(self, leaf: GeoCondition, path: str) -> str:
        self.kinds.add("geo")
        lat, lon = self.argument(leaf.lat, "float8"), self.argument(leaf.lon, "float8")
        # Compare latitudes first: 1 degree is at least 110,574 metres.
        reach = self.argument(leaf.radius_m / 110_574, "float8")
        return (
            f"((abs(c.lat - {lat}) <= {reach} AND extensions.st_dwithin("
            "extensions.st_makepoint(c.lon, c.lat)::extensions.geography, "
            f"extensions.st_makepoint({lon}, {lat})::extensions.geography, {self.argument(leaf.radius_m, 'float8')}))"
            " IS TRUE)"
        )

    def _campaign(self, leaf: CampaignCondition, path: str) -> str:
        campaign = self.argument(leaf.campaign_id, "uuid")
        if leaf.relation == "took_part":
            self.kinds |= {f"event:{kind}" for kind in values_of(EngagementKind)}
            return self._counted(f" AND a.campaign_id = {campaign}", 1, None)
        self.kinds.add("campaign")
        alias = self.join(
            "SELECT DISTINCT coalesce(k.merged_into, k.id) AS contact_id FROM public.campaign_members m"
            " JOIN public.contacts k ON k.brand_id = m.brand_id AND k.id = m.contact_id"
            f" WHERE m.brand_id = {self.brand()} AND m.campaign_id = {campaign}"
            f"{self.restriction_with_merged('k.id')}"
        )
        return f"({alias}.contact_id IS NOT NULL)"

    def _segment(self, leaf: SegmentCondition, path: str) -> str:
        if leaf.segment_id in (*self._within, self.context.segment_id):
            raise Invalid(f"{path}.segment_id", "must not lead back to the segment")
        definition = self.context.segments.get(leaf.segment_id)
        if definition is None:
            raise Invalid(f"{path}.segment_id", "must be the id of a segment of the brand that is not archived")
        self.kinds.add(f"segment:{leaf.segment_id}")
        outer, self._within = self._within, (*self._within, leaf.segment_id)
        try:
            known = len(self.errors)
            expression = self.node(definition, dsl.ROOT)
            if len(self.errors) > known:
                del self.errors[known:]
                raise Invalid(f"{path}.segment_id", "must be the id of a segment that can be evaluated")
            self._since = self._member_since(leaf.segment_id, expression)
            return expression
        finally:
            self._within = outer

    def _member_since(self, segment_id: UUID, holds: str) -> str:
        """Return the expression of the time at which a contact entered a segment, or left it if it is no member."""
        return (
            f"(SELECT CASE WHEN {holds} THEN max(m.entered_at) FILTER (WHERE m.left_at IS NULL)"
            " WHEN bool_and(m.left_at IS NOT NULL) THEN max(m.left_at) END FROM public.segment_members m"
            f" WHERE m.brand_id = {self.brand()} AND m.segment_id = {self.argument(segment_id, 'uuid')}"
            " AND m.contact_id = c.id)"
        )

    def compare(self, found: Field, compared: Comparison) -> str:
        """Return the expression of a comparison with a field."""
        if found.column is not None:
            return _compared(f"c.{found.column}", compared, self, found.type, _CASTS[found.type])
        value = _PROPERTIES[found.type].replace("KEY", self.argument(found.key, "text"))
        # Dates of properties are compared as texts: a stored text might be no date.
        cast = "text" if found.type in ("date", "datetime") else _CASTS[found.type]
        return _compared(value, compared, self, found.type, cast)


_TEXT = "(CASE WHEN jsonb_typeof(c.properties -> KEY) = 'string' THEN c.properties ->> KEY END)"
_PROPERTIES: dict[str, str] = {
    "text": _TEXT,
    "number": "(CASE WHEN jsonb_typeof(c.properties -> KEY) = 'number' THEN (c.properties ->> KEY)::numeric END)",
    "boolean": "(CASE WHEN jsonb_typeof(c.properties -> KEY) = 'boolean' THEN (c.properties ->> KEY)::boolean END)",
    "date": f'{_TEXT} COLLATE "C"',
    "datetime": f'{_TEXT} COLLATE "C"',
    "list": "(CASE WHEN jsonb_typeof(c.properties -> KEY) = 'array'"
    " THEN ARRAY(SELECT jsonb_array_elements_text(c.properties -> KEY)) END)",
}
"""Values of properties by type; null if the stored value has another type.

Dates and times are stored in one form, of ISO 8601 and in UTC, so that their order is that of their texts.
"""

_CASTS: dict[str, str] = {
    "text": "text",
    "number": "numeric",
    "boolean": "boolean",
    "date": "date",
    "datetime": "timestamptz",
    "list": "text",
}


def _compared(value: str, compared: Comparison, builder: _Builder, kind: ValueType, cast: str) -> str:
    positive = _positive(value, compared, builder, kind, cast)
    if value != "c.tags":  # It is never null, and has an index that `IS TRUE` would rule out.
        positive = f"({positive} IS TRUE)"
    return f"(NOT {positive})" if compared.negated else positive


def _positive(value: str, compared: Comparison, builder: _Builder, kind: ValueType, cast: str) -> str:
    values = list(compared.values)
    match compared.op:
        case "set":
            return f"(cardinality({value}) > 0)" if kind == "list" else f"({value} IS NOT NULL)"
        case "contains":
            return f"(strpos(lower({value}), lower({builder.argument(values[0], 'text')})) > 0)"
        case "starts_with":
            return f"starts_with(lower({value}), lower({builder.argument(values[0], 'text')}))"
        case "in" if kind == "list":
            return f"({value} && {builder.argument(values, 'text[]')})"
        case "in" if kind in ("date", "datetime"):
            days = [_range(value, Comparison("range", low=day, high=day), builder, kind, cast) for day in values]
            return f"({' OR '.join(days)})"
        case "in":
            return f"({value} = ANY ({builder.argument(values, cast + '[]')}))"
        case _:
            return _range(value, compared, builder, kind, cast)


def _range(value: str, compared: Comparison, builder: _Builder, kind: ValueType, cast: str) -> str:
    """Return the expression of a range. Days of a `datetime` begin at midnight in the time zone of the brand."""
    low, high = compared.low, compared.high
    after, before = compared.excludes
    if kind == "datetime":
        zone = builder.context.zone
        if low is not None:
            low, after = _calendar.start_of(low + timedelta(days=1) if after else low, zone), False
        if high is not None:
            high, before = _calendar.start_of(high if before else high + timedelta(days=1), zone), True
    bounds = []
    for bound, operator in ((low, ">" if after else ">="), (high, "<" if before else "<=")):
        if bound is not None:
            sent = _as_text(bound) if cast == "text" else bound
            bounds.append(f"{value} {operator} {builder.argument(sent, cast)}")
    return f"({' AND '.join(bounds)})"


def _as_text(bound: date) -> str:
    """Return the form in which properties store a date; a time without its zone, so that it sorts before all of it."""
    return bound.strftime("%Y-%m-%dT%H:%M:%S") if isinstance(bound, datetime) else bound.isoformat()


def bounds(count: dsl.EventCount, path: str) -> tuple[int, int | None]:
    """Return the lowest and the highest count that fulfil a condition; None without an upper bound."""
    if (count.to is not UNSET) != (count.op == "between"):
        raise Invalid(f"{path}.to", "must be set for `between` only")
    if count.op == "gte":
        return count.n, None
    if count.op == "lte":
        return 0, count.n
    high = count.n if count.to is UNSET else count.to
    if high < count.n:
        raise Invalid(f"{path}.to", "must not be less than `n`")
    return count.n, high
