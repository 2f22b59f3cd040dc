"""Fit schemas to their direction: requests state what is required, answers what is always present.

A struct describes both directions with one definition: its defaults fill in what a request leaves out, and an answer
always contains them. Client generators read `default` and `required` differently, so the document says it explicitly.
"""

from copy import deepcopy
from typing import Any

from web.openapi.schemas import SCHEMAS, closure, references, rewrite

Schema = dict[str, Any]

IN = "In"
"""Suffix of the request's schema where a struct is part of requests and answers."""


def separate_directions(spec: dict[str, Any]) -> None:
    """Make optional members of requests optional, and members of answers that are always present required.

    A component of both directions gets a second schema with the suffix `In` for requests, unless both are equal.
    """
    components = spec["components"]["schemas"]
    bodies = [body for one in _operations(spec) if (body := one.get("requestBody"))]
    answers = [one["responses"] for one in _operations(spec)]
    sent, received = closure(bodies, components), closure(answers, components)
    both = _differing(sent & received, components)
    for name in both:
        if name + IN in components:
            raise TypeError(f"`{name}` is part of requests and answers, and `{name}{IN}` exists: rename one of them.")
        components[name + IN] = deepcopy(components[name])
    moved = {SCHEMAS + name: SCHEMAS + name + IN for name in both}
    requests = {name + IN if name in both else name for name in sent}
    for part in [*bodies, *(components[name] for name in requests)]:
        rewrite(part, moved)
    for name in requests:
        _as_request(components[name])
    for name in received - requests:
        _as_answer(components[name])


def _operations(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for item in spec["paths"].values() for operation in item.values()]


def _differing(names: set[str], components: dict[str, Schema]) -> set[str]:
    """Return the names of schemas that differ by direction, themselves or in their parts."""
    found = {name for name in names if _differs(components[name])}
    while more := {name for name in names - found if references(components[name]) & found}:
        found |= more
    return found


def _differs(schema: Schema) -> bool:
    members = schema.get("properties", {}).values()
    return schema.get("additionalProperties") is False or any("default" in member for member in members)


def _as_request(schema: Schema) -> None:
    """Move defaults into descriptions, unless those state them: generators make members with a default required."""
    for member in schema.get("properties", {}).values():
        default, described = member.pop("default", None), member.get("description", "")
        if default is not None and not isinstance(default, dict) and "Default:" not in described:
            member["description"] = f"{described} Default: `{_shown(default)}`.".strip()


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_answer(schema: Schema) -> None:
    """Require the members that the server always sends: all except those that can be unset, which have no default."""
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]
    for name, member in schema.get("properties", {}).items():
        if "default" in member:
            del member["default"]
            schema["required"] = [*schema.get("required", []), name]
