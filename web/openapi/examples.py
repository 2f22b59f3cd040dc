"""Generate examples from schemas, for the further members of problems."""

from typing import Any

Schema = dict[str, Any]

_REFERENCE = "$ref"
_FORMATS = {"uuid": "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f", "date-time": "2026-11-22T18:30:00Z"}
_PLAIN: dict[str, Any] = {
    "string": "text",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "object": {},
    "null": None,
}


def example_of(schema: Schema, schemas: dict[str, Schema]) -> Any:
    """Return a valid value: an object with its required fields, or with one field if none is required.

    Args:
        schema: of a member or a part of one.
        schemas: the components of the document, to which it may refer.
    """
    if _given(schema):
        return _given(schema)[0]
    if _REFERENCE in schema:
        return example_of(schemas[schema[_REFERENCE].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas)
    if "properties" in schema:
        return {name: example_of(schema["properties"][name], schemas) for name in _shown_fields(schema)}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)] if schema.get("items") else []
    return _FORMATS.get(schema.get("format", ""), _PLAIN[schema.get("type", "string")])


def _given(schema: Schema) -> list[Any]:
    """Return the examples of a schema, or its default, constant or enumerated values."""
    if "examples" in schema:
        return list(schema["examples"])
    if schema.get("default"):
        return [schema["default"]]
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _shown_fields(schema: Schema) -> list[str]:
    return schema.get("required") or list(schema["properties"])[:1]
