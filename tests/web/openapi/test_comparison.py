"""Test the comparison of documents by mutations: each has one expected change, at its place."""

from copy import deepcopy
from datetime import date
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.app import application
from web.openapi.comparison.operations import compare
from web.openapi.comparison.rules import BREAKING, COMPATIBLE, is_allowed
from web.openapi.document import document

TODAY = date(2027, 6, 1)
LIST, CREATE = "GET /things", "POST /things"

BASE = {
    "paths": {
        "/things": {
            "get": {
                "operationId": "listThings",
                "security": [{"token": []}, {"key": []}],
                "parameters": [
                    {"name": "limit", "in": "query", "required": False, "schema": {"type": "integer", "maximum": 100}},
                    {"name": "brand", "in": "query", "required": True, "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {
                        "headers": {"ETag": {}},
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingOut"}}},
                    },
                    "404": {"$ref": "#/components/responses/NotFound"},
                },
            },
            "post": {
                "operationId": "createThing",
                "security": [],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ThingIn"}}},
                },
                "responses": {"204": {}},
            },
            "put": {
                "operationId": "changeThing",
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                "responses": {"204": {}},
            },
        },
        "/old": {"get": {"operationId": "getOld", "deprecated": True, "x-sunset": "2027-05-31", "responses": {}}},
        "/older": {"get": {"operationId": "getOlder", "deprecated": True, "x-sunset": "2027-06-01", "responses": {}}},
    },
    "components": {
        "responses": {
            "NotFound": {
                "content": {
                    "application/problem+json": {
                        "schema": {"anyOf": [{"$ref": "#/components/schemas/Problem"}]},
                    }
                }
            }
        },
        "schemas": {
            "Problem": {
                "type": "object",
                "required": ["code"],
                "properties": {"code": {"type": "string", "enum": ["not_found", "gone"]}},
            },
            "ThingIn": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "shape"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[a-z]+$"},
                    "shape": {"type": "string", "enum": ["round", "square"]},
                    "size": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 5},
                    "inner": {"$ref": "#/components/schemas/ThingIn"},
                    "free": {"type": "object", "additionalProperties": True},
                    "weight": {"type": "number"},
                },
            },
            "ThingOut": {
                "type": "object",
                "required": ["id", "shape"],
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "shape": {"type": "string", "enum": ["round", "square"]},
                    "size": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/ThingOut"}},
                    "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "kind": {"type": "string", "const": "thing"},
                },
            },
        },
    },
}


def at(spec, path):
    """Return the object at a path, with `In` and `Out` for the two schemas and `list` and `create` for operations."""
    parts = {
        "In": ["components", "schemas", "ThingIn"],
        "Out": ["components", "schemas", "ThingOut"],
        "list": ["paths", "/things", "get"],
        "create": ["paths", "/things", "post"],
        "change": ["paths", "/things", "put"],
        "schemas": ["components", "schemas"],
    }
    first, *rest = path.split(" ")
    for key in [*parts.get(first, [first]), *rest]:
        spec = spec[int(key) if isinstance(spec, list) else key]
    return spec


def put(path, **values):
    """Return a mutation that sets members of an object."""
    return lambda spec: at(spec, path).update(values)


def drop(path, *names):
    """Return a mutation that removes members of an object."""

    def mutate(spec):
        for name in names:
            del at(spec, path)[name]

    return mutate


TEXT = {"type": "string"}
PROBLEM = {"$ref": "#/components/schemas/Problem"}
PARAMETER = {"name": "sort", "in": "query", "required": False, "schema": TEXT}
TYPED = {
    "type": "object",
    "required": ["code"],
    "properties": {"code": {"type": "string", "const": "expired"}, "since": TEXT},
}
NAME, SIZE, SHAPE = f"{CREATE} body: name", f"{CREATE} body: size", f"{CREATE} body: shape"
ANSWER = f"{LIST} 200:"

