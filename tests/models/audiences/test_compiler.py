"""The compiler of segments, against a naive evaluator and cases that users of other systems have reported."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, convert

from models.audiences import compiler, dsl, segments
from models.audiences._values import OPERATORS
from models.audiences.dsl import (
    CalendarPeriod,
    CampaignCondition,
    Condition,
    ConsentCondition,
    EventCondition,
    EventCount,
    EventFilter,
    EventWindow,
    GeoCondition,
    ProfileCondition,
    SegmentCondition,
    TraitCondition,
)
from models.core.database import rows
from models.core.errors import Invalid
from tests.models.audiences import population
from tests.models.audiences.evaluator import Evaluator
from tests.models.audiences.population import AS_OF, CAMPAIGNS, PROPERTIES, TODAY, ZONE, Person

NESTED = UUID(int=99)
INNER = convert(
    {"any": [{"profile": {"field": "country", "op": "eq", "value": "ES"}}, {"event": {"kind": "survey"}}]}, Condition
)

_DAYS = st.dates(date(2026, 2, 1), date(2026, 4, 3))
_PERIODS = st.one_of(
    st.builds(CalendarPeriod, st.integers(0, 40), st.just("day")),
    st.builds(CalendarPeriod, st.integers(0, 3), st.sampled_from(["week", "month", "year"])),
)
_VALUES = {
    "text": st.sampled_from(["ES", "PT", "Madrid", "MAD", "", "null", "pro", "Jazz", "jazz", "100%"]),
    "number": st.sampled_from([-2, 0, 1, 2.5, 10]),
    "boolean": st.booleans(),
    "date": _DAYS.map(date.isoformat),
    "datetime": _DAYS.map(date.isoformat),
    "list": st.sampled_from(["vip", "press", "rock", "jazz"]),
}
_FIELDS = {
    "country": "text",
    "city": "text",
    "birth_date": "date",
    "created_at": "datetime",
    "first_seen_at": "datetime",
    "tags": "list",
    "lat": "number",
} | {f"properties.{key}": kind for key, kind in PROPERTIES.items()}


@st.composite
def comparisons(draw, kind):
    op = draw(st.sampled_from(OPERATORS[kind]))
    if op in ("is_set", "is_not_set"):
        return op, UNSET
    if op in ("in_last", "before_last", "in_next"):
        return op, draw(_PERIODS)
    if op in ("in", "not_in"):
        return op, draw(st.lists(_VALUES[kind], min_size=1, max_size=3))
    if op == "between":
        return op, sorted([draw(_VALUES[kind]), draw(_VALUES[kind])])
    return op, draw(_VALUES[kind])


@st.composite
def profiles(draw):
    field = draw(st.sampled_from(sorted(_FIELDS)))
    return Condition(profile=ProfileCondition(field, *draw(comparisons(_FIELDS[field]))))


_COUNTS = st.one_of(
    st.builds(EventCount, st.sampled_from(["gte", "lte", "eq"]), st.integers(0, 5)),
    st.builds(lambda low, more: EventCount("between", low, low + more), st.integers(0, 3), st.integers(0, 3)),
)
_WINDOWS = st.one_of(
    st.just(UNSET),
    st.builds(EventWindow, last=_PERIODS),
    st.builds(lambda day, more: EventWindow(start=day, end=max(day, more)), _DAYS, _DAYS),
)
_WHERE = st.builds(
    EventFilter,
    st.one_of(st.just(UNSET), st.lists(st.sampled_from(CAMPAIGNS), min_size=1, max_size=2)),
    st.one_of(st.just(UNSET), st.lists(st.integers(1, 7), min_size=1, max_size=3)),
)
_LEAVES = st.one_of(
    profiles(),
    st.builds(
        lambda name, compared: Condition(trait=TraitCondition(name, *compared)),
        st.sampled_from(population.TRAITS),
        comparisons("text"),
    ),
    st.builds(
        lambda *parts: Condition(event=EventCondition(*parts)),
        st.sampled_from(["scan", "survey"]),
        _COUNTS,
        _WINDOWS,
        st.one_of(st.just(UNSET), _WHERE),
    ),
    st.builds(
        lambda tier, state: Condition(consent=ConsentCondition(tier, state)),
        st.sampled_from(["marketing", "analytics"]),
        st.sampled_from(["granted", "withdrawn", "expired", "never"]),
    ),
    st.builds(lambda radius: Condition(geo=GeoCondition(40.4, -3.7, radius)), st.sampled_from([5000.0, 20_000.0])),
    st.builds(lambda campaign: Condition(campaign=CampaignCondition(campaign)), st.sampled_from(CAMPAIGNS)),
    st.just(Condition(segment=SegmentCondition(NESTED))),
)
NODES = st.recursive(
    _LEAVES,
    lambda node: st.one_of(
        st.builds(lambda nodes: Condition(all_of=nodes), st.lists(node, min_size=1, max_size=3)),
        st.builds(lambda nodes: Condition(any_of=nodes), st.lists(node, min_size=1, max_size=3)),
        st.builds(lambda one: Condition(not_of=one), node),
    ),
    max_leaves=8,
)


def context(brand, **given):
    return compiler.Context(
        brand_id=brand["id"],
        zone=ZONE,
        as_of=AS_OF,
        fields=segments.fields_of(brand["id"]),
        segments={NESTED: INNER},
        **given,
    )


def selected(compiled):
    found = [one["contact_id"] for one in rows(compiled.sql, compiled.arguments)]
    assert len(found) == len(set(found))
    return set(found)


def agree(brand, account, people, examples):
    """Compare the compiler with the naive evaluator for random definitions: all contacts, some, and each leaf."""
    naive = Evaluator(people, ZONE, AS_OF, {NESTED: INNER})
    some = [person.id for person in people[::3]]

    @settings(max_examples=examples)
    @given(NODES)
    def check(node):
        expected = naive.members(node)
        whole, part = context(brand), context(brand, contacts=some)
        assert selected(compiler.compile(node, whole)) == expected
        compiled = compiler.compile(node, part)
        assert selected(compiled) == expected & set(some)
        columns = [f"{expression} AS l{number}" for number, (_, expression) in enumerate(compiled.leaves)]
        leaves = ", ".join([*columns, *compiled.since])
        truth = rows(f"SELECT c.id, {leaves} {compiled.source}", compiled.arguments)
        known = {person.id: person for person in people}
        for number, (path, leaf) in enumerate(dsl.leaves(node)):
            assert compiled.leaves[number][0] == path
            kind = path.rpartition(".")[2]
            assert {one["id"]: one[f"l{number}"] for one in truth} == {
                one["id"]: getattr(naive, kind)(leaf, known[one["id"]]) for one in truth
            }

    with account.acting():
        check()


def test_compiler_agrees_with_naive_evaluator(brand, member, superuser):
    people = population.generate(60, seed=1)
    population.store(superuser, brand["id"], people)

    agree(brand, member(), people, 40)


@pytest.mark.slow
def test_compiler_agrees_with_naive_evaluator_on_2000_segments(brand, member, superuser):
    people = population.generate(200, seed=2)
    population.store(superuser, brand["id"], people)

    agree(brand, member(), people, 2_000)


@pytest.fixture
def members_of(brand, member, superuser):
    """`members_of(people, definition, …)`: store people, and return the numbers of the members of each definition."""
    account = member()

    def find(people, *definitions, inner=INNER):
        population.store(superuser, brand["id"], people)
        number = {person.id: place for place, person in enumerate(people)}
        found = []
        with account.acting():
            for definition in definitions:
                at = context(brand)
                at.segments[NESTED] = inner  # type: ignore[index]
                compiled = compiler.compile(convert(definition, Condition), at)
                found.append({number[one] for one in selected(compiled)})
        return found

    return find


def people_with(key, values):
    return [
        Person(UUID(int=1000 + number), properties={} if value == "missing" else {key: value})
        for number, value in enumerate(values)
    ]


def test_is_set_and_is_not_set_partition_all_contacts(members_of):
    people = people_with("plan", ["missing", None, "", "null", "pro"])

    is_set, is_not_set = members_of(
        people,
        {"profile": {"field": "properties.plan", "op": "is_set"}},
        {"profile": {"field": "properties.plan", "op": "is_not_set"}},
    )

    assert (is_set, is_not_set) == ({2, 3, 4}, {0, 1})


def test_not_in_segment_includes_contacts_of_no_segment(members_of):
    people = people_with("plan", ["pro"] * 3 + ["basic"] * 3 + ["missing"] * 4)
    pro = convert({"profile": {"field": "properties.plan", "op": "eq", "value": "pro"}}, Condition)

    (found,) = members_of(people, {"not": {"segment": {"segment_id": str(NESTED)}}}, inner=pro)

    assert found == {3, 4, 5, 6, 7, 8, 9}


def test_zero_times_within_window_includes_contacts_without_events(members_of):
    people = people_with("plan", ["missing"] * 10)
    for person in people[:6]:
        person.activity = [("scan", CAMPAIGNS[0], TODAY, 1)]
    people[6].activity = [("scan", CAMPAIGNS[0], date(2026, 2, 1), 1)]
    last_30_days = {"kind": "scan", "window": {"last": {"n": 30, "unit": "day"}}}

    never, less_than_one, at_least_once = members_of(
        people,
        {"event": {**last_30_days, "count": {"op": "eq", "n": 0}}},
        {"event": {**last_30_days, "count": {"op": "lte", "n": 0}}},
        {"event": last_30_days},
    )

    assert never == less_than_one == {6, 7, 8, 9}
    assert at_least_once == {0, 1, 2, 3, 4, 5}


def test_relative_days_are_days_of_the_time_zone_of_the_brand(members_of):
    people = people_with("joined", [TODAY.isoformat(), "2026-03-31", "2026-03-27", "2026-03-26"])
    # 00:30 local three days ago, and 23:30 local four days ago.
    people[2].columns = {"first_seen_at": datetime(2026, 3, 27, 4, 30, tzinfo=UTC)}
    people[3].columns = {"first_seen_at": datetime(2026, 3, 27, 3, 30, tzinfo=UTC)}
    people[2].activity = [("scan", CAMPAIGNS[0], date(2026, 3, 27), 1)]
    people[3].activity = [("scan", CAMPAIGNS[0], date(2026, 3, 26), 1)]
    last_3 = {"n": 3, "unit": "day"}

    today, seen, scanned = members_of(
        people,
        {"profile": {"field": "properties.joined", "op": "in_last", "value": {"n": 0, "unit": "day"}}},
        {"profile": {"field": "first_seen_at", "op": "in_last", "value": last_3}},
        {"event": {"kind": "scan", "window": {"last": last_3}}},
    )

    assert (today, seen, scanned) == ({0}, {2}, {2})


@pytest.mark.parametrize(
    ("definition", "path"),
    [
        ({"all": [{"profile": {"field": "nope", "op": "is_set"}}]}, "definition.all[0].profile.field"),
        ({"not": {"profile": {"field": "country", "op": "gt", "value": "A"}}}, "definition.not.profile.op"),
        ({"profile": {"field": "country", "op": "in", "value": ["ES", 1]}}, "definition.profile.value[1]"),
        ({"profile": {"field": "birth_date", "op": "eq", "value": "31/12/2000"}}, "definition.profile.value"),
        ({"profile": {"field": "country", "op": "eq"}}, "definition.profile.value"),
        ({"any": [{"segment": {"segment_id": str(UUID(int=5))}}]}, "definition.any[0].segment.segment_id"),
        ({"event": {"kind": "scan", "count": {"op": "between", "n": 3, "to": 2}}}, "definition.event.count.to"),
        (
            {"event": {"kind": "scan", "window": {"from": "2026-02-02", "to": "2026-02-01"}}},
            "definition.event.window.to",
        ),
    ],
)
def test_definition_that_cannot_be_evaluated_names_the_leaf(definition, path):
    fields = {"country": compiler.Field("text", "country"), "birth_date": compiler.Field("date", "birth_date")}
    at = compiler.Context(UUID(int=1), ZONE, AS_OF, fields)

    with pytest.raises(Invalid) as refused:
        compiler.compile(convert(definition, Condition), at)

    assert [error.field for error in refused.value.values.errors] == [path]


def test_compiled_kinds_name_every_change_that_can_alter_the_result():
    at = compiler.Context(
        UUID(int=1),
        ZONE,
        AS_OF,
        {"tags": compiler.Field("list", "tags"), "properties.plan": compiler.Field("text", key="plan")},
        {NESTED: convert({"event": {"kind": "check_in", "window": {"last": {"n": 1}}}}, Condition)},
    )
    definition = {
        "any": [
            {"profile": {"field": "tags", "op": "is_set"}},
            {"profile": {"field": "properties.plan", "op": "is_set"}},
            {"geo": {"lat": 1, "lon": 1, "radius_m": 5}},
            {"segment": {"segment_id": str(NESTED)}},
        ]
    }

    compiled = compiler.compile(convert(definition, Condition), at)

    assert compiled.kinds == {"contact", "tags", "properties", "geo", f"segment:{NESTED}", "event:check_in", "time"}
