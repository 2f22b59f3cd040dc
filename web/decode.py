"""From bytes to validated structs: strict JSON (RFC 8259, I-JSON's restrictions) and query strings.

What isn't JSON at all is 400 `malformed_json`; JSON that isn't what was asked for is 422 `invalid` and names the
field. Two parsers look at every body: the standard library's tells duplicate keys, msgspec's validates.
"""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from models.errors import Invalid, Malformed, Problem
from web.schema_errors import invalid

MAX_DEPTH = 32
MAX_PARAMETERS = 64
MAX_PATH = 200
"""Letters that the name of a field in an answer has at most."""

INT64 = range(-(2**63), 2**63)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"The key {json.dumps(twice[:80])} occurs twice in one object.")
    return found


class _TooLong(Exception):
    """An integer that a 64-bit column can't hold."""


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

    def decode(self, raw: bytes) -> Any:
        """The validated value in `raw`.

        Raises:
            Malformed: it is not strict JSON (encoding, syntax, duplicate keys, depth, NUL, lone surrogates).
            Invalid: it is JSON, and not of the declared type.
        """
        tree = _parse(raw)
        _inspect(raw, tree)
        try:
            return self._decoder.decode(raw)
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
    """Look for what both parsers let through, and only where the bytes leave it possible."""
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
    """Every key and every value that is neither object nor array, with the path to it. Its depth is bounded by now."""
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
    """Refuse what no database column holds."""
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
    """A path as an answer can say it, whatever keys the client has made up."""
    return path[:MAX_PATH].encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def _too_long(raw: bytes) -> Problem:
    """Says which field it is, which the parser's hook can't know."""
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
    """Decodes query strings into one struct; without a struct, no parameter is known."""

    def __init__(self, kind: type[msgspec.Struct] | None) -> None:
        self._kind = kind
        fields = msgspec.structs.fields(kind) if kind is not None else ()
        self._known = {field.encode_name: _is_list(field.type) for field in fields}

    def decode(self, query_string: str) -> Any:
        """The validated struct; None where no struct is declared.

        Raises:
            Invalid: a parameter is unknown, repeated, not UTF-8, has a NUL or the wrong type; names it.
        """
        values = self._collect(query_string) if query_string else {}
        if self._kind is None:
            return None
        try:
            struct = msgspec.convert(values, self._kind, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(error) from None
        if values:
            _require_finite(struct)
        return struct

    def _collect(self, query_string: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in _pairs(query_string):
            if name not in self._known:
                raise Invalid(name[:80] or "query", "unknown parameter")
            if self._known[name]:
                values.setdefault(name, []).append(value)
            elif name in values:
                raise Invalid(name, "given more than once")
            else:
                values[name] = value
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


def _require_finite(struct: msgspec.Struct) -> None:
    """What "nan", "inf" and twenty digits turn into is of the right type, and still nothing to count with."""
    for name in struct.__struct_fields__:
        value = getattr(struct, name)
        for item in value if isinstance(value, list) else (value,):
            if type(item) is int and item not in INT64:
                raise Invalid(name, "integer does not fit into 64 bits")
            if type(item) is float and not -float("inf") < item < float("inf"):
                raise Invalid(name, "not a finite number")


def _is_list(kind: Any) -> bool:
    info = msgspec.inspect.type_info(kind)
    options = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return any(isinstance(option, msgspec.inspect.CollectionType) for option in options)
