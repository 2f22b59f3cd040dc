"""The search for invalid fields agrees with msgspec about which bodies are invalid, for every type of the API."""

import enum
import re
from datetime import datetime
from functools import cache
from typing import Annotated, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType, inspect

from models.core.errors import Invalid
from models.core.messages import REASON
from web.app import application
from web.http import reasons
from web.http.field_errors import field_errors
from web.http.normalise import normaliser
from web.http.schema_errors import field_of
from web.openapi.document import endpoint_specs

KINDS = sorted(
    {kind for spec in endpoint_specs(application).values() for kind in (spec.body, spec.query) if kind}, key=repr
)


class Cat(msgspec.Struct, tag_field="kind", tag="cat", forbid_unknown_fields=True):
    lives: Annotated[int, Meta(ge=1, le=9)]


class Dog(msgspec.Struct, tag_field="kind", tag="dog"):
    name: Annotated[str, Meta(min_length=2, max_length=5)]


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Everything(msgspec.Struct, forbid_unknown_fields=True, rename={"start": "from"}):
    """All kinds of types, also those that the API does not use yet."""

    start: Annotated[datetime, Meta(tz=True)]
    pet: Cat | Dog
    pets: Annotated[list[Cat | Dog | None], Meta(min_length=1, max_length=2)] = []
    numbers: dict[str, Annotated[float, Meta(gt=0, lt=10)]] = {}
    keys: dict[Annotated[str, Meta(pattern="^[a-c]+$")], bool] = {}
    pair: tuple[int, str] | None = None
    even: Annotated[int, Meta(multiple_of=2)] = 0
    some: Annotated[list[int], Meta(min_length=1)] = []
    more: Annotated[list[int], Meta(min_length=2)] = []
    either: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(max_length=3)] = 0
    size: Size = Size.SMALL
    level: Literal[1, 2, None] = None
    maybe: UUID | UnsetType = UNSET


ALL = [*KINDS, Everything]

numbers = st.integers(-3, 300) | st.floats(-1e3, 1e3)
junk = st.none() | st.booleans() | numbers | st.text(max_size=12) | st.sampled_from([[], {}, {"x": 1}])
words = st.sampled_from(
    ["", "a", "Ana", "ana@brand.example", "#ff8800", "123456", "es", "UTC", "a\tb", "2026-11-22", "x" * 300]
)
INSTANTS = ["2026-11-22T18:30:00Z", "2026-11-22T18:30:00+02:00", "2026-11-22T18:30:00", "yesterday"]


def values(info, within=()):
    """Return a strategy for values that are valid, or invalid in some parts. `within`: the structs around them."""
    return st.one_of(likely(info, within), likely(info, within), likely(info, within), junk)


def likely(info, within):
    """Return a strategy for values of the right JSON type, most of them in range."""
    if isinstance(info, inspect.Metadata):
        return likely(info.type, within)
    if isinstance(info, inspect.UnionType):
        return st.one_of([likely(option, within) for option in info.types])
    if isinstance(info, inspect.LiteralType | inspect.EnumType):
        return st.sampled_from([*reasons.values_of(info), "other"])
    container = of_container(info, within)
    return SCALARS.get(type(info), lambda _: words)(info) if container is None else container


def of_container(info, within):
    """Return a strategy for an object or a list; None for a scalar. A struct contains itself at most once."""
    if isinstance(info, inspect.StructType):
        return junk if within.count(info.cls) > 1 else of_struct(info, (*within, info.cls))
    if isinstance(info, inspect.CollectionType):
        return st.lists(st.deferred(lambda: values(info.item_type, within)), max_size=4)
    if isinstance(info, inspect.TupleType):
        return st.lists(junk, max_size=3)
    if isinstance(info, inspect.DictType):
        items = st.deferred(lambda: values(info.value_type, within))
        return st.dictionaries(st.text("abcd", max_size=3), items, max_size=3)
    return None


def near_bounds(info):
    """Return a strategy for numbers on, below and above the bounds."""
    bounds = [bound for bound in (info.ge, info.le, info.gt, info.lt, 0) if bound is not None]
    return st.sampled_from([number + step for number in bounds for step in (-1, 0, 1)])


