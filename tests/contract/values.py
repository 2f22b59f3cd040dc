"""Values for attacks on bodies, and functions that build a body with such a value.

Values are JSON texts: Python's encoder can't write most of them.
"""

import json
from collections.abc import Iterator
from typing import Any
from zlib import crc32

Path = tuple[str | int, ...]


class Raw(str):
    """A JSON text that is inserted unchanged."""


NEVER_JSON = {
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
    "leading zero": "01",
    "plus sign": "+1",
    "hex": "0x10",
    "single quotes": "'x'",
    "no quotes": "x",
    "only a comma": ",",
    "trailing comma": "[1,]",
    "comment": "1/**/",
    "raw control character": '"a\nb"',
    "raw NUL": '"a\0b"',
    "bad escape": '"\\x41"',
    "NUL in a key twice": '{"\\u0000": 1, "\\u0000": 2}',
    "surrogate in a key twice": '{"\\udfff": 1, "\\udfff": 2}',
    "same key twice": '{"a": 1, "a": 2}',
    "nested 40 deep": "[" * 40 + "]" * 40,
    "nested 40 deep in objects": '{"a":' * 40 + "1" + "}" * 40,
    "nested without end": "[" * 3000,
    "5000 digits": "9" * 5000,
}
"""Invalid JSON, and JSON that I-JSON (RFC 7493) or a text column excludes."""

NEVER_TEXT = {
    "NUL": '"a\\u0000b"',
    "only NUL": '"\\u0000"',
    "lone surrogate": '"\\ud800"',
    "surrogates in reverse order": '"\\udc00\\ud800"',
    "NUL in a key": '{"a\\u0000": 1}',
    "surrogate in a key": '{"\\udfff": 1}',
}
"""JSON with characters that no text column holds."""

TOO_LARGE = {
    "2**63": str(2**63),
    "-2**63-1": str(-(2**63) - 1),
    "10**30": "1" + "0" * 30,
    "2**63 under a surrogate": '{"\\ud800": ' + str(2**63) + "}",
    "2**63 under NUL": '{"\\u0000": ' + str(2**63) + "}",
    "2**63 under a long key": '{"' + "k" * 5000 + '": ' + str(2**63) + "}",
}
"""Integers of more than 64 bits, also under names that can't be repeated in an answer."""

NUMBERS = {
    "0": "0",
    "-1": "-1",
    "2**31": str(2**31),
    "2**53": str(2**53),
    "2**63-1": str(2**63 - 1),
    "-2**63": str(-(2**63)),
    "-0.0": "-0.0",
    "1e400": "1e400",
    "-1e400": "-1e400",
    "1e308": "1e308",
    "5e-324": "5e-324",
    "1e-400": "1e-400",
    "0.1": "0.1",
}

TEXTS = {
    "empty string": '""',
    "spaces": '"   "',
    "newline": '"a\\nb"',
    "newline at the end": '"a\\n"',
    "10,000 characters": '"' + "x" * 10_000 + '"',
    "emoji": '"👩‍👩‍👧‍👦🏳️‍🌈"',
    "escaped emoji": '"\\ud83d\\ude00"',
    "right to left": '"\u202eabc\u2067שלום"',
    "combining": '"Z' + "\u0335\u0327" * 60 + '"',
    "combining without a letter": '"\u0301"',
    "zero width": '"\u200b\ufeff"',
    "noncharacter": '"\uffff\U0010ffff"',
    "ligature that normalises to 18 letters": '"' + "\ufdfa" * 120 + '"',
    "line separator": '"a\u2028b"',
    "delete character": '"a\x7fb"',
    "C1 control": '"a\x85b"',
    "SQL": '"\'; drop table public.users; --"',
    "format": '"%s %(x)s {0} {x!r} \\\\ $1 :id"',
    "LIKE": '"%_\\\\"',
    "markup": '"<script>alert(1)</script>"',
    "header": '"a\\r\\nSet-Cookie: x=1"',
    "path": '"../../../../etc/passwd"',
    "a number as text": '"1"',
    "nil UUID": '"00000000-0000-0000-0000-000000000000"',
    "unknown UUID": '"0197a000-ffff-7000-8000-ffffffffffff"',
    "UUID in braces": '"{0197a000-0000-7000-8000-000000000001}"',
    "UUID without dashes": '"0197a0000000700080000000000000ff"',
    "year 1 east": '"0001-01-01T00:00:00+23:59"',
    "year 9999 west": '"9999-12-31T23:59:59.999999-23:59"',
    "year 0": '"0000-01-01T00:00:00Z"',
    "leap second": '"2016-12-31T23:59:60Z"',
    "30 February": '"2026-02-30T00:00:00Z"',
    "date without zone": '"2026-01-01T00:00:00"',
    "nanoseconds": '"2026-01-01T00:00:00.123456789Z"',
    "unknown time zone": '"Mars/Olympus"',
    "time zone that is a path": '"../etc/localtime"',
    "time zone of the machine": '"localtime"',
    "address literal": '"a@[127.0.0.1]"',
    "address of 1,000 letters": '"' + "a" * 990 + '@x.example"',
}

