"""Test decoding: strict JSON of the right type is accepted, and every other input has its own error."""

import json
import math
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.errors import MAX_ERRORS, Invalid, Malformed, Problem
from web.http import reasons
from web.http.decode import MAX_DEPTH, MAX_PARAMETERS, Body, Query
from web.http.field_errors import MAX_NAME


class Place(msgspec.Struct, forbid_unknown_fields=True):
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: float


class Thing(msgspec.Struct, forbid_unknown_fields=True):
    name: str = ""
    count: int = 0
    weight: float = 0.0
    place: Place | None = None
    anything: Any = None
    places: list[Place] = []
    numbers: dict[str, int] = {}


class Filter(msgspec.Struct, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="How many.")] = 25
    near: float = 0.0
    text: str | None = None
    live: bool = False
    at: datetime | None = None
    tags: list[str] = []


DATE = "must be a date and time with its offset from UTC, such as 2026-11-22T18:30:00Z"
body = Body(Thing)
query = Query(Filter)


def refused(work: Any, raw: Any) -> Problem:
    with pytest.raises(Problem) as refusal:
        work.decode(raw)
    return refusal.value


def decoded(work: Any, raw: Any) -> Any:
    """Return the decoded value or the error."""
    try:
        return work.decode(raw)
    except Problem as problem:
        return problem


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"  \n",
        b"{",
        b"{}x",
        b"{'name': 1}",
        b'{"name": "a",}',
        b'{"count": 01}',
        b'{"anything": NaN}',
        b'{"weight": -Infinity}',
        b'\xef\xbb\xbf{"name": "byte order mark"}',
        b'{"name": "\xff"}',
        b'{"\xff": 1}',
        b'{"name": "\xed\xa0\x80"}',
        b'{"name": "raw \x00"}',
        b'{"name": "tab\t"}',
        b'{"name": "\\x41"}',
        b'{"count": 1, "count": 1}',
        b'{"anything": [{"a": {"b": 1, "b": 2}}]}',
        b'{"count": ' + b"9" * 5000 + b"}",
        b'{"anything": ' + b"[" * 100_000,
        b'{"anything": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"anything": ' + b'{"a":' * 40 + b"1" + b"}" * 41,
    ],
)
def test_body_that_is_not_strict_json_returns_400(raw):
    problem = refused(body, raw)

    assert (problem.status, problem.code) == (400, "malformed_json")
    assert problem.detail


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (b'{"name": "\\u0000"}', "name", reasons.NUL),
        (b'{"places": [{"lat": 1, "lon": 0}, {"x": "\\ud800"}]}', "places[1].x", reasons.SURROGATE),
        (b'{"anything": {"a\\u0000b": 1}}', "anything.a\\x00b", reasons.NUL),
        (b'{"\\ud800": 1}', "\\ud800", reasons.SURROGATE),
    ],
)
def test_unstorable_text_returns_422_with_its_field(raw, field, reason):
    problem = refused(body, raw)

    assert (problem.status, problem.code) == (422, "invalid")
    assert {"field": field, "reason": reason} in problem.extra["errors"]
    assert msgspec.json.encode(problem.extra)


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (b"[]", "body", "must be an object"),
        (b"null", "body", "must be an object"),
        (b'{"count": "1"}', "count", "must be a whole number"),
        (b'{"count": 1.0}', "count", "must be a whole number"),
        (b'{"count": true}', "count", "must be a whole number"),
        (b'{"place": {"lat": 1}}', "place.lon", "is required"),
        (b'{"place": {"lat": 91, "lon": 0}}', "place.lat", "must be from -90 to 90"),
        (b'{"place": {"lat": 1, "lon": 0, "alt": 3}}', "place.alt", "is not a known field"),
        (b'{"places": [{"lat": 1, "lon": 0}, {"lat": 1, "lon": "x"}]}', "places[1].lon", "must be a number"),
        (b'{"numbers": {"a": "x"}}', "numbers.a", "must be a whole number"),
        (b'{"odd`name": 1}', "odd`name", "is not a known field"),
        (b'{"": 1}', '""', "is not a known field"),
        (b'{"count": 9223372036854775808}', "count", "must fit into 64 bits"),
        (b'{"anything": {"a": [0, -9223372036854775809]}}', "anything.a[1]", "must fit into 64 bits"),
        (b'{"weight": 1e999}', "weight", "is too large for a number"),
        (b'{"\\ud800": 9223372036854775808}', "\\ud800", "must fit into 64 bits"),
        (b'{"anything": {"a\\u0000": 9223372036854775808}}', "anything.a\\x00", "must fit into 64 bits"),
        (b'{"' + b"k" * 5000 + b'": 9223372036854775808}', "k" * MAX_NAME, "must fit into 64 bits"),
    ],
)
def test_json_of_another_type_returns_422_with_its_field(raw, field, reason):
    problem = refused(body, raw)

    assert (problem.status, problem.code) == (422, "invalid")
    assert problem.extra["errors"] == [{"field": field, "reason": reason}]