MUTATIONS = {
    "a path is removed": (drop("paths", "/things"), "/things", "path-removed"),
    "a path is removed on the day of its sunset": (drop("paths", "/older"), "/older", "path-removed"),
    "a path is removed after its sunset": (drop("paths", "/old"), "GET /old", "operation-removed-after-sunset"),
    "a path is added": (put("paths", **{"/new": {}}), "/new", "path-added"),
    "an operation is removed": (drop("paths /things", "post"), CREATE, "operation-removed"),
    "an operation is added": (put("paths /things", delete={}), "DELETE /things", "operation-added"),
    "an operation id changes": (put("list", operationId="things"), LIST, "operation-id-changed"),
    "an operation is deprecated": (put("list", deprecated=True), LIST, "operation-deprecated"),
    "a parameter is removed": (
        lambda spec: at(spec, "list parameters").pop(0),
        f"{LIST} query: limit",
        "parameter-removed",
    ),
    "an optional parameter is added": (
        lambda spec: at(spec, "list parameters").append(PARAMETER),
        f"{LIST} query: sort",
        "parameter-added",
    ),
    "a required parameter is added": (
        lambda spec: at(spec, "list parameters").append(PARAMETER | {"required": True}),
        f"{LIST} query: sort",
        "parameter-added-required",
    ),
    "a parameter becomes required": (
        put("list parameters 0", required=True),
        f"{LIST} query: limit",
        "parameter-made-required",
    ),
    "a parameter becomes optional": (
        put("list parameters 1", required=False),
        f"{LIST} query: brand",
        "parameter-made-optional",
    ),
    "the maximum of a parameter is lowered": (
        put("list parameters 0 schema", maximum=50),
        f"{LIST} query: limit",
        "request-constraint-narrowed",
    ),
    "a body is removed": (drop("create", "requestBody"), f"{CREATE} body:", "body-removed"),
    "a required body is added": (
        put("list", requestBody={"required": True, "content": {}}),
        f"{LIST} body:",
        "body-added-required",
    ),
    "an optional body is added": (put("list", requestBody={"content": {}}), f"{LIST} body:", "body-added"),
    "a body becomes required": (
        put("change requestBody", required=True),
        "PUT /things body:",
        "body-made-required",
    ),
    "a body becomes optional": (put("create requestBody", required=False), f"{CREATE} body:", "body-made-optional"),
    "a media type of the body is removed": (
        drop("create requestBody content", "application/json"),
        f"{CREATE} body:",
        "request-media-removed",
    ),
    "a media type of the body is added": (
        put("create requestBody content", **{"text/csv": {"schema": TEXT}}),
        f"{CREATE} body:",
        "request-media-added",
    ),
    "a success is removed": (drop("create responses", "204"), f"{CREATE} 204", "success-removed"),
    "a success is added": (put("create responses", **{"202": {}}), f"{CREATE} 202", "success-added"),
    "an error is removed": (drop("list responses", "404"), f"{LIST} 404", "error-removed"),
    "an error is added": (put("create responses", **{"409": {}}), f"{CREATE} 409", "error-added"),
    "a media type of the answer is removed": (
        drop("list responses 200 content", "application/json"),
        ANSWER,
        "response-media-removed",
    ),
    "a media type of the answer is added": (
        put("list responses 200 content", **{"text/csv": {"schema": TEXT}}),
        ANSWER,
        "response-media-added",
    ),
    "a header of the answer is removed": (
        drop("list responses 200 headers", "ETag"),
        f"{ANSWER} ETag",
        "response-header-removed",
    ),
    "a header of the answer is added": (
        put("list responses 200 headers", Link={}),
        f"{ANSWER} Link",
        "response-header-added",
    ),
    "a public operation needs a token": (put("create", security=[{"token": []}]), CREATE, "security-added"),
    "keys are refused": (put("list", security=[{"token": []}]), LIST, "security-added"),
    "a token and a key are needed": (
        put("list", security=[{"token": [], "key": []}]),
        LIST,
        "security-added",
    ),
    "an operation becomes public": (put("list", security=[]), LIST, "security-removed"),
    "a member of the body is removed": (drop("In properties", "size"), SIZE, "request-member-removed"),
    "an optional member of the body is added": (
        put("In properties", colour=TEXT),
        f"{CREATE} body: colour",
        "request-member-added",
    ),
    "a required member of the body is added": (
        lambda spec: (put("In properties", colour=TEXT)(spec), at(spec, "In required").append("colour")),
        f"{CREATE} body: colour",
        "request-member-added-required",
    ),
    "a member of the body becomes required": (
        lambda spec: at(spec, "In required").append("size"),
        SIZE,
        "request-member-made-required",
    ),
    "a member of the body becomes optional": (
        lambda spec: at(spec, "In required").remove("name"),
        NAME,
        "request-member-made-optional",
    ),
    "a body accepts other members": (
        put("In", additionalProperties=True),
        f"{CREATE} body:",
        "request-opened",
    ),
    "a part of the body refuses other members": (
        put("In properties free", additionalProperties=False),
        f"{CREATE} body: free",
        "request-closed",
    ),
    "null is refused": (lambda spec: at(spec, "In properties size anyOf").pop(1), SIZE, "request-type-narrowed"),
    "a text is accepted": (
        lambda spec: at(spec, "In properties size anyOf").append(TEXT),
        SIZE,
        "request-type-widened",
    ),
    "another kind of object is accepted": (
        lambda spec: put("In properties", free={"anyOf": [at(spec, "In properties free"), PROBLEM]})(spec),
        f"{CREATE} body: free",
        "request-variant-added",
    ),
    "a number of the body must be whole": (
        put("In properties weight", type="integer"),
        f"{CREATE} body: weight",
        "request-type-narrowed",
    ),
    "a whole number of the body may be any": (
        put("In properties size anyOf 0", type="number"),
        SIZE,
        "request-type-widened",
    ),
    "a text must be longer": (put("In properties name", minLength=2), NAME, "request-constraint-narrowed"),
    "a text may be shorter": (put("In properties name", minLength=0), NAME, "request-constraint-widened"),
    "a text must be shorter": (put("In properties name", maxLength=99), NAME, "request-constraint-narrowed"),
    "a text may be longer": (put("In properties name", maxLength=101), NAME, "request-constraint-widened"),
    "a bound is removed": (drop("In properties name", "maxLength"), NAME, "request-constraint-widened"),
    "a pattern changes": (put("In properties name", pattern="^[A-Z]+$"), NAME, "request-constraint-narrowed"),
    "a pattern is removed": (drop("In properties name", "pattern"), NAME, "request-constraint-widened"),
    "a format is added": (put("In properties name", format="email"), NAME, "request-constraint-narrowed"),
    "a list must be shorter": (
        put("In properties tags", maxItems=4),
        f"{CREATE} body: tags",
        "request-constraint-narrowed",
    ),
    "items of the body are bounded": (
        put("In properties tags items", maxLength=10),
        f"{CREATE} body: tags[]",
        "request-constraint-narrowed",
    ),
    "a value of the body is removed": (put("In properties shape", enum=["round"]), SHAPE, "request-value-removed"),
    "a value of the body is added": (
        put("In properties shape", enum=["round", "square", "flat"]),
        SHAPE,
        "request-value-added",
    ),
    "values of the body are fixed": (
        put("In properties name", enum=["a"]),
        NAME,
        "request-constraint-narrowed",
    ),
    "a member of the answer is removed": (
        drop("Out properties", "size"),
        f"{ANSWER} size",
        "response-member-removed",
    ),
    "a member of the answer is added": (put("Out properties", age=TEXT), f"{ANSWER} age", "response-member-added"),
    "a member of the answer may be absent": (
        lambda spec: at(spec, "Out required").remove("id"),
        f"{ANSWER} id",
        "response-member-made-optional",
    ),
    "a member of the answer is always present": (
        lambda spec: at(spec, "Out required").append("size"),
        f"{ANSWER} size",
        "response-member-made-required",
    ),
    "a member of the answer may be null": (
        put("Out properties id", type=["string", "null"]),
        f"{ANSWER} id",
        "response-type-widened",
    ),
    "a member of the answer is never null": (
        lambda spec: at(spec, "Out properties size anyOf").pop(1),
        f"{ANSWER} size",
        "response-type-narrowed",
    ),
    "a whole number of the answer may be any": (
        put("Out properties counts additionalProperties", type="number"),
        f"{ANSWER} counts.*",
        "response-type-widened",
    ),
    "values of a map may be anything": (
        put("Out properties counts", additionalProperties=True),
        f"{ANSWER} counts.*",
        "response-values-opened",
    ),
    "a bound of the answer is lowered": (
        put("Out properties size anyOf 0", minimum=-1),
        f"{ANSWER} size",
        "response-constraint-widened",
    ),
    "a bound of the answer is raised": (
        put("Out properties size anyOf 0", minimum=1),
        f"{ANSWER} size",
        "response-constraint-narrowed",
    ),
    "a format of the answer is removed": (
        drop("Out properties id", "format"),
        f"{ANSWER} id",
        "response-constraint-widened",
    ),
    "a format of the answer changes": (
        put("Out properties id", format="uri"),
        f"{ANSWER} id",
        "response-constraint-widened",
    ),
    "a value of the answer is added": (
        put("Out properties shape", enum=["round", "square", "flat"]),
        f"{ANSWER} shape",
        "response-value-added",
    ),
    "a value of the answer is removed": (
        put("Out properties shape", enum=["round"]),
        f"{ANSWER} shape",
        "response-value-removed",
    ),
    "all values of the answer are replaced": (
        put("Out properties shape", enum=["flat"]),
        f"{ANSWER} shape",
        "response-values-replaced",
    ),
    "values of the answer are free": (
        drop("Out properties shape", "enum"),
        f"{ANSWER} shape",
        "response-values-opened",
    ),
    "values of the answer are fixed": (
        put("Out properties id", enum=["1"]),
        f"{ANSWER} id",
        "response-constraint-narrowed",
    ),
    "a problem with another code is possible": (
        lambda spec: (
            put("schemas", ExpiredProblem=TYPED)(spec),
            at(spec, "components responses NotFound content application/problem+json schema anyOf").append(
                {"$ref": "#/components/schemas/ExpiredProblem"}
            ),
        ),
        f"{LIST} 404:",
        "response-variant-added",
    ),
}


