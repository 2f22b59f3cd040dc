"""Test that schemas are exact in both directions, and that generators can use each of them."""

import re
from functools import cache
from typing import Annotated

import msgspec
import pytest
from falcon.asgi import App
from msgspec import UNSET, UnsetType

from models.core.errors import REGISTRY
from tests.web.openapi.test_document import nested
from web.app import application
from web.http.endpoint import endpoint
from web.openapi.document import document
from web.openapi.schemas import closure


@cache
def own():
    """Return the document of the application."""
    return document(application)


def operations():
    """Return all operations."""
    return [operation for item in own()["paths"].values() for operation in item.values()]


def sent():
    """Return the names of the schemas of requests."""
    return closure([one.get("requestBody") for one in operations()], own()["components"]["schemas"])


def received():
    """Return the names of the schemas of answers."""
    return closure(
        [[one["responses"] for one in operations()], own()["components"]["responses"]], own()["components"]["schemas"]
    )


def test_schemas_have_no_default():
    assert not [schema for schema in nested(own()["components"]["schemas"]) if "default" in schema]


def test_bounds_of_schemas_are_numbers():
    bounds = [schema[name] for schema in nested(own()["paths"]) for name in ("minimum", "maximum") if name in schema]

    assert bounds
    assert {type(bound) for bound in bounds} == {int}


def test_patterns_have_escapes_of_ecmascript_only():
    patterns = [schema["pattern"] for schema in nested(own()) if isinstance(schema.get("pattern"), str)]

    assert patterns
    assert not [pattern for pattern in patterns if re.search(r"""\\[^\\^$.*+?()\[\]{}|/\-dDwWsSbBnrtfvxu0]""", pattern)]


def test_examples_of_uris_have_ascii_letters_only():
    uris = [schema for schema in nested(own()) if schema.get("format") == "uri"]

    assert uris
    assert all(example.isascii() for schema in uris for example in schema.get("examples", []))


def test_answers_are_open_and_requests_are_closed():
    schemas = own()["components"]["schemas"]

    assert not [name for name in received() if schemas[name].get("additionalProperties") is False]
    assert not [name for name in sent() if schemas[name].get("type") == "object" and name not in closed(schemas)]


def closed(schemas):
    """Return the names of the schemas that refuse unknown members."""
    return {name for name, schema in schemas.items() if schema.get("additionalProperties") is False}


def test_enumerations_are_named_and_have_a_type():
    schemas = own()["components"]["schemas"]
    found = list(nested([own()["paths"], schemas]))
    enumerations = [schema for schema in found if isinstance(schema.get("enum"), list)]
    constants = [schema for schema in found if isinstance(schema.get("const"), str)]
    codes = set(REGISTRY)
    inline = [one for one in enumerations if one not in schemas.values() and not set(one["enum"]) <= codes]

    assert not [one for one in [*enumerations, *constants] if one.get("type") != "string"]
    assert not [one for one in enumerations if len(one["enum"]) == 1]
    assert not inline, "name them by `enumeration(…)` of models/core/enumerations.py"


def test_every_code_belongs_to_one_schema():
    codes = [code for schema in problems().values() for code in codes_of(schema)]

    assert sorted(codes) == sorted(REGISTRY)


def problems():
    """Return the schemas of problems by name."""
    return {name: one for name, one in own()["components"]["schemas"].items() if name.endswith("Problem")}


def codes_of(schema):
    """Return the codes of the problems that a schema describes."""
    code = schema["properties"]["code"]
    if "$ref" in code:
        return own()["components"]["schemas"]["ErrorCode"]["enum"]
    return code.get("enum") or [code["const"]]


@pytest.mark.parametrize(
    ("name", "member"),
    [("InvalidProblem", "errors"), ("ConsentRequiredProblem", "missing"), ("LimitReachedProblem", "retry_after")],
)
def test_problem_has_the_further_members_of_its_code(name, member):
    assert member in problems()[name]["required"]
    assert member not in problems()["Problem"]["properties"]


def test_answer_with_several_kinds_of_problems_lists_the_general_one_last():
    refusal = own()["paths"]["/api/v1/qr/scan"]["post"]["responses"]["403"]
    content = refusal["content"]["application/problem+json"]

    names = [one["$ref"].rpartition("/")[2] for one in content["schema"]["anyOf"]]
    assert names == ["ConsentRequiredProblem", "ForbiddenProblem", "Problem"]
    assert {"consent_required", "geofence_outside", "forbidden"} <= content["examples"].keys()


def test_descriptions_have_no_indented_lines():
    descriptions = [one["description"] for one in nested(own()) if isinstance(one.get("description"), str)]

    assert not [text for text in descriptions if re.search(r"^[ \t]+\S", text, re.MULTILINE) and "```" not in text]


def test_answers_have_the_phrase_of_their_status():
    phrases = {
        (status, own()["components"]["responses"][answer["$ref"].rpartition("/")[2]]["description"].split(".")[0])
        for operation in operations()
        for status, answer in operation["responses"].items()
        if "$ref" in answer
    }

    assert ("413", "Content Too Large") in phrases
    assert ("422", "Unprocessable Content") in phrases
    assert len(phrases) == len(dict(phrases))


def test_title_of_the_document_is_ascii():
    assert own()["info"]["title"].isascii()
    assert {"contact", "license", "description"} <= own()["info"].keys()
    assert own()["servers"][0]["url"].startswith("http")


def test_tags_have_no_spaces_and_each_is_in_one_group():
    tags = [tag["name"] for tag in own()["tags"]]
    grouped = [name for group in own()["x-tagGroups"] for name in group["tags"]]

    assert not [name for name in tags if not re.fullmatch("[a-z-]+", name)]
    assert sorted(grouped) == sorted(tags)
    assert tags[0] == "signups"
    assert not [group["name"] for group in own()["x-tagGroups"] if group["name"] == "More"]


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    """Part of both directions."""

    size: Annotated[int, msgspec.Meta(description="Size in metres.")] = 3
    note: Annotated[str | UnsetType, msgspec.Meta(description="A note.")] = UNSET


class OuterIn(msgspec.Struct, forbid_unknown_fields=True):
    """Request with a part of both directions."""

    inner: Inner
    flag: Annotated[bool, msgspec.Meta(description="A flag.")] = False


class OuterOut(msgspec.Struct):
    """Answer with a part of both directions."""

    inner: Inner
    next: str | None = None


@pytest.fixture
def both():
    """Return the schemas of an operation that takes and returns the same struct."""

    class Resource:
        @endpoint(permission="public", body=OuterIn, example={"inner": {}}, response=OuterOut)
        def on_post(self, req, resp): ...

    app = App()
    app.add_route("/things", Resource())
    return document(app)["components"]["schemas"]


def test_struct_of_both_directions_has_a_schema_for_each(both):
    assert both["OuterIn"]["properties"]["inner"]["$ref"].endswith("/InnerIn")
    assert both["OuterOut"]["properties"]["inner"]["$ref"].endswith("/Inner")
    assert both["InnerIn"]["additionalProperties"] is False
    assert "additionalProperties" not in both["Inner"]


def test_member_with_default_is_optional_in_requests_only(both):
    assert both["InnerIn"]["required"] == []
    assert both["OuterIn"]["required"] == ["inner"]
    assert both["InnerIn"]["properties"]["size"]["description"] == "Size in metres. Default: `3`."
    assert both["OuterIn"]["properties"]["flag"]["description"] == "A flag. Default: `false`."
    assert both["Inner"]["required"] == ["size"]
    assert both["OuterOut"]["required"] == ["inner", "next"]