def test_every_invalid_field_of_a_body_is_named():
    raw = {
        "name": 1,
        "count": 2**63,
        "place": {"lat": 200},
        "places": [{"lat": 0, "lon": 0}, {"lat": 0, "lon": "x"}],
        "nome": "",
        "anything": "\x00",
    }

    problem = refused(body, json.dumps(raw).encode())

    assert {error["field"]: error["reason"] for error in problem.extra["errors"]} == {
        "count": reasons.TOO_LONG_INTEGER,
        "anything": reasons.NUL,
        "name": "must be text",
        "place.lat": "must be from -90 to 90",
        "place.lon": "is required",
        "places[1].lon": "must be a number",
        "nome": "is not a known field",
    }
    assert problem.detail.count(";") == 3
    assert problem.detail.endswith("; and 4 more")


def test_every_invalid_parameter_of_a_query_is_named():
    problem = refused(query, "limit=0&near=x&page=1&text=a&text=b&tags=%00")

    assert {error["field"]: error["reason"] for error in problem.extra["errors"]} == {
        "page": reasons.UNKNOWN_PARAMETER,
        "text": reasons.REPEATED,
        "tags": reasons.NUL,
        "limit": "must be from 1 to 100",
        "near": "must be a number",
    }


def test_list_of_invalid_fields_is_bounded_and_says_so():
    raw = json.dumps({f"field{number}": 1 for number in range(1000)}).encode()

    problem = refused(body, raw)

    assert len(problem.extra["errors"]) == MAX_ERRORS
    assert problem.detail.endswith("; and more than 47 others")


def test_values_at_the_limits_are_accepted():
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)

    thing = body.decode(
        b'{"count": 9223372036854775807, "name": "\\ud83d\\ude00 \\\\u0000", "anything": ' + deep + b', "weight": 5}'
    )

    assert thing.count == 2**63 - 1
    assert thing.name == "\U0001f600 \\u0000"
    assert thing.weight == 5.0