@pytest.mark.parametrize(("mutate", "where", "rule"), MUTATIONS.values(), ids=MUTATIONS)
def test_mutation_of_a_document_is_reported_at_its_place(mutate, where, rule):
    new = deepcopy(BASE)
    mutate(new)

    changes = compare(BASE, new, today=TODAY)

    assert [(change.where, change.rule) for change in changes] == [(where, rule)]
    assert changes[0].is_breaking == (rule in BREAKING)
    assert rule in str(changes[0])


def test_every_rule_has_a_mutation():
    assert {rule for _, _, rule in MUTATIONS.values()} == BREAKING.keys() | COMPATIBLE.keys()
    assert not BREAKING.keys() & COMPATIBLE.keys()


def test_descriptions_examples_and_names_of_schemas_are_no_changes():
    new = deepcopy(BASE)
    put("list", summary="Another text.", description="Another text.", tags=["other"])(new)
    put("Out properties id", description="Another text.", examples=["a"], title="Id")(new)
    schemas = new["components"]["schemas"]
    schemas["Renamed"] = schemas.pop("ThingOut")
    schemas["Renamed"]["properties"]["parts"]["items"] = {"$ref": "#/components/schemas/Renamed"}
    put("list responses 200 content application/json", schema={"$ref": "#/components/schemas/Renamed"})(new)

    assert compare(BASE, new, today=TODAY) == []


