"""Test every role on every endpoint, and invalid access tokens."""

from itertools import cycle

from tests.contract.examples import EXAMPLES
from tests.contract.expected import (
    REPRESENTATIVES,
    body_schema,
    declared,
    faults,
    is_public,
    is_stored,
    operations,
    require_none,
    undeclared,
)
from tests.contract.seed import CALLERS, UNAUTHENTICATED
from tests.contract.tokens import forged
from tests.contract.values import words

CREDENTIALS = [
    *words("x null undefined .. {} %00 eyJhbGciOiJub25lIn0.. \xff\xfe.\xff.\xff"),
    *("", " ", "x y", '"x"', "a.b.c, Basic YTpi", "x" * 8000, "." * 8000, "a." * 4000),
]
AUTHORIZATIONS = [
    *(f"Bearer {credentials}" for credentials in CREDENTIALS),
    *("", " ", "Bearer", "bearer x", "Bearer\tx", "Bearer=x", "x", "=", ",", "Basic YTpi", "Basic", "Basic ===="),
    *("Digest username=x", "Negotiate x", "Token x"),
]

INVALID_BODIES = cycle((b"{", b'{"unexpected": 1}', b"[]"))
"""Bodies that no operation accepts. Each role sends the next one."""

ENDING_SESSIONS = {("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/verify")}


def bodies(operation):
    """Return what each role sends: the example, and to representative operations an invalid body too."""
    return (None, next(INVALID_BODIES)) if operation in REPRESENTATIVES and body_schema(operation) else (None,)


def test_every_operation_has_an_example():
    assert set(operations()) == set(EXAMPLES)


def test_every_role_has_a_caller(superuser):
    with superuser.cursor() as cursor:
        cursor.execute("select name from public.roles")
        roles = {name for (name,) in cursor.fetchall()}

    assert roles <= set(CALLERS)


def test_every_example_succeeds(seed, raw_client):
    def check(operation):
        answer = raw_client.send(EXAMPLES[operation](seed).request())
        if str(answer.status) not in {status for status in declared(operation)["responses"] if status < "300"}:
            yield f"{answer.status} {answer.body!r}"

    require_none(operations(), check)


def test_every_role_gets_a_declared_answer_or_writes_nothing(seed, raw_client, writes):
    def check(operation):
        example = EXAMPLES[operation](seed)
        for role in CALLERS:
            for raw in bodies(operation):
                caller = seed.again(role) if operation in ENDING_SESSIONS else seed.callers[role]
                before = writes.snapshot()
                answer = raw_client.send(example.of(caller).request(raw=raw))
                if is_stored(answer):
                    example = EXAMPLES[operation](seed)  # the request may have used up its records
                yield from (f"{role}: {fault}" for fault in undeclared(operation, answer))
                if 200 <= answer.status < 300 and raw is None:
                    continue
                yield from (f"{role}: {fault}" for fault in faults(answer))
                if role == UNAUTHENTICATED and not is_public(operation) and answer.status != 401:
                    yield f"anonymous: {answer.status} {answer.code}"
                if not is_stored(answer) and (tables := writes.tables_changed_since(before)):
                    yield f"{role}: {answer.status} {answer.code} has written to {tables}"

    require_none(operations(), check)


def test_invalid_token_returns_401_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        example = EXAMPLES[operation](seed)
        requests = [example.request().with_headers(("Authorization", value)) for value in AUTHORIZATIONS]
        before = writes.snapshot()
        for value, answer in zip(AUTHORIZATIONS, raw_client.send_all(requests), strict=True):
            yield from (f"{value[:40]!r}: {fault}" for fault in faults(answer))
            if answer.status != 401:
                yield f"{value[:40]!r}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)


def test_forged_token_is_refused_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        example = EXAMPLES[operation](seed)
        cases = forged(example.caller)
        requests = [example.request().with_headers(("Authorization", f"Bearer {token}")) for _, token in cases]
        before = writes.snapshot()
        for (name, _), answer in zip(cases, raw_client.send_all(requests), strict=True):
            yield from (f"{name}: {fault}" for fault in faults(answer))
            # The permission of the claimed role is checked before the role itself.
            if answer.status not in ((401, 403) if "role" in name else (401,)):
                yield f"{name}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)
