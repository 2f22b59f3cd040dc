"""Move enumerated types with a name into the components of the document (`models.core.enumerations`)."""

from typing import Any

from models.core.enumerations import MEANING
from web.openapi.schemas import SCHEMAS

_OF_USES = ("default", "examples")


def share_enumerations(spec: dict[str, Any]) -> None:
    """Replace each named enumeration by a reference to its component, with the description of the use.

    Raises:
        TypeError: two types have the same name and other values or meanings.
    """
    found: dict[str, dict[str, Any]] = {}
    _replace(spec, found)
    for name, schema in found.items():
        if spec["components"]["schemas"].setdefault(name, schema) is not schema:
            raise TypeError(f"`{name}` names an enumeration and a struct: rename one of them.")


def complete_enumerations(value: Any) -> None:
    """Add the missing type of enumerations, and write those of one value as a constant: generators need both."""
    if isinstance(value, dict):
        values = value.get("enum")
        if isinstance(values, list) and all(isinstance(one, str) for one in values):
            value.setdefault("type", "string")
            if len(values) == 1:
                value["const"] = value.pop("enum")[0]
                value.setdefault("description", f"Always `{value['const']}`.")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            complete_enumerations(item)


def _replace(value: Any, found: dict[str, dict[str, Any]]) -> None:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(children):
        if isinstance(child, dict) and MEANING in child:
            value[key] = _reference(child, found)
        else:
            _replace(child, found)


def _reference(use: dict[str, Any], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    name, meaning = use["title"], use[MEANING]
    schema = {"type": "string", "title": name, "description": meaning, "enum": use["enum"]}
    if found.setdefault(name, schema) != schema:
        raise TypeError(f"Two enumerations with different values or meanings have the name `{name}`: rename one.")
    own: dict[str, Any] = {key: use[key] for key in _OF_USES if key in use}
    if use.get("description", meaning) != meaning:
        own["description"] = use["description"]
    return {"$ref": SCHEMAS + name, **own}