SCALARS = {
    inspect.IntType: lambda info: near_bounds(info).map(int),
    inspect.FloatType: near_bounds,
    inspect.BoolType: lambda _: st.booleans(),
    inspect.NoneType: lambda _: st.none(),
    inspect.DateTimeType: lambda _: st.sampled_from(INSTANTS),
    inspect.UUIDType: lambda _: st.sampled_from(["01939a5c-7d1e-7c3a-9b60-3f1b2c4d5e6f", "01939a5c"]),
}
"""Strategies by type; for other types, `words`."""


def of_struct(info, within):
    fields = {field.encode_name: values(field.type, within) for field in info.fields}
    if info.tag_field:
        fields[info.tag_field] = st.sampled_from([info.tag, info.tag, "bird", 1])
    required = {field.encode_name for field in info.fields if field.required}
    whole = {name: made for name, made in fields.items() if name in required}
    rest = {name: made for name, made in fields.items() if name not in required}
    unknown = st.dictionaries(st.sampled_from(["nome", "x y"]), junk, max_size=1)
    some = st.fixed_dictionaries({}, optional=fields)
    return st.tuples(st.one_of(st.fixed_dictionaries(whole, optional=rest), some), unknown).map(
        lambda two: two[1] | two[0]
    )


@cache
def strategy(kind):
    return values(inspect.type_info(kind))


def refusal(kind, raw):
    """Return the field that the decoder or a normaliser refuses, or None."""
    try:
        normaliser(kind)(msgspec.json.decode(raw, type=kind))
    except msgspec.ValidationError as error:
        return field_of(error)
    except Invalid as error:
        return error.extra["errors"][0]["field"]
    return None


def is_named(field, found):
    """Return whether one of the found fields is this one. `[...]` stands for any key of an object."""
    pattern = ".".join(re.escape(part) for part in field.split("[...]")).replace("\\.\\.", "\\.")
    anything = re.escape(field).replace(re.escape("[...]"), r"(\.[^.\[]+|\[[0-9]+\])")
    return any(re.fullmatch(f"{anything}|{pattern}", name) for name in found)


@settings(max_examples=300)
@given(st.data())
def test_search_finds_an_error_exactly_if_the_decoder_refuses(data):
    kind = data.draw(st.sampled_from(ALL))
    value = data.draw(strategy(kind))

    found = [error.field for error in field_errors(inspect.type_info(kind), value)]
    refused = refusal(kind, msgspec.json.encode(value))

    assert bool(found) == (refused is not None), (kind, refused, found)
    assert refused is None or is_named(refused, found), (kind, refused, found)


def structs(info, within=()):
    """Yield the structs of a type and of its parts."""
    if isinstance(info, inspect.StructType):
        if info.cls in within:
            return
        within = (*within, info.cls)
        yield info.cls
    parts = [field.type for field in getattr(info, "fields", ())]
    parts += [*getattr(info, "types", ()), *getattr(info, "item_types", ())]
    parts += [getattr(info, name) for name in ("type", "item_type", "value_type") if hasattr(info, name)]
    for part in parts:
        yield from structs(part, within)


def near_limits(info):
    """Return numbers and texts on, below and above the limits of a type."""
    numbers, lengths = set(), set()
    for option in getattr(info, "types", (info,)):
        bare = option
        while isinstance(bare, inspect.Metadata):
            bare = bare.type
        numbers |= {getattr(bare, name, None) for name in ("ge", "gt", "le", "lt", "multiple_of")} - {None}
        if isinstance(bare, inspect.StrType):
            lengths |= {bare.min_length, bare.max_length} - {None}
    steps = (-1, -0.5, 0, 0.5, 1)
    return [
        *(number + step for number in numbers for step in steps),
        *("x" * max(0, length + step) for length in lengths for step in (-1, 0, 1)),
    ]


VALUES = [
    *(None, True, False, 0, 1, -1, 2.0, 1.5, [], [None], ["a"], {}, {"a": 1}, "", " ", "a", "Ana", "a\tb", "\u200b"),
    *(
        *INSTANTS,
        "2026-11-22",
        "UTC",
        "Europe/Atlantis",
        "es",
        "es_MX",
        "ana@brand.example",
        "ana@",
        "#ff8800",
        "123456",
    ),
    *("01939a5c-7d1e-7c3a-9b60-3f1b2c4d5e6f", "+34600000000", "cat", "small", "campaign.*", "https://brand.example"),
]