@pytest.mark.parametrize(
    ("old", "new", "allowed"),
    [
        ("0.2.0", "0.2.1", False),
        ("0.2.0", "0.3.0", True),
        ("0.2.0", "1.0.0", True),
        ("0.9.0", "0.10.0", True),
        ("1.2.0", "1.3.0", False),
        ("1.2.0", "2.0.0", True),
        ("0.2.0", "0.2.0", False),
        ("0.2.0", "0.1.9", False),
    ],
)
def test_breaking_change_needs_a_higher_version(old, new, allowed):
    assert is_allowed(old, new) is allowed


@cache
def own():
    """Return the document of the application."""
    return document(application)


def test_document_compared_with_itself_has_no_changes():
    assert compare(own(), deepcopy(own()), today=TODAY) == []


def keywords_of(part):
    """Yield the keys of a document, except for the names of members and those in examples."""
    for key, value in part.items() if isinstance(part, dict) else ():
        yield key
        if key not in ("example", "examples"):
            yield from keywords_of(list(value.values()) if key == "properties" else value)
    for item in part if isinstance(part, list) else ():
        yield from keywords_of(item)


def test_document_uses_only_what_the_comparison_reads():
    unread = {"allOf", "not", "if", "patternProperties", "prefixItems", "dependentSchemas", "contains"}

    keywords = set(keywords_of([own()["paths"], own()["components"]["schemas"]]))

    assert not keywords & unread


@given(st.data())
def test_removed_and_new_members_of_any_schema_are_reported(data):
    place, direction, schema = data.draw(st.sampled_from(objects()))
    old = own()["components"]["schemas"][schema]
    name = data.draw(st.sampled_from(sorted(old["properties"])))
    method, path = place.split()[:2]
    narrow = own() | {"paths": {path: {method.lower(): own()["paths"][path][method.lower()]}}}
    members = {other: part for other, part in old["properties"].items() if other != name} | {"new": TEXT}
    changed = old | {"properties": members, "required": [*old.get("required", []), "new"]}
    schemas = own()["components"]["schemas"] | {schema: changed}

    found = compare(narrow, narrow | {"components": own()["components"] | {"schemas": schemas}}, today=TODAY)

    rules = {(change.where, change.rule) for change in found}
    added = "request-member-added-required" if direction == "request" else "response-member-added"
    assert (f"{place} {name}", f"{direction}-member-removed") in rules
    assert (f"{place} new", added) in rules


@cache
def objects():
    """Return place, direction and schema of the bodies and answers that are objects."""
    found = []
    for path, item in own()["paths"].items():
        for method, operation in item.items():
            where = f"{method.upper()} {path}"
            parts = [("body", "request", operation.get("requestBody", {}))]
            parts += [(status, "response", answer) for status, answer in operation["responses"].items()]
            for part, direction, holder in parts:
                for content in holder.get("content", {}).values():
                    name = content["schema"].get("$ref", "").rpartition("/")[2]
                    if own()["components"]["schemas"].get(name, {}).get("properties"):
                        found.append((f"{where} {part}:", direction, name))
    return found
