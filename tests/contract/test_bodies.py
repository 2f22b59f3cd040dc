"""Bodies: every field of every operation gets every value that it was not made for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.contract import values
from tests.contract.examples import EXAMPLES
from tests.contract.judge import body_schema, faults, fits, is_kept, names, operations, resolved, undeclared
from tests.contract.values import Raw, changed, name_of, objects, paths, spell, without
from tests.contract.wire import Answer

TAKING_BODIES = [operation for operation in operations() if body_schema(operation)]

LENIENT = {"UUID without dashes"}
"""What is taken although the document's formats don't know it."""


@dataclass(frozen=True)
class Attack:
    """A body, and what of it is wrong; `never`: it can't be right, whatever the schema says."""

    name: str
    field: str
    raw: bytes
    never: tuple[int, ...] = ()


def attacks(body) -> Iterator[Attack]:
    """Attacks on a body like this one, field by field."""
    ways = list(paths(body))
    for path in (ways[0], max(ways, key=len)):
        yield from no_json(path, body)
    for path in ways:
        yield from other_values(path, body)
    for path in objects(body):
        yield from unknown_keys(path, body)


def no_json(path, body):
    """Something at this place that makes the whole body none."""
    return [Attack(what, name_of(path), spelled(body, path, text), (400,)) for what, text in values.NEVER_JSON.items()]


def other_values(path, body):
    """Every value in place of the right one, nothing, and the right one twice."""
    field = name_of(path)
    found = [Attack(what, field, spelled(body, path, text), (422,)) for what, text in values.TOO_LARGE.items()]
    other = values.values_for(values.at(body, path))
    found += [Attack(what, field, spelled(body, path, text)) for what, text in other.items()]
    found.append(Attack("in an array", field, spelled(body, path, f"[{spell(values.at(body, path))}]")))
    if isinstance(path[-1], str):
        found.append(Attack("missing", field, spell(without(body, path)).encode()))
        again = f"{json.dumps(path[-1])}:{spell(values.at(body, path))}"
        both = spell(changed(body, path[:-1], values.at(body, path[:-1]) | {"here": 0})).replace('"here":0', again)
        found.append(Attack("twice", field, both.encode(), (400,)))
    return found


def unknown_keys(path, body):
    """A key too many in this object."""
    return [
        Attack(
            f"unknown key {key[:20]!r}",
            name_of((*path, key[:80] or '""')),
            spell(changed(body, path, values.at(body, path) | {key: 1})).encode(),
        )
        for key in ("unexpected", "", "__proto__", "a.b[0]", "é", "$ref", "x" * 5000)
    ]


def spelled(body, path, text: str) -> bytes:
    """The body with this text there."""
    return spell(changed(body, path, Raw(text))).encode()


def complaints(operation, attack: Attack, answer: Answer) -> list[str]:
    """What is wrong with the answer."""
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
    if not found and (answer.code == "invalid" or answer.fields) and not names(answer, attack.field):
        found.append(f"names {answer.json['errors']}")
    return found


def fits_schema(operation, raw: bytes) -> bool:
    """Whether the document allows it. Numbers beyond a double's range are none."""
    body = json.loads(raw)
    return "Infinity" not in json.dumps(body) and fits(operation, body)


@pytest.mark.parametrize("operation", TAKING_BODIES, ids=" ".join)
def test_an_example_spells_out_every_field(operation, world):
    example = EXAMPLES[operation](world)

    assert set(known_fields(body_schema(operation))) <= {name_of(path) for path in paths(example.body)}


def known_fields(schema, path=()):
    """The names of all fields in a schema."""
    schema = resolved(schema)
    for option in schema.get("anyOf", ()):
        yield from known_fields(option, path)
    for name, inner in schema.get("properties", {}).items():
        yield name_of((*path, name))
        yield from known_fields(inner, (*path, name))
    if "items" in schema:
        yield from known_fields(schema["items"], (*path, 0))


@pytest.mark.parametrize("operation", TAKING_BODIES, ids=" ".join)
def test_a_field_that_is_not_what_it_should_be_is_refused_whole(operation, world, wire, traces):
    example, before, wrong = EXAMPLES[operation](world), traces.look(), []

    for attack in attacks(example.body):
        answer = wire.send(example.request(raw=attack.raw))
        found = complaints(operation, attack, answer)
        if is_kept(answer):
            example, before = EXAMPLES[operation](world), traces.look()
        elif written := traces.since(before):
            found.append(f"{answer.status} {answer.code} has left traces in {written}")
            before = traces.look()
        wrong += [f"{attack.field} ({attack.name}): {fault}" for fault in found]

    assert not wrong, "\n".join(wrong)
