"""Decode bytes to validated structs: strict JSON (RFC 8259) and query strings.

Invalid JSON is 400 `malformed_json`. Valid JSON of another type, or with a text or number that no column holds, is 422
`invalid`, which names every such field. NUL and lone surrogates are such texts: the grammar of JSON allows their
escapes, so they are not `malformed_json`.

Two parsers read every body: the standard library's finds duplicate keys, msgspec's validates. The search for all
invalid fields (`web.http.field_errors`) runs only after a refusal.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, NoReturn
from urllib.parse import parse_qsl

import msgspec

from models.core.errors import MAX_ERRORS, FieldError, Invalid, Malformed
from models.core.messages import Message
from web.http import reasons
from web.http.field_errors import field_errors, join
from web.http.normalise import normaliser
from web.http.schema_errors import field_of

MAX_DEPTH = 32
MAX_PARAMETERS = 64
MAX_PATH = 200
"""Maximum length of a field name in an answer, in characters."""

INT64 = range(-(2**63), 2**63)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(Message("The key {key} occurs twice in one object.", key=json.dumps(twice[:80])))
    return found


class _TooLong(Exception):
    """An integer of more than 64 bits, which no column holds."""


def _int64(text: str) -> int:
    number = int(text)
    if number not in INT64:
        raise _TooLong
    return number


def _no_constant(name: str) -> NoReturn:
    raise Malformed(Message("{name} is no number in JSON.", name=name))


_strict = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_int64, parse_constant=_no_constant)
_with_long_integers = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)


class Body:
    """Decodes request bodies into one type."""

    def __init__(self, kind: Any) -> None:
        self._type = msgspec.inspect.type_info(kind)
        self._decoder = msgspec.json.Decoder(kind)
        self._normalise = normaliser(kind)

    def decode(self, raw: bytes) -> Any:
        """Return the validated value of a body.

        Raises:
            Malformed: it is not strict JSON (encoding, syntax, duplicate keys, depth).
            Invalid: it is JSON, but not of the declared type, or not storable. Names every invalid field.
        """
        text = _text(raw)
        try:
            tree = _parse(text, _strict)
        except _TooLong:
            tree = _parse(text, _with_long_integers)
            _require_shallow(raw, tree)
            raise Invalid(errors=self._errors(tree)) from None
        _require_shallow(raw, tree)
        # Only an escape writes NUL or a lone surrogate here. The decoder refuses numbers that are too large.
        if b"\\u" in raw and any(_unstorable(tree)):
            raise Invalid(errors=self._errors(tree))
        try:
            return self._normalise(self._decoder.decode(raw))
        except (msgspec.ValidationError, Invalid) as error:
            raise Invalid(errors=self._errors(tree, error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Malformed("The body is not valid JSON.") from None

    def _errors(self, tree: Any, error: Exception | None = None) -> Iterable[FieldError]:
        """Return all invalid fields of a refused body."""
        unstorable = {found.field: found for found in _unstorable(tree)}
        others = (found for found in field_errors(self._type, tree) if _shown(found.field) not in unstorable)
        return _or_first(_all(unstorable.values(), others), error)


def _all(*found: Iterable[FieldError]) -> list[FieldError]:
    """Return up to one error more than an answer lists, with paths that are safe in an answer."""
    return list(islice((FieldError(_shown(each.field), each.reason) for each in chain(*found)), MAX_ERRORS + 1))


def _or_first(found: list[FieldError], error: Exception | None) -> list[FieldError]:
    """Return the invalid fields; if there are none, the one that the decoder named."""
    if found or error is None:
        return found
    if isinstance(error, Invalid):
        return list(error.values.errors)
    return [FieldError(_shown(field_of(error)), reasons.GENERAL)]  # type: ignore[arg-type]


def _text(raw: bytes) -> str:
    if not raw.strip():
        raise Malformed("The body is empty.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(Message("The body is not UTF-8 (byte {number}).", number=error.start)) from None


def _parse(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        fault = next((plain for start, plain in _SYNTAX_ERRORS.items() if error.msg.startswith(start)), _OTHER_ERROR)
        place = {"line": error.lineno, "column": error.colno}
        raise Malformed(Message("Line {line}, column {column}: {fault}.", **place, fault=fault)) from None
    except RecursionError:
        raise Malformed(TOO_DEEP) from None
    except ValueError:  # an integer of more digits than Python converts
        raise Malformed("A number has too many digits.") from None


def _require_shallow(raw: bytes, tree: Any) -> None:
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(tree) > MAX_DEPTH:
        raise Malformed(TOO_DEEP)


_SYNTAX_ERRORS = {
    "Expecting value": Message("a value is expected"),
    "Expecting property name": Message("a name in double quotes is expected"),
    "Expecting ':'": Message("a colon is expected"),
    "Expecting ','": Message("a comma is expected"),
    "Extra data": Message("nothing is expected after the value"),
    "Unterminated string": Message("the text that begins here does not end"),
    "Invalid control character": Message("a control character must be escaped"),
    "Invalid \\": Message("this escape does not exist"),
    "Unexpected UTF-8 BOM": Message("a byte order mark is not allowed"),
}
"""Plain words for the messages of the standard library's parser, by their beginning."""

_OTHER_ERROR = Message("the syntax is not valid")

TOO_DEEP = Message("The body is nested deeper than {levels} levels.", levels=MAX_DEPTH)


