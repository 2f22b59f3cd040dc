"""Test bodies: every field is sent with invalid values.

Representative operations, and with `--slow` all operations, get every kind of value in every field.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.contract import values
from tests.contract.examples import EXAMPLES
from tests.contract.expected import (
    REPRESENTATIVES,
    body_schema,
    faults,
    fits,
    is_stored,
    names,
    operations,
    require_none,
    resolved,
    undeclared,
)
from tests.contract.raw_client import Answer
from tests.contract.values import Raw, changed, name_of, objects, paths, spell, without

TAKING_BODIES = [operation for operation in operations() if body_schema(operation)]

UNKNOWN_KEYS = ("unexpected", "", "__proto__", "a.b[0]", "é", "$ref", "x" * 5000)

COMPLETE = 6
"""Fields of a representative operation that get every value without `--slow`."""

LENIENT = {"UUID without dashes"}
"""Values that endpoints accept although the document's formats exclude them."""


@dataclass(frozen=True)
class Attack:
    """A body and its wrong field. `never`: the statuses of a body that no schema can allow."""

    name: str
    field: str
    raw: bytes
    never: tuple[int, ...] = ()


def attacks(operation, body, whole: bool) -> Iterator[Attack]:
    """Yield attacks on a valid body, field by field. Properties of the decoder itself run on representatives.

    `whole`: send every value to every field of the other operations, too.
    """
    ways = list(paths(body))
    complete = ways if whole else ways[:COMPLETE] if operation in REPRESENTATIVES else []
    if operation in REPRESENTATIVES:
        for path in (ways[0], max(ways, key=len)):
            yield from invalid_json(path, body)
        for path in complete:
            yield from decoder_values(path, body)
    for path in ways:
        other = values.values_for(values.at(body, path))
        if path not in complete:
            other = {"null": "null"} | values.share_of(other, f"{operation} {path}")
        yield from other_values(path, body, other)
    for path in objects(body):
        yield from unknown_keys(path, body, UNKNOWN_KEYS if operation in REPRESENTATIVES else UNKNOWN_KEYS[:1])


def invalid_json(path, body):
    """Return attacks that make the whole body invalid JSON by a value at this path."""
    return [Attack(what, name_of(path), spelled(body, path, text), (400,)) for what, text in values.NEVER_JSON.items()]


def decoder_values(path, body):
    """Return attacks with integers of more than 64 bits, and with the field twice."""
    field = name_of(path)
    never = values.TOO_LARGE | values.NEVER_TEXT
    found = [Attack(what, field, spelled(body, path, text), (422,)) for what, text in never.items()]
    if isinstance(path[-1], str):
        again = f"{json.dumps(path[-1])}:{spell(values.at(body, path))}"
        both = spell(changed(body, path[:-1], values.at(body, path[:-1]) | {"here": 0})).replace('"here":0', again)
        found.append(Attack("twice", field, both.encode(), (400,)))
    return found


def other_values(path, body, other: dict[str, str]):
    """Return attacks that replace or remove the field at this path."""
    field = name_of(path)
    found = [Attack(what, field, spelled(body, path, text)) for what, text in other.items()]
    found.append(Attack("in an array", field, spelled(body, path, f"[{spell(values.at(body, path))}]")))
    if isinstance(path[-1], str):
        found.append(Attack("missing", field, spell(without(body, path)).encode()))
    return found


def unknown_keys(path, body, keys):
    """Return attacks that add an unknown key to the object at this path."""
    return [
        Attack(
            f"unknown key {key[:20]!r}",
            name_of((*path, key[:80] or '""')),
            spell(changed(body, path, values.at(body, path) | {key: 1})).encode(),
        )
        for key in keys
    ]


def spelled(body, path, text: str) -> bytes:
    """Return the body with a JSON text at this path."""
    return spell(changed(body, path, Raw(text))).encode()


def attack_faults(operation, attack: Attack, answer: Answer) -> list[str]:
    """Return the faults of the answer to an attack."""
    if found := undeclared(operation, answer):
        return found
    may_be_right = not attack.never and (attack.name in LENIENT or fits_schema(operation, attack.raw))
    if may_be_right and 200 <= answer.status < 300:
        return []
    found = faults(answer)
    if not found and attack.never and answer.status not in attack.never:
        found.append(f"is {answer.status} {answer.code}, not {attack.never}")
    if not found and not may_be_right and not attack.never and (answer.status, answer.code) != (422, "invalid"):
        found.append(f"is {answer.status} {answer.code}, not 422 invalid")
    if not found and (answer.code == "invalid" or answer.fields) and not names(answer, attack.field, *parents(attack)):
        found.append(f"names {answer.json['errors']}")
    return found


def parents(attack: Attack) -> list[str]:
    """Return what a problem may name instead of a field that is missing."""
    missing = attack.name == "missing" and attack.field.startswith(ONE_MEMBER)
    return [attack.field.rpartition(".")[0]] if missing else []


def fits_schema(operation, raw: bytes) -> bool:
    """Return whether the document allows a body. Numbers beyond the range of a double are not allowed."""
    body = json.loads(raw)
    return "Infinity" not in json.dumps(body) and fits(operation, body)


def test_examples_contain_every_field(seed):
    def check(operation):
        example = EXAMPLES[operation](seed)
        shown = {name_of(path) for path in paths(example.body)}
        known = set(known_fields(body_schema(operation), example.body))
        return {name for name in known - shown if not name.startswith(ALTERNATIVES)}

    require_none(TAKING_BODIES, check)


ALTERNATIVES = ("config.geofence.polygon", "definition.")
"""Fields that exclude others of the same body."""

ONE_MEMBER = "definition."
"""Beginning of the fields whose parents have exactly one member: without it, the problem names the parent."""


def known_fields(schema, value, path=(), within=()):
    """Yield the names of all fields of a schema; of a union of structs, those of the struct that the value has.

    A struct that contains itself (`within`: the structs around it) is read once.
    """
    schema = resolved(schema)
    if any(schema is one for one in within):
        return
    within = (*within, schema)
    for option in schema.get("anyOf", ()):
        if not is_another_struct(resolved(option), value):
            yield from known_fields(option, value, path, within)
    for name, inner in schema.get("properties", {}).items():
        yield name_of((*path, name))
        yield from known_fields(inner, value.get(name) if isinstance(value, dict) else None, (*path, name), within)
    if "items" in schema:
        yield from known_fields(
            schema["items"], value[0] if isinstance(value, list) and value else None, (*path, 0), within
        )


def is_another_struct(schema, value):
    """Return whether the constant member of a struct has another value."""
    constants = {name: inner["const"] for name, inner in schema.get("properties", {}).items() if "const" in inner}
    return isinstance(value, dict) and any(value.get(name) != constant for name, constant in constants.items())


def test_invalid_field_returns_422_with_its_name_and_writes_nothing(seed, raw_client, writes, request):
    whole = request.config.getoption("--slow")

    def check(operation):
        example, before = EXAMPLES[operation](seed), writes.snapshot()
        for attack in attacks(operation, example.body, whole):
            answer = raw_client.send(example.request(raw=attack.raw))
            found = attack_faults(operation, attack, answer)
            if is_stored(answer):
                example, before = EXAMPLES[operation](seed), writes.snapshot()
            elif tables := writes.tables_changed_since(before):
                found.append(f"{answer.status} {answer.code} has written to {tables}")
                before = writes.snapshot()
            yield from (f"{attack.field} ({attack.name}): {fault}" for fault in found)

    require_none(TAKING_BODIES, check)