def test_each_field_alone_is_judged_as_by_the_decoder():
    """In a body with several fields, an error of one would hide that another was not found."""
    fields = {
        (struct.__name__, field.encode_name): field
        for kind in ALL
        for struct in structs(inspect.type_info(kind))
        for field in msgspec.structs.fields(struct)
    }
    wrong = []
    for (struct, name), field in fields.items():
        alone = msgspec.defstruct("Alone", [("field", field.type)], rename={"field": name})
        info, decoder, normalise = inspect.type_info(alone), msgspec.json.Decoder(alone), normaliser(alone)
        for value in [*VALUES, *near_limits(info.fields[0].type)]:
            body = {name: value}
            if bool(list(field_errors(info, body))) != is_refused(decoder, normalise, msgspec.json.encode(body)):
                wrong.append((struct, name, value))

    assert len(fields) > 100
    assert not wrong


def is_refused(decoder, normalise, raw):
    try:
        normalise(decoder.decode(raw))
    except (msgspec.ValidationError, Invalid):
        return True
    return False


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"pet": {"lives": 1}}, "pet.kind", "is required"),
        ({"pet": {"kind": "bird"}}, "pet.kind", "must be one of: cat, dog"),
        ({"pet": {"kind": "cat", "lives": 10}}, "pet.lives", "must be from 1 to 9"),
        ({"pets": []}, "pets", "must have 1 to 2 items"),
        ({"pets": [1]}, "pets[0]", "must be an object"),
        ({"numbers": {"a": 0}}, "numbers.a", "must be greater than 0"),
        ({"numbers": {"a": 10}}, "numbers.a", "must be less than 10"),
        ({"keys": {"x": True}}, "keys.x", "does not have the required form"),
        ({"pair": [1]}, "pair", "must have exactly 2 items"),
        ({"pair": ["a", "b"]}, "pair[0]", "must be a whole number"),
        ({"even": 3}, "even", "must be a multiple of 2"),
        ({"some": []}, "some", "must have at least 1 item"),
        ({"more": [1]}, "more", "must have at least 2 items"),
        ({"either": 1.5}, "either", "must be a whole number or text"),
        ({"either": "long"}, "either", "must have at most 3 characters"),
        ({"size": "huge"}, "size", "must be one of: small, large"),
        ({"maybe": None}, "maybe", f"must be {reasons.kind_of(inspect.UUIDType())}"),
    ],
)
def test_reason_says_in_plain_words_what_is_required(value, field, reason):
    found = {error.field: error.reason for error in field_errors(inspect.type_info(Everything), value)}

    assert found[field] == reason
    assert [name for name in found if name.startswith(field.partition(".")[0])] == [field]


def test_no_reason_names_a_type_of_python():
    info = inspect.type_info(Everything)
    bodies = [
        [],
        {},
        *({name: value} for name in Everything.__struct_encode_fields__ for value in ([1], {"x": 1}, "", -1, None)),
    ]
    found = {str(error.reason) for body in bodies for error in field_errors(info, body)}

    assert len(found) > 10
    assert not [
        reason for reason in found if re.search(r"\b(int|str|float|bool|dict|NoneType|array|regex)\b|`", reason)
    ]


def texts_with_pattern(info, path, within=()):
    """Yield the path and metadata of each text with a pattern, below a type."""
    bare, extra = info, {}
    while isinstance(bare, inspect.Metadata):
        extra, bare = extra | (bare.extra or {}), bare.type
    if isinstance(bare, inspect.StrType) and bare.pattern:
        yield path, extra
    if isinstance(bare, inspect.StructType):
        if bare.cls in within:
            return
        within = (*within, bare.cls)
    parts = [(field.type, f"{path}.{field.encode_name}") for field in getattr(bare, "fields", ())]
    parts += [(option, path) for option in getattr(bare, "types", ())]
    parts += [(getattr(bare, name), path) for name in ("item_type", "key_type", "value_type") if hasattr(bare, name)]
    for part, here in parts:
        yield from texts_with_pattern(part, here, within)


def test_every_pattern_of_the_api_says_in_words_what_it_requires():
    found = [text for kind in KINDS for text in texts_with_pattern(inspect.type_info(kind), kind.__name__)]
    silent = {path for path, extra in found if REASON not in extra}

    assert len(found) > 10
    assert not silent, f"add extra={{REASON: Message('must …')}} to the Meta of {silent}"
