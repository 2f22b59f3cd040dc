"""The schemas of the OpenAPI document: each there once, under its own name, and as everybody reads them."""

import re
from typing import Any

import msgspec

SCHEMAS = "#/components/schemas/"
_REFERENCE = re.compile(rf'"{SCHEMAS}([^"]+)"')


def share_nested(spec: dict[str, Any]) -> None:
    """`Parent.Child` becomes `Child` where all parents mean the same."""
    schemas = spec["components"]["schemas"]
    meanings: dict[str, set[str]] = {}
    for name, schema in schemas.items():
        meanings.setdefault(_leaf(name), set()).add(_REFERENCE.sub(lambda ref: _leaf(ref[1]), _text(schema)))
    shared = {leaf for leaf, found in meanings.items() if len(found) == 1}
    while apart := {_leaf(name) for name in schemas if _leaf(name) in shared and _leaves(schemas[name]) - shared}:
        shared -= apart
    moved = {name: _leaf(name) for name in schemas if "." in name and _leaf(name) in shared}
    _rewrite(spec, {SCHEMAS + old: SCHEMAS + new for old, new in moved.items()})
    for old, new in moved.items():
        schemas[new] = schemas.pop(old)


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _leaves(schema: Any) -> set[str]:
    return {_leaf(name) for name in _references(schema)}


def _rewrite(value: Any, references: dict[str, str]) -> None:
    if isinstance(value, dict):
        if value.get("$ref") in references:
            value["$ref"] = references[value["$ref"]]
        for item in value.values():
            _rewrite(item, references)
    elif isinstance(value, list):
        for item in value:
            _rewrite(item, references)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _references(value: Any) -> set[str]:
    return set(_REFERENCE.findall(_text(value)))


def keep_used(spec: dict[str, Any]) -> None:
    """Leave out what no operation refers to, nor anything that one does."""
    schemas = spec["components"]["schemas"]
    used: set[str] = set()
    found = _references(spec["paths"])
    while found - used:
        used |= found
        found = set().union(*(_references(schemas[name]) for name in found))
    spec["components"]["schemas"] = {name: schemas[name] for name in sorted(used)}


def add_missing_items(value: Any) -> None:
    """Give every array schema `items`, which client generators demand; `list[Any]` has none in msgspec's schema."""
    if isinstance(value, dict):
        if value.get("type") == "array" and "prefixItems" not in value:
            value.setdefault("items", {})
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            add_missing_items(item)


def with_plain_patterns(spec: dict[str, Any]) -> dict[str, Any]:
    """Python's `$` lets a newline pass and ours forbid that; elsewhere it doesn't."""
    plain: dict[str, Any] = msgspec.json.decode(_text(spec).replace(r'$(?!\\n)"', '$"'))
    return plain
