"""The document: says everything that the router knows, and is valid."""

import json
import re
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import pytest
from falcon import inspect
from falcon.asgi import App

from models.core.enumerations import enumeration
from models.core.errors import Conflict
from web.app import application
from web.http.endpoint import Page, PageQuery, endpoint
from web.openapi.document import document, endpoint_specs

UNDOCUMENTED = re.compile(
    r"^/(docs|docs/errors|favicon\.ico|static/.*|verify-email|accept-invitation|reset-password|confirm-email|undo-email"
    r"|s/{token}|api/v1/openapi\.json|media/{name}|files/.*)?$"
)
"""Pages for people, files by signed URLs, and the document itself."""


class Spot(msgspec.Struct):
    """Position, as a nested object."""

    lat: float


class ThingIn(msgspec.Struct, forbid_unknown_fields=True):
    """Request body with a nested object."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    spot: Spot | None = None


class ThingOut(msgspec.Struct):
    """Response body with a nested object."""

    name: str
    spot: Spot | None


class ThingQuery(PageQuery):
    state: Annotated[str, msgspec.Meta(description="State of the thing.")] | None = None


class Picture:
    @endpoint(permission="public", media="image/svg+xml")
    def on_get(self, req, resp): ...


class Things:
    """Things that brands have."""

    @endpoint(permission="things:read", query=ThingQuery, response=Page[ThingOut], rate="600/minute")
    def on_get(self, req, resp):
        """List things.

        The newest first.
        """

    @endpoint(
        permission="things:write",
        body=ThingIn,
        example={"name": "a"},
        response=ThingOut,
        status=201,
        idempotent=True,
        audit="thing.create",
        problems=(Conflict,),
    )
    def on_post(self, req, resp): ...

    @endpoint(permission="public", status=204)
    def on_delete(self, req, resp): ...


@pytest.fixture
def spec(serve):
    return (
        serve({"/api/v1/things": Things(), "/.well-known/thing.json": Things(), "/picture": Picture()})
        .get("/api/v1/openapi.json")
        .json
    )


def test_document_has_every_route_and_method():
    spec = document(application)
    for route in inspect.inspect_app(application).routes:
        if UNDOCUMENTED.match(route.path):
            continue
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path)
        wanted = {method.method.lower() for method in route.methods if not method.internal} - {"head"}
        assert set(spec["paths"][path]) == wanted, route.path


def test_every_id_in_a_path_is_a_uuid():
    # Without the converter, another text reaches the database: the answer would be 422 instead of 404.
    paths = [route.path for route in inspect.inspect_app(application).routes]
    ids = [part for path in paths for part in re.findall(r"\{(\w+_id\b[^}]*)\}", path)]

    assert ids
    assert {part.partition(":")[2] for part in ids} == {"uuid"}


def test_document_is_valid_openapi():
    require_sound(document(application))


def test_every_array_of_the_document_has_items():
    arrays = [schema for schema in nested(document(application)) if schema.get("type") == "array"]

    assert {} in [schema.get("items") for schema in arrays]
    assert not [schema for schema in arrays if "items" not in schema]


def nested(value):
    """Yield every object of a JSON document."""
    if isinstance(value, dict):
        yield value
        value = value.values()
    if not isinstance(value, str) and isinstance(value, Iterable):
        for item in value:
            yield from nested(item)


def test_operations_schemas_and_tags_have_unique_names():
    spec = document(application)
    operations = [operation for path in spec["paths"].values() for operation in path.values()]

    assert len({operation["summary"] for operation in operations}) == len(operations)
    assert not [operation for operation in operations if re.match(r"\w+ (it|them)\b", operation["summary"])]
    assert not [operation["operationId"] for operation in operations if operation["operationId"][-1].isdigit()]
    assert not [name for name in spec["components"]["schemas"] if not re.fullmatch(r"([A-Z][a-z]+)+", name)]
    assert not [tag["name"] for tag in spec["tags"] if not tag["description"]]


def test_every_schema_is_titled_with_its_name():
    schemas = document(application)["components"]["schemas"]

    assert {"QrConfig", "QrConfigIn"} < schemas.keys()
    assert [name for name, schema in schemas.items() if schema["title"] != name] == []


def test_default_of_a_member_is_stated_once_in_its_description():
    schemas = document(application)["components"]["schemas"]
    texts = {f"{name}.{field}": text for name, schema in schemas.items() for field, text in descriptions(schema)}

    assert "Default" in texts["LogoutIn.scope"]
    assert {name: text for name, text in texts.items() if text.count("Default:") > 1 or "{'" in text} == {}


def descriptions(schema):
    """Return the description of each member of a schema."""
    return [(name, member.get("description", "")) for name, member in schema.get("properties", {}).items()]


def test_operation_ids_are_a_verb_and_a_noun():
    ids = [operation["operationId"] for path in document(application)["paths"].values() for operation in path.values()]

    assert not [name for name in ids if not re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", name)]
    assert {"listCampaigns", "createCampaign", "getCampaign", "replaceCampaign", "launchCampaign"} <= set(ids)


def test_document_of_every_kind_of_endpoint_is_valid(spec):
    require_sound(spec)


def require_sound(spec):
    """Assert the rules of OpenAPI 3.1.0 for the parts that we use."""
    assert spec["openapi"] == "3.1.0"
    assert spec["info"]["title"]
    assert spec["info"]["version"]
    operations = [(path, method, found) for path, item in spec["paths"].items() for method, found in item.items()]
    identifiers = [operation["operationId"] for _, _, operation in operations]
    assert len(identifiers) == len(set(identifiers))
    parts = {kind: spec["components"][kind] for kind in ("schemas", "responses", "headers", "examples")}
    known = {f"#/components/{kind}/{name}" for kind, found in parts.items() for name in found}
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]+", name.rpartition("/")[2]) for name in known)
    assert set(re.findall(r'"\$ref":\s*"([^"]+)"', json.dumps(spec))) == known
    for path, method, operation in operations:
        require_sound_operation(path, method, operation, spec)


def require_sound_operation(path, method, operation, spec):
    where = f"{method} {path}"
    assert operation["summary"], where
    assert set(operation["tags"]) <= {tag["name"] for tag in spec["tags"]}, where
    in_path = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "path"]
    assert sorted(in_path) == sorted(re.findall(r"\{(\w+)\}", path)), where
    for parameter in operation["parameters"]:
        assert parameter["in"] in ("path", "query", "header"), where
        assert parameter["required"] or parameter["in"] != "path", where
        assert parameter["description"], f"{where} {parameter['name']}"
        assert {"type": "null"} not in parameter["schema"].get("anyOf", ()), where
    assert any(status.startswith("2") for status in operation["responses"]), where
    for status, response in operation["responses"].items():
        assert re.fullmatch(r"[1-5]\d\d|default", status), where
        response = answer_of(response, spec)
        assert response["description"], where
        assert "X-Request-Id" in response["headers"], where
        if status >= "400":
            assert set(response["content"]) <= {"application/problem+json", "application/json"}, where
    for requirement in operation["security"]:
        assert set(requirement) <= set(spec["components"]["securitySchemes"]), where
    assert "requestBody" not in operation or method in ("post", "put", "patch"), where


def answer_of(response, spec):
    """Return the answer that a reference leads to; any other answer unchanged."""
    return spec["components"]["responses"][response["$ref"].rpartition("/")[2]] if "$ref" in response else response


def test_example_of_every_body_is_valid():
    spec = document(application)
    bodies = {operation: declared.body for operation, declared in endpoint_specs(application).items() if declared.body}

    for (method, path), body in bodies.items():
        content = spec["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]
        assert msgspec.convert(content["example"], body), (method, path)


def test_operation_describes_its_endpoint_spec(spec):
    listing, making = spec["paths"]["/api/v1/things"]["get"], spec["paths"]["/api/v1/things"]["post"]

    assert listing["summary"] == "List things."
    assert listing["description"].startswith("The newest first.")
    assert "`things:read`" in listing["description"]
    assert "600/minute" in listing["description"]
    assert {p["name"] for p in listing["parameters"]} == {"limit", "cursor", "state"}
    assert listing["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/ThingOutPage")
    assert set(listing["responses"]) == {"200", "401", "403", "422", "429", "503", "default"}
    assert listing["security"] == [{"accessToken": []}]
    assert making["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ThingIn"}
    assert [p["name"] for p in making["parameters"]] == ["Idempotency-Key"]
    assert {"201", "400", "409", "413", "415"} <= set(making["responses"])
    assert "application/problem+json" in answer_of(making["responses"]["409"], spec)["content"]
    assert "`conflict` (409)" in making["description"]
    assert "`thing.create`" in making["description"]
    assert spec["paths"]["/api/v1/things"]["delete"]["security"] == []
    assert "content" not in spec["paths"]["/api/v1/things"]["delete"]["responses"]["204"]


def test_media_type_of_other_answers_is_documented(spec):
    assert list(spec["paths"]["/picture"]["get"]["responses"]["200"]["content"]) == ["image/svg+xml"]


def test_shared_schemas_appear_once(spec):
    schemas = spec["components"]["schemas"]

    assert {"Spot", "ThingIn", "ThingOut", "ThingOutPage", "Problem"} <= set(schemas)
    assert not [name for name in schemas if "." in name]
    assert schemas["ThingIn"]["additionalProperties"] is False


def test_different_structs_of_one_name_stay_separate(serve):
    def place(fields):
        return msgspec.defstruct("Place", fields)

    def resource(name, fields):
        answer = msgspec.defstruct(name, [("place", place(fields))])

        class Resource:
            @endpoint(permission="public", response=answer)
            def on_get(self, req, resp): ...

        return type(name + "s", (Resource,), {})()

    api = serve({"/a": resource("Inn", [("beds", int)]), "/b": resource("Bar", [("stools", int)])})
    schemas = api.get("/api/v1/openapi.json").json["components"]["schemas"]

    assert set(schemas["Inn.Place"]["properties"]) == {"beds"}
    assert set(schemas["Bar.Place"]["properties"]) == {"stools"}


def shown_in(**fields):
    """Return the schemas of the document of an endpoint that answers with a struct of these fields."""
    app = App()
    answer = msgspec.defstruct("Answer", list(fields.items()))

    class Resource:
        @endpoint(permission="public", response=answer)
        def on_get(self, req, resp): ...

    app.add_route("/answer", Resource())
    return document(app)["components"]["schemas"]


Shape = Annotated[Literal["round", "square"], enumeration("Shape", "The shape of a thing.")]


def test_named_enumeration_is_one_schema_with_a_description_per_use():
    other = Annotated[Shape, msgspec.Meta(description="The shape it had before.")]

    schemas = shown_in(shape=Shape, before=other | None, all=list[Shape])

    reference = {"$ref": "#/components/schemas/Shape"}
    assert schemas["Shape"]["enum"] == ["round", "square"]
    assert schemas["Shape"]["type"] == "string"
    assert schemas["Shape"]["description"] == "The shape of a thing."
    assert schemas["Answer"]["properties"]["shape"] == reference
    assert schemas["Answer"]["properties"]["all"]["items"] == reference
    assert schemas["Answer"]["properties"]["before"]["anyOf"][0] == reference | {
        "description": "The shape it had before."
    }


@pytest.mark.parametrize(
    "other", [enumeration("Shape", "Another meaning."), enumeration("Answer", "The name of the struct.")]
)
def test_two_types_of_one_enumeration_name_are_refused(other):
    with pytest.raises(TypeError, match="rename one"):
        shown_in(shape=Shape, other=Annotated[Literal["round"], other])


def test_unchanged_document_returns_304(serve):
    api = serve({})
    tag = api.get("/api/v1/openapi.json").headers["etag"]

    assert api.get("/api/v1/openapi.json", headers={"If-None-Match": tag}).status_code == 304
