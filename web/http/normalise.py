"""Normalise decoded texts to the stored form.

A field's type names its rule: `Annotated[str, msgspec.Meta(extra={NORMALISE: rule})]`. A rule takes the text. It
returns the text to use instead, or raises `ValueError` with the reason why the text is refused.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import inspect

from models.core.errors import Invalid
from models.core.messages import NORMALISE

Step = Callable[[Any, str], Any]
"""Function of a decoded value and its path; returns the value to use instead."""


def normaliser(kind: Any) -> Callable[[Any], Any]:
    """Return the function that normalises decoded values of a type. The function raises `Invalid` with the field."""
    step = None if kind is None else _step(inspect.type_info(kind))
    return (lambda value: value) if step is None else lambda value: step(value, "")


def _step(info: inspect.Type, within: frozenset[type] = frozenset()) -> Step | None:
    """Return the step of a type; None without a rule. Structs that contain themselves (`within`) have no rules."""
    match info:
        case inspect.Metadata(extra=dict(extra)) if NORMALISE in extra:
            return _by_rule(extra[NORMALISE])
        case inspect.Metadata():
            return _step(info.type, within)
        case inspect.UnionType():
            steps = [step for option in info.types if (step := _step(option, within))]
            return _each(steps) if steps else None
        case inspect.StructType() if info.cls not in within:
            inner = within | {info.cls}
            fields = [(each.name, each.encode_name, _step(each.type, inner)) for each in info.fields]
            known = [(name, shown, step) for name, shown, step in fields if step]
            return _in_struct(info.cls, known) if known else None
        case inspect.ListType():
            step = _step(info.item_type, within)
            return _in_list(step) if step else None
        case inspect.DictType():
            step = _step(info.value_type, within)
            return _in_object(step) if step else None
    return None


def _by_rule(rule: Callable[[str], str | None]) -> Step:
    def apply(value: Any, path: str) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return rule(value)
        except ValueError as error:
            raise Invalid(path or "body", error.args[0]) from None

    return apply


def _each(steps: list[Step]) -> Step:
    def apply(value: Any, path: str) -> Any:
        for step in steps:
            value = step(value, path)
        return value

    return apply


def _in_struct(cls: type[msgspec.Struct], fields: list[tuple[str, str, Step]]) -> Step:
    def apply(value: Any, path: str) -> Any:
        if isinstance(value, cls):
            for name, shown, step in fields:
                here = f"{path}.{shown}" if path else shown
                msgspec.structs.force_setattr(value, name, step(getattr(value, name), here))
        return value

    return apply


def _in_list(step: Step) -> Step:
    def apply(value: Any, path: str) -> Any:
        if not isinstance(value, list):
            return value
        return [step(item, f"{path}[{index}]") for index, item in enumerate(value)]

    return apply


def _in_object(step: Step) -> Step:
    def apply(value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: step(member, f"{path}.{name}") for name, member in value.items()}

    return apply
