"""Test cursors: a list accepts its own cursors and refuses all others."""

import base64

import msgspec

from tests.contract.examples import EXAMPLES
from tests.contract.expected import declared, faults, names, operations, require_none
from tests.contract.seed import ANONYMOUS, FAN

LISTS = [o for o in operations() if any(p["name"] == "cursor" for p in declared(o)["parameters"])]

INVALID_CURSORS = (
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


def first_page(seed, raw_client, operation):
    """Return a list's example and the cursor of its second page."""
    example = EXAMPLES[operation](seed)
    make_another(seed, raw_client, operation)
    answer = raw_client.send(example.request(query="limit=1"))
    assert answer.json["next_cursor"], answer.body
    return example, answer.json["next_cursor"]


def make_another(seed, raw_client, operation):
    """Create two records of the list."""
    posting = ("POST", operation[1])
    for _ in range(2):
        if posting in EXAMPLES:
            assert raw_client.send(EXAMPLES[posting](seed).request()).status < 300
        else:
            EXAMPLES[operation](seed)  # building the example creates a record


def tampered(cursor):
    """Yield changed copies of a cursor."""
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
    yield "a trailing newline", cursor + "%0A"
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


def refusals(raw_client, example, cursors):
    """Return the faults of the answers to cursors that have to be refused."""
    cases = list(cursors)
    wrong = []
    requests = [example.request(query=f"cursor={cursor}".encode()) for _, cursor in cases]
    for (name, _), answer in zip(cases, raw_client.send_all(requests), strict=True):
        wrong += [f"{name}: {fault}" for fault in faults(answer)]
        if answer.status != 422 or not (names(answer, "cursor") or names(answer, "query")):
            wrong.append(f"{name}: {answer.status} {answer.json}")
    return wrong


def test_own_cursor_returns_the_next_page(seed, raw_client):
    def check(operation):
        example, cursor = first_page(seed, raw_client, operation)
        answer = raw_client.send(example.request(query=f"limit=1&cursor={cursor}"))
        if answer.status != 200 or len(answer.json["items"]) != 1:
            yield f"{answer.status} {answer.body!r}"

    require_none(LISTS, check)


def test_changed_cursor_returns_422(seed, raw_client):
    def check(operation):
        example, cursor = first_page(seed, raw_client, operation)
        return refusals(raw_client, example, [*tampered(cursor), *((text, text) for text in INVALID_CURSORS)])

    require_none([("GET", "/api/v1/campaigns")], check)


def test_cursor_of_another_list_returns_422(seed, raw_client):
    pages = {operation: first_page(seed, raw_client, operation) for operation in LISTS}

    def check(operation):
        example, _ = pages[operation]
        others = [(other[1], cursor) for other, (_, cursor) in pages.items() if other != operation]
        return refusals(raw_client, example, others)

    require_none(LISTS, check)


def test_cursor_of_another_filter_returns_422(seed, raw_client):
    example, cursor = first_page(seed, raw_client, ("GET", "/api/v1/campaigns"))

    answer = raw_client.send(example.request(query=f"status=Draft&cursor={cursor}"))

    assert (answer.status, answer.fields) == (422, ["cursor"])


def test_cursor_of_another_person_shows_none_of_their_records(seed, raw_client):
    listing = ("GET", "/api/v1/consents")
    example, cursor = first_page(seed, raw_client, listing)
    theirs = {item["id"] for item in raw_client.send(example.of(seed.callers[FAN]).request(query="")).json["items"]}

    answer = raw_client.send(example.of(seed.callers[ANONYMOUS]).request(query=f"cursor={cursor}"))

    assert not theirs & {item["id"] for item in (answer.json.get("items") or [])}