@pytest.mark.parametrize(("pairs", "is_refused"), [((MAX_DEPTH - 2) // 2, False), (MAX_DEPTH // 2, True)])
def test_depth_counts_objects_and_arrays_together(pairs, is_refused):
    raw = b'{"anything": ' + b'[{"a": ' * pairs + b"[]" + b"}]" * pairs + b"}"

    if is_refused:
        assert refused(body, raw).code == "malformed_json"
    else:
        body.decode(raw)


@pytest.mark.parametrize("opening", [b"[", b'{"a": '])
@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_limit_holds_for_each_kind_of_bracket(opening, depth):
    inner = depth - 1  # the body itself is the first level
    closing = b"]" if opening == b"[" else b"}"
    raw = b'{"anything": ' + opening * (inner - 1) + b"[]" + closing * (inner - 1) + b"}"

    outcome = decoded(body, raw)

    assert isinstance(outcome, Thing) == (depth == MAX_DEPTH)


def test_many_brackets_side_by_side_are_accepted():
    raw = b'{"anything": [' + b", ".join([b'{"a": []}'] * (2 * MAX_DEPTH)) + b"]}"

    assert len(body.decode(raw).anything) == 2 * MAX_DEPTH


def test_too_long_integer_in_too_deep_body_returns_400():
    raw = b'{"anything": ' + b"[" * MAX_DEPTH + b"9223372036854775808" + b"]" * MAX_DEPTH + b"}"

    assert refused(body, raw).code == "malformed_json"


def test_duplicate_of_last_key_in_large_body_is_found_quickly():
    raw = b"{" + b",".join(b'"k%d":1' % number for number in range(20_000)) + b',"k19999":1}'

    problem = refused(body, raw)

    assert problem.code == "malformed_json"
    assert "k19999" in problem.detail


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(words, children, max_size=4),
    max_leaves=20,
)


@given(plain, st.booleans())
def test_storable_json_is_decoded_unchanged(value, escaped):
    raw = json.dumps({"anything": value}, ensure_ascii=escaped).encode()

    assert body.decode(raw).anything == value


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0d8cNa1eE-+. tf', max_size=60).map(str.encode))
def test_random_bytes_are_decoded_or_refused_as_client_error(raw):
    outcome = decoded(body, raw)

    assert isinstance(outcome, (Thing, Malformed, Invalid))
    shown = outcome.extra if isinstance(outcome, Problem) else msgspec.to_builtins(outcome)
    assert json.dumps(shown, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        ("page=1", "page", "is not a known parameter"),
        ("limit=1&limit=2", "limit", "must be given only once"),
        ("text=a%00b", "text", reasons.NUL),
        ("te%00xt=a", "text", reasons.NUL),
        ("text=%ff", "query", "must be encoded in UTF-8"),
        ("text=%ed%a0%80", "query", "must be encoded in UTF-8"),
        ("limit=x", "limit", "must be a whole number"),
        ("limit=", "limit", "must be a whole number"),
        ("limit=0", "limit", "must be from 1 to 100"),
        ("limit=null", "limit", "must be a whole number"),
        ("limit=1e1", "limit", "must be a whole number"),
        ("limit=1.0", "limit", "must be a whole number"),
        ("limit=01", "limit", "must be a whole number"),
        ("limit=%2B1", "limit", "must be a whole number"),
        ("limit=1_0", "limit", "must be a whole number"),
        ("limit=%D9%A1", "limit", "must be a whole number"),
        ("limit=" + "9" * 5000, "limit", "must be a whole number"),
        ("near=nan", "near", "must be a number"),
        ("near=-inf", "near", "must be a number"),
        ("near=1e999", "near", "is too large for a number"),
        ("near=.5", "near", "must be a number"),
        ("live=maybe", "live", "must be true or false"),
        ("live=1", "live", "must be true or false"),
        ("at=null", "at", DATE),
        ("at=0", "at", DATE),
        (
            "&".join(f"tags={n}" for n in range(MAX_PARAMETERS + 1)),
            "query",
            f"must have at most {MAX_PARAMETERS} parameters",
        ),
    ],
)
def test_invalid_query_parameter_returns_422_with_its_name(raw, field, reason):
    problem = refused(query, raw)

    assert (problem.status, problem.code) == (422, "invalid")
    assert problem.extra["errors"] == [{"field": field, "reason": reason}]


def test_query_parameters_are_converted():
    found = query.decode("limit=7&near=-1.5e1&text=null&live=true&at=2026-01-01T00:00:00Z&tags=a&tags=b%20c")

    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert found == Filter(limit=7, near=-15.0, text="null", live=True, at=at, tags=["a", "b c"])


def test_query_integer_over_64_bits_returns_422():
    class Numbers(msgspec.Struct):
        n: int = 0

    problem = refused(Query(Numbers), "n=9223372036854775808")

    assert problem.extra["errors"] == [{"field": "n", "reason": "must fit into 64 bits"}]


def test_parameter_of_endpoint_without_query_is_unknown():
    assert Query(None).decode("") is None
    assert refused(Query(None), "utm_source=x").extra["errors"][0]["field"] == "utm_source"


@given(st.text(max_size=100))
def test_random_query_string_is_decoded_or_refused(text):
    outcome = decoded(query, text)

    if isinstance(outcome, Invalid):
        assert outcome.extra["errors"]
    else:
        assert math.isfinite(outcome.near)
