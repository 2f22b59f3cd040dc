"""Cursors: ours are taken, everything that looks like one is not."""

import base64

import msgspec
import pytest

from tests.contract.examples import EXAMPLES
from tests.contract.judge import declared, faults, names, operations
from tests.contract.world import ANONYMOUS, FAN

LISTS = [o for o in operations() if any(p["name"] == "cursor" for p in declared(o)["parameters"])]

NO_CURSORS = (
    "",
    "x",
    "=",
    "====",
    "AAAA",
    "A" * 22,
    "A" * 999,
    "A" * 1001,
    "%00",
    "%ff",
    "null",
    "0",
    "-_-_",
    "é",
    "👾",
    " ",
    "AAAA AAAA",
    "AAAA%0aAAAA",
    "../../etc",
    "[1,2]",
    "eyJhIjoxfQ",
)


def first_page(world, wire, operation):
    """A list with a second page, and the cursor that leads there."""
    example = EXAMPLES[operation](world)
    make_another(world, wire, operation)
    answer = wire.send(example.request(query="limit=1"))
    assert answer.json["next_cursor"], answer.body
    return example, answer.json["next_cursor"]


def make_another(world, wire, operation):
    """Have two of what the list is of."""
    posting = ("POST", operation[1])
    for _ in range(2):
        if posting in EXAMPLES:
            assert wire.send(EXAMPLES[posting](world).request()).status < 300
        else:
            EXAMPLES[operation](world)  # makes what it asks for


def tampered(cursor):
    """Everything that can be made of a cursor by changing it."""
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    for bit in range(0, len(raw) * 8, 5):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", encoded(bytes(changed))
    for position in range(0, len(cursor), 3):
        yield f"without letter {position}", cursor[:position] + cursor[position + 1 :]
        yield f"only {position} letters", cursor[:position]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for letter in letters.replace(cursor[-1], ""):
        yield f"last letter {letter}", cursor[:-1] + letter
    yield "twice", cursor + cursor
    yield "padded", cursor + "%3D"
    yield "a newline behind it", cursor + "%0A"
    for payload in (
        b"[1,",
        b"[]",
        b"{}",
        b"null",
        b"1",
        b"[1]",
        b'["1",[]]',
        b"[-1,[]]",
        b"[1.5,[]]",
        b"[9999999999,[]]",
        b"[99999999999999999999999999,[]]",
        b"[null,null]",
        b"[true,[]]",
        b"\xff",
        b"[" * 700,
        b"[1,[]] x",
    ):
        yield f"payload {payload[:20]!r}", encoded(raw[:16] + payload)
    for version in (0, 2, 255, -1):
        inner = msgspec.json.decode(raw[16:])
        yield f"version {version}", encoded(raw[:16] + msgspec.json.encode([version, inner[1]]))


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def refusals(wire, example, cursors):
    """What is wrong with the answers to these cursors, all of which have to be refused."""
    cases = list(cursors)
    wrong = []
    requests = [example.request(query=f"cursor={cursor}".encode()) for _, cursor in cases]
    for (name, _), answer in zip(cases, wire.send_all(requests), strict=True):
        wrong += [f"{name}: {fault}" for fault in faults(answer)]
        if answer.status != 422 or not (names(answer, "cursor") or names(answer, "query")):
            wrong.append(f"{name}: {answer.status} {answer.json}")
    return wrong


@pytest.mark.parametrize("operation", LISTS, ids=" ".join)
def test_our_cursor_leads_to_the_next_page(operation, world, wire):
    example, cursor = first_page(world, wire, operation)

    answer = wire.send(example.request(query=f"limit=1&cursor={cursor}"))

    assert answer.status == 200
    assert len(answer.json["items"]) == 1


@pytest.mark.parametrize("operation", LISTS, ids=" ".join)
def test_a_cursor_that_was_changed_is_refused(operation, world, wire):
    example, cursor = first_page(world, wire, operation)

    wrong = refusals(wire, example, [*tampered(cursor), *((text, text) for text in NO_CURSORS)])

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", LISTS, ids=" ".join)
def test_another_lists_cursor_is_refused(operation, world, wire):
    example, _ = first_page(world, wire, operation)
    others = [(other[1], first_page(world, wire, other)[1]) for other in LISTS if other != operation]

    wrong = refusals(wire, example, others)

    assert not wrong, "\n".join(wrong)


def test_a_cursor_of_another_filter_is_refused(world, wire):
    example, cursor = first_page(world, wire, ("GET", "/api/v1/campaigns"))

    answer = wire.send(example.request(query=f"status=Draft&cursor={cursor}"))

    assert (answer.status, answer.fields) == (422, ["cursor"])


def test_somebody_elses_cursor_shows_nothing_of_theirs(world, wire):
    listing = ("GET", "/api/v1/consents")
    example, cursor = first_page(world, wire, listing)
    theirs = {item["id"] for item in wire.send(example.of(world.callers[FAN]).request(query="")).json["items"]}

    answer = wire.send(example.of(world.callers[ANONYMOUS]).request(query=f"cursor={cursor}"))

    assert not theirs & {item["id"] for item in (answer.json.get("items") or [])}
