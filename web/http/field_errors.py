"""Find every invalid field of a body or query that msgspec has refused.

msgspec stops at the first invalid field. It decides what is valid; this module finds the other fields by walking
through the parsed JSON with the types that msgspec reads from the annotations. It runs only after a refusal.
"""

import re
from collections.abc import Iterator
from typing import Any

from msgspec import inspect

from models.core.errors import FieldError
from models.core.messages import NORMALISE, REASON
from web.http import reasons

MAX_NAME = 80
"""Maximum length of a name that the client chose within a path, in characters."""


def field_errors(info: inspect.Type, value: Any, path: str = "") -> Iterator[FieldError]:
    """Yield each invalid field of a JSON value, at most one reason for each.

    Args:
        info: the type that the value should have (`msgspec.inspect.type_info`).
        value: parsed JSON.
        path: path of the value, such as `items[2]`; empty for the whole body.
    """
    options = _options(info)
    fitting = [option for option in options if _accepts(_bare(option), value)]
    if not fitting:
        yield _error(path, reasons.wrong_kind([_bare(option) for option in options]))
        return
    chosen = fitting[0] if len(fitting) == 1 else _by_tag(fitting, value)
    if chosen is None:
        yield _unknown_tag(fitting, value, path)
        return
    bare = _bare(chosen)
    match bare:
        case inspect.StructType():
            yield from _of_struct(bare, value, path)
        case inspect.CollectionType() | inspect.TupleType():
            yield from _of_list(bare, value, path)
        case inspect.DictType():
            yield from _of_dict(bare, value, path)
        case _:
            if reason := _of_scalar(chosen, value):
                yield _error(path, reason)


def join(path: str, name: str) -> str:
    """Return the path of a member of an object."""
    name = name[:MAX_NAME] or '""'
    return f"{path}.{name}" if path else name


def _error(path: str, reason: str) -> FieldError:
    return FieldError(path or "body", reason)


def _options(info: inspect.Type) -> list[inspect.Type]:
    """Return the members of a union with their metadata; of another type, itself."""
    bare = _bare(info)
    if isinstance(bare, inspect.UnionType):
        return [option for member in bare.types for option in _options(member)]
    return [info]


def _bare(info: inspect.Type) -> inspect.Type:
    while isinstance(info, inspect.Metadata):
        info = info.type
    return info


def _metadata(info: inspect.Type) -> tuple[dict[str, Any], list[Any]]:
    """Return `extra` and the examples of a type's metadata. The innermost ones count: a use may only describe it."""
    extra: dict[str, Any] = {}
    examples: list[Any] = []
    while isinstance(info, inspect.Metadata):
        extra |= info.extra or {}
        examples = (info.extra_json_schema or {}).get("examples", examples)
        info = info.type
    return extra, examples


def _accepts(info: inspect.Type, value: Any) -> bool:
    """Return whether a value has the JSON type of `info`."""
    match info:
        case inspect.AnyType() | inspect.RawType():
            return True
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return type(value) is int
        case inspect.FloatType():
            return type(value) in (int, float)
        case inspect.LiteralType() | inspect.EnumType():
            return type(value) in {type(allowed) for allowed in reasons.values_of(info)}
        case inspect.CollectionType() | inspect.TupleType():
            return isinstance(value, list)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.DecimalType():
            return isinstance(value, str) or type(value) in (int, float)
    return isinstance(value, str)


def _by_tag(fitting: list[inspect.Type], value: Any) -> inspect.Type | None:
    """Return the type that a value of a union has: of several structs, the one that its tag names, or None."""
    structs = [bare for option in fitting if isinstance(bare := _bare(option), inspect.StructType)]
    if len(structs) < 2:
        return fitting[0]
    return next((struct for struct in structs if value.get(struct.tag_field) == struct.tag), None)


def _unknown_tag(fitting: list[inspect.Type], value: dict[str, Any], path: str) -> FieldError:
    structs = [bare for option in fitting if isinstance(bare := _bare(option), inspect.StructType)]
    name = str(structs[0].tag_field)
    if name not in value:
        return FieldError(join(path, name), reasons.REQUIRED)
    return FieldError(join(path, name), reasons.wrong_kind([inspect.LiteralType(tuple(each.tag for each in structs))]))


def _of_struct(info: inspect.StructType, value: dict[str, Any], path: str) -> Iterator[FieldError]:
    known = {field.encode_name for field in info.fields}
    if info.tag_field is not None:
        known.add(info.tag_field)
        if value.get(info.tag_field, info.tag) != info.tag:
            yield _unknown_tag([info], value, path)
    for field in info.fields:
        here = join(path, field.encode_name)
        if field.encode_name in value:
            yield from field_errors(field.type, value[field.encode_name], here)
        elif field.required:
            yield FieldError(here, reasons.REQUIRED)
    if info.forbid_unknown_fields:
        for name in value:
            if name not in known:
                yield FieldError(join(path, name), reasons.UNKNOWN_FIELD)


def _of_list(info: inspect.CollectionType | inspect.TupleType, value: list[Any], path: str) -> Iterator[FieldError]:
    if isinstance(info, inspect.TupleType):
        types, length = info.item_types, len(info.item_types)
        reason = reasons.of_items(length, length, len(value))
    else:
        types = (info.item_type,) * len(value)
        reason = reasons.of_items(info.min_length, info.max_length, len(value))
    if reason:
        yield _error(path, reason)
    for index, (kind, item) in enumerate(zip(types, value, strict=False)):
        yield from field_errors(kind, item, f"{path}[{index}]")


def _of_dict(info: inspect.DictType, value: dict[str, Any], path: str) -> Iterator[FieldError]:
    if reason := reasons.of_items(info.min_length, info.max_length, len(value)):
        yield _error(path, reason)
    for name, item in value.items():
        here = join(path, name)
        wrong = list(field_errors(info.key_type, name, here)) if _accepts(_bare(info.key_type), name) else []
        yield from wrong or field_errors(info.value_type, item, here)


def _of_scalar(info: inspect.Type, value: Any) -> str | None:
    """Return the reason why a value of the right JSON type is invalid, or None."""
    bare = _bare(info)
    match bare:
        case inspect.IntType() | inspect.FloatType():
            return reasons.of_number(bare, value)
        case inspect.LiteralType() | inspect.EnumType():
            return None if value in reasons.values_of(bare) else reasons.wrong_kind([bare])
        case inspect.StrType():
            return _of_text(info, bare, value)
    if isinstance(value, str) and not reasons.has_format(bare, value):
        return reasons.wrong_kind([bare])
    return None


def _of_text(info: inspect.Type, bare: inspect.StrType, text: str) -> str | None:
    extra, examples = _metadata(info)
    if reason := reasons.of_characters(bare.min_length, bare.max_length, len(text)):
        return reason
    if bare.pattern is not None and not re.search(bare.pattern, text):
        return extra.get(REASON) or reasons.of_pattern(examples)
    if rule := extra.get(NORMALISE):
        try:
            rule(text)
        except ValueError as error:
            return error.args[0] if error.args else reasons.GENERAL
    return None
