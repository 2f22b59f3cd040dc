"""Post-process the schemas of the OpenAPI document: unique names, no unused ones, standard patterns."""

import inspect
import re
from typing import Any

import msgspec

SCHEMAS = "#/components/schemas/"
_REFERENCE = re.compile(rf'"{SCHEMAS}([^"]+)"')


def share_nested(spec: dict[str, Any]) -> None:
    """Rename `Parent.Child` to `Child` where all parents have an equal child."""
    schemas = spec["components"]["schemas"]
    meanings: dict[str, set[str]] = {}
    for name, schema in schemas.items():
        meanings.setdefault(_leaf(name), set()).add(_REFERENCE.sub(lambda ref: _leaf(ref[1]), _text(schema)))
    shared = {leaf for leaf, found in meanings.items() if len(found) == 1}
    while apart := {_leaf(name) for name in schemas if _leaf(name) in shared and _leaves(schemas[name]) - shared}:
        shared -= apart
    moved = {name: _leaf(name) for name in schemas if "." in name and _leaf(name) in shared}
    rewrite(spec, {SCHEMAS + old: SCHEMAS + new for old, new in moved.items()})
    for old, new in moved.items():
        schemas[new] = schemas.pop(old)


def title_by_name(spec: dict[str, Any]) -> None:
    """Set each schema's title to its name: some generators name classes by titles, and drop two with equal ones."""
    for name, schema in spec["components"]["schemas"].items():
        schema["title"] = name


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _leaves(schema: Any) -> set[str]:
    return {_leaf(name) for name in references(schema)}


def rewrite(value: Any, moved: dict[str, str]) -> None:
    """Replace the references within a value that `moved` has as keys."""
    if isinstance(value, dict):
        if value.get("$ref") in moved:
            value["$ref"] = moved[value["$ref"]]
        if "propertyName" in value and isinstance(mapping := value.get("mapping"), dict):
            value["mapping"] = {tag: moved.get(name, name) for tag, name in mapping.items()}
        for item in value.values():
            rewrite(item, moved)
    elif isinstance(value, list):
        for item in value:
            rewrite(item, moved)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def references(value: Any) -> set[str]:
    """Return the names of the components that a value refers to."""
    return set(_REFERENCE.findall(_text(value)))


def keep_used(spec: dict[str, Any]) -> None:
    """Remove schemas that no operation refers to, directly or through other schemas."""
    schemas = spec["components"]["schemas"]
    used = closure([spec["paths"], spec["components"].get("responses", {})], schemas)
    spec["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}


def closure(value: Any, schemas: dict[str, Any]) -> set[str]:
    """Return the names of the components that a value refers to, directly or through other components."""
    used: set[str] = set()
    found = references(value)
    while found - used:
        used |= found
        found = set().union(*(references(schemas[name]) for name in found))
    return used


def add_missing_items(value: Any) -> None:
    """Add `items` to array schemas without it: client generators need it; msgspec omits it for `list[Any]`."""
    if isinstance(value, dict):
        if value.get("type") == "array" and "prefixItems" not in value:
            value.setdefault("items", {})
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            add_missing_items(item)


def dedent_descriptions(spec: dict[str, Any]) -> None:
    """Remove the indentation of docstrings: Markdown shows indented lines as code."""
    _dedent(spec["components"]["schemas"])


def _dedent(value: Any) -> None:
    if isinstance(value, dict):
        if isinstance(value.get("description"), str):
            value["description"] = inspect.cleandoc(value["description"])
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            _dedent(item)


def with_plain_patterns(spec: dict[str, Any]) -> dict[str, Any]:
    """Remove the look-ahead after `$` from patterns: only Python's `$` allows a final newline."""
    plain: dict[str, Any] = msgspec.json.decode(_text(spec).replace(r'$(?!\\n)"', '$"'))
    return plain
