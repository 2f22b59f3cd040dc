"""Decode bytes to validated structs: strict JSON (RFC 8259 with the restrictions of I-JSON) and query strings.

Invalid JSON is 400 `malformed_json`. Valid JSON of another type is 422 `invalid`, which names the field.
Two parsers read every body: the standard library's finds duplicate keys, msgspec's validates.
"""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from models.core.errors import Invalid, Malformed, Problem
from web.http.normalise import normaliser
from web.http.schema_errors import invalid

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
        raise Malformed(f"The key {json.dumps(twice[:80])} occurs twice in one object.")
    return found


class _TooLong(Exception):
    """An integer of more than 64 bits, which no column holds."""


def _int64(text: str) -> int:
    number = int(text)
    if number not in INT64:
        raise _TooLong
    return number


_syntax = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_int64)


class Body:
    """Decodes request bodies into one type."""

    def __init__(self, kind: Any) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._normalise = normaliser(kind)

    def decode(self, raw: bytes) -> Any:
        """Return the validated value of a body.

        Raises:
            Malformed: it is not strict JSON (encoding, syntax, duplicate keys, depth, NUL, lone surrogates).
            Invalid: it is JSON, but not of the declared type.
        """
        tree = _parse(raw)
        _inspect(raw, tree)
        try:
            return self._normalise(self._decoder.decode(raw))
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(str(error)[:200]) from None


def _parse(raw: bytes) -> Any:
    if not raw.strip():
        raise Malformed("The body is empty.")
    try:
        return _syntax.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Malformed(f"The body is not UTF-8 (byte {error.start}).") from None
    except json.JSONDecodeError as error:
        raise Malformed(f"{error.msg} (line {error.lineno}, column {error.colno}).") from None
    except RecursionError:
        raise Malformed(f"Nested deeper than {MAX_DEPTH} levels.") from None
    except _TooLong:
        raise _too_long(raw) from None
    except ValueError:  # an integer of more digits than Python converts
        raise Malformed("A number has too many digits.") from None


def _inspect(raw: bytes, tree: Any) -> None:
    """Refuse excessive depth, NUL and lone surrogates, which both parsers accept."""
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _depth(tree) > MAX_DEPTH:
        raise Malformed(f"Nested deeper than {MAX_DEPTH} levels.")
    if b"\\u" in raw:
        _inspect_strings(tree)


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
            here = f"{path}.{key}" if path else key
            yield here, key
            yield from _leaves(value, here)
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _leaves(value, f"{path}[{index}]")
    else:
        yield path, tree


def _inspect_strings(tree: Any) -> None:
    """Refuse texts that no database column holds."""
    for path, text in _leaves(tree):
        if isinstance(text, str) and (fault := _fault(text)):
            field = _shown(path)
            raise Malformed(f"{field}: {fault}", errors=[{"field": field, "reason": fault}])


def _fault(text: str) -> str | None:
    if "\x00" in text:
        return "contains NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "contains a lone surrogate"
    return None


def _shown(path: str) -> str:
    """Return a path in a form that is safe in an answer: it contains keys that the client chose."""
    return path[:MAX_PATH].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _too_long(raw: bytes) -> Problem:
    """Return the problem for a too long integer, with its field. The parser's hook does not get the field."""
    try:
        tree = json.loads(raw)
    except (ValueError, RecursionError):
        return Malformed("A number has too many digits.")
    if _depth(tree) > MAX_DEPTH:
        return Malformed(f"Nested deeper than {MAX_DEPTH} levels.")
    numbers = ((path, leaf) for path, leaf in _leaves(tree) if type(leaf) is int)
    path = next((path for path, number in numbers if number not in INT64), "body")
    return Invalid(_shown(path), "integer does not fit into 64 bits")


class Query:
    """Decodes query strings into one struct; without a struct, every parameter is unknown."""

    def __init__(self, kind: type[msgspec.Struct] | None) -> None:
        self._kind = kind
        self._normalise = normaliser(kind)
        fields = msgspec.structs.fields(kind) if kind is not None else ()
        self._known = {field.encode_name: _Parameter(field.encode_name, field.type) for field in fields}

    def decode(self, query_string: str) -> Any:
        """Return the validated struct; None if no struct is declared.

        Raises:
            Invalid: a parameter is unknown, repeated, not UTF-8, has a NUL or the wrong type; names it.
        """
        values = self._collect(query_string) if query_string else {}
        if self._kind is None:
            return None
        try:
            return self._normalise(msgspec.convert(values, self._kind))
        except msgspec.ValidationError as error:
            raise invalid(error) from None

    def _collect(self, query_string: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, text in _pairs(query_string):
            parameter = self._known.get(name)
            if parameter is None:
                raise Invalid(name[:80] or "query", "unknown parameter")
            if parameter.is_list:
                values.setdefault(name, []).append(parameter.read(text))
            elif name in values:
                raise Invalid(name, "given more than once")
            else:
                values[name] = parameter.read(text)
        return values


def _pairs(query_string: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query_string, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise Invalid("query", "not UTF-8") from None
    except ValueError:
        raise Invalid("query", f"more than {MAX_PARAMETERS} parameters") from None
    for name, value in pairs:
        if "\x00" in name or "\x00" in value:
            raise Invalid(name.replace("\x00", "")[:80] or "query", "contains NUL")
    return pairs


class _Parameter:
    """Converts the texts of one parameter.

    Numbers are written as in JSON, and no text is null. msgspec's lax mode is not used: it reads `null` as an absent
    value, `1e2` as an integer and `0` as a date in 1970.
    """

    def __init__(self, name: str, kind: Any) -> None:
        self._name = name
        options = _options(msgspec.inspect.type_info(kind))
        self.is_list = any(isinstance(option, msgspec.inspect.CollectionType) for option in options)
        scalars = [scalar for option in options for scalar in _options(getattr(option, "item_type", option))]
        self._is_integer = any(isinstance(scalar, msgspec.inspect.IntType) for scalar in scalars)
        self._is_number = any(isinstance(scalar, msgspec.inspect.FloatType) for scalar in scalars)
        self._is_boolean = any(isinstance(scalar, msgspec.inspect.BoolType) for scalar in scalars)

    def read(self, text: str) -> Any:
        """Return the number or boolean that a text spells. Other texts are returned unchanged and validated later.

        Raises:
            Invalid: the number is too large.
        """
        if self._is_integer and _INTEGER.fullmatch(text):
            if int(text) not in INT64:
                raise Invalid(self._name, "integer does not fit into 64 bits")
            return int(text)
        if self._is_number and _NUMBER.fullmatch(text):
            if float(text) in (float("inf"), -float("inf")):
                raise Invalid(self._name, "number out of range")
            return float(text)
        return text == "true" if self._is_boolean and text in ("true", "false") else text


def _options(info: Any) -> list[Any]:
    """Return the member types of a union, without metadata."""
    if isinstance(info, msgspec.inspect.Metadata):
        return _options(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return [option for each in info.types for option in _options(each)]
    return [info]


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{,99})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