def _depth(tree: Any) -> int:
    depth, level = 0, [tree]
    while level := [item for item in level if isinstance(item, (dict, list))]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key and each scalar with its path. Recursion is safe: the depth was checked before."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            here = join(path, key)
            yield here, key
            yield from _leaves(value, here)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{index}]")
    else:
        yield path, tree


def _unstorable(tree: Any) -> Iterator[FieldError]:
    """Yield each text and number that no database column holds, and each key with such a text."""
    for path, leaf in _leaves(tree):
        if reason := _fault(leaf):
            yield FieldError(_shown(path), reason)


def _fault(leaf: Any) -> str | None:
    if isinstance(leaf, str):
        return _fault_of_text(leaf)
    if type(leaf) is int and leaf not in INT64:
        return reasons.TOO_LONG_INTEGER
    return reasons.TOO_LARGE if isinstance(leaf, float) and math.isinf(leaf) else None


def _fault_of_text(text: str) -> str | None:
    if "\x00" in text:
        return reasons.NUL
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return reasons.SURROGATE
    return None


def _shown(path: str) -> str:
    """Return a path in a form that is safe in an answer: it contains keys that the client chose."""
    return path[:MAX_PATH].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


class Query:
    """Decodes query strings into one struct; without a struct, every parameter is unknown."""

    def __init__(self, kind: type[msgspec.Struct] | None) -> None:
        self._kind = kind
        self._type = msgspec.inspect.type_info(kind)
        self._normalise = normaliser(kind)
        fields = msgspec.structs.fields(kind) if kind is not None else ()
        self._known = {field.encode_name: _Parameter(field.type) for field in fields}

    def decode(self, query_string: str) -> Any:
        """Return the validated struct; None if no struct is declared.

        Raises:
            Invalid: a parameter is unknown, repeated, not UTF-8, has a NUL or the wrong type. Names each of them.
        """
        values, errors = self._collect(query_string) if query_string else ({}, {})
        if self._kind is None and not errors:
            return None
        if not errors:
            try:
                return self._normalise(msgspec.convert(values, self._kind))
            except (msgspec.ValidationError, Invalid) as error:
                raise Invalid(errors=self._errors(values, errors, error)) from None
        raise Invalid(errors=self._errors(values, errors))

    def _errors(
        self, values: dict[str, Any], errors: dict[str, FieldError], error: Exception | None = None
    ) -> Iterable[FieldError]:
        """Return all invalid parameters: those that could not be read, then those with an invalid value."""
        others = field_errors(self._type, values) if self._kind is not None else ()
        rest = (found for found in others if found.field.partition("[")[0] not in errors)
        return _or_first(_all(errors.values(), rest), error)

    def _collect(self, query_string: str) -> tuple[dict[str, Any], dict[str, FieldError]]:
        """Return the values by parameter, and an error for each parameter that can't be read."""
        values: dict[str, Any] = {}
        errors: dict[str, FieldError] = {}
        for name, text in _pairs(query_string):
            parameter = self._known.get(name)
            value = parameter.read(text) if parameter else text
            reason = _fault(name) or _fault(value)
            if parameter is None:
                errors.setdefault(name, FieldError(_parameter_name(name), reason or reasons.UNKNOWN_PARAMETER))
            elif reason:
                errors.setdefault(name, FieldError(name, reason))
            elif parameter.is_list:
                values.setdefault(name, []).append(value)
            elif name in values:
                errors.setdefault(name, FieldError(name, reasons.REPEATED))
            else:
                values[name] = value
        return values, errors


def _parameter_name(name: str) -> str:
    """Return the name of an unknown parameter as a field of an answer; `query` for an empty name."""
    return join("", name.replace("\x00", "")) if name else "query"


def _pairs(query_string: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise Invalid("query", reasons.NOT_UTF8) from None
    except ValueError:
        raise Invalid("query", Message("must have at most {most} parameters", most=MAX_PARAMETERS)) from None


class _Parameter:
    """Converts the texts of one parameter.

    Numbers are written as in JSON, and no text is null. msgspec's lax mode is not used: it reads `null` as an absent
    value, `1e2` as an integer and `0` as a date in 1970.
    """

    def __init__(self, kind: Any) -> None:
        options = _options(msgspec.inspect.type_info(kind))
        self.is_list = any(isinstance(option, msgspec.inspect.CollectionType) for option in options)
        scalars = [scalar for option in options for scalar in _options(getattr(option, "item_type", option))]
        self._is_integer = any(isinstance(scalar, msgspec.inspect.IntType) for scalar in scalars)
        self._is_number = any(isinstance(scalar, msgspec.inspect.FloatType) for scalar in scalars)
        self._is_boolean = any(isinstance(scalar, msgspec.inspect.BoolType) for scalar in scalars)

    def read(self, text: str) -> Any:
        """Return the number or boolean that a text spells. Other texts are returned unchanged and validated later."""
        if self._is_integer and _INTEGER.fullmatch(text):
            return int(text)
        if self._is_number and _NUMBER.fullmatch(text):
            return float(text)
        return text == "true" if self._is_boolean and text in ("true", "false") else text


def _options(info: Any) -> list[Any]:
    """Return the member types of a union, without metadata."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _options(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return [option for each in info.types for option in _options(each)]
    return [info]


# At most 100 digits: `int` raises ValueError for more than 4,300.
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{,99})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