OTHERS = {
    "null": "null",
    "true": "true",
    "false": "false",
    "empty object": "{}",
    "unknown object": '{"unexpected": 1}',
    "prototype": '{"__proto__": {"admin": true}}',
    "empty array": "[]",
    "array of null": "[null]",
    "array of all types": '[1, "a", null, {}, []]',
    "1000 items": "[" + ",".join(["1"] * 1000) + "]",
    "nested 30 deep": "[" * 25 + "]" * 25,
}

ODD_ONES = ("0", "-1", "2**53", "1e400", "-0.0", "empty string", "spaces", "emoji", "a number as text", "nil UUID")
"""Numbers sent for text fields, and texts sent for other fields."""


def values_for(right: Any) -> dict[str, str]:
    """Return JSON texts to replace a valid value. Some of them may be valid, too."""
    fitting, others = (TEXTS, NUMBERS) if isinstance(right, str) else (NUMBERS, TEXTS)
    return OTHERS | fitting | {name: text for name, text in others.items() if name in ODD_ONES}


SHARES = 12
"""Without `--slow`, each field of an ordinary operation gets this part of the values: 1 of `SHARES`."""


def share_of(options: dict[str, str], field: str) -> dict[str, str]:
    """Return the values for one field: each value is sent to about one field of `SHARES`, always to the same."""
    first = crc32(field.encode()) % SHARES
    return {name: options[name] for number, name in enumerate(options) if number % SHARES == first}


def words(text: str) -> list[str]:
    """Return the words of a text; shortens long lists."""
    return text.split()


def spell(tree: Any) -> str:
    """Return a tree as JSON text. `Raw` values are inserted unchanged."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{spell(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, list):
        return "[" + ",".join(map(spell, tree)) + "]"
    return json.dumps(tree)


def paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every field, and of the first item of every array."""
    items = tree.items() if isinstance(tree, dict) else list(enumerate(tree))[:1] if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths(value, (*path, key))


def objects(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every object, including the tree itself."""
    if isinstance(tree, dict):
        yield path
        for key, value in tree.items():
            yield from objects(value, (*path, key))


def at(tree: Any, path: Path) -> Any:
    """Return the value at a path."""
    return at(tree[path[0]], path[1:]) if path else tree


def changed(tree: Any, path: Path, value: Any) -> Any:
    """Return a copy with another value at a path."""
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = changed(tree[path[0]], path[1:], value)
    return copy


def without(tree: Any, path: Path) -> Any:
    """Return a copy without the field at a path."""
    parent = {key: value for key, value in at(tree, path[:-1]).items() if key != path[-1]}
    return changed(tree, path[:-1], parent)


def name_of(path: Path) -> str:
    """Return a path in the form of problem documents: `config.consent_tiers[0]`."""
    name = ""
    for key in path:
        name += f"[{key}]" if isinstance(key, int) else f".{key}" if name else key
    return name or "body"
