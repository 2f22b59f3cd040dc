"""Who asks: every role at every door, and tokens that are none."""

import pytest

from tests.contract.examples import EXAMPLES
from tests.contract.judge import body_schema, declared, faults, is_kept, is_public, operations, undeclared
from tests.contract.tokens import forged
from tests.contract.values import words
from tests.contract.world import CALLERS, NOBODY

CREDENTIALS = [
    *words("x null undefined .. {} %00 eyJhbGciOiJub25lIn0.. \xff\xfe.\xff.\xff"),
    *("", " ", "x y", '"x"', "a.b.c, Basic YTpi", "x" * 8000, "." * 8000, "a." * 4000),
]
AUTHORIZATIONS = [
    *(f"Bearer {credentials}" for credentials in CREDENTIALS),
    *("", " ", "Bearer", "bearer x", "Bearer\tx", "Bearer=x", "x", "=", ",", "Basic YTpi", "Basic", "Basic ===="),
    *("Digest username=x", "Negotiate x", "Token x"),
]

ENDING_SESSIONS = {("POST", "/api/v1/auth/logout"), ("POST", "/api/v1/auth/verify")}


def test_every_operation_has_an_example():
    assert set(operations()) == set(EXAMPLES)


def test_every_role_has_somebody_who_asks(superuser):
    with superuser.cursor() as cursor:
        cursor.execute("select name from public.roles")
        roles = {name for (name,) in cursor.fetchall()}

    assert roles <= set(CALLERS)


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_an_example_is_right(operation, world, wire):
    answer = wire.send(EXAMPLES[operation](world).request())

    assert str(answer.status) in {status for status in declared(operation)["responses"] if status < "300"}, answer.body


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_every_role_is_let_in_or_refused_whole(operation, world, wire, traces):
    example, wrong = EXAMPLES[operation](world), []

    for role in CALLERS:
        for raw in (None, b"{", b'{"unexpected": 1}', b"[]") if body_schema(operation) else (None,):
            caller = world.again(role) if operation in ENDING_SESSIONS else world.callers[role]
            before = traces.look()
            answer = wire.send(example.of(caller).request(raw=raw))
            if is_kept(answer):
                example = EXAMPLES[operation](world)  # what was made for it may have been used up
            wrong += [f"{role}: {fault}" for fault in undeclared(operation, answer)]
            if 200 <= answer.status < 300 and raw is None:
                continue
            wrong += [f"{role}: {fault}" for fault in faults(answer)]
            if role == NOBODY and not is_public(operation) and answer.status != 401:
                wrong.append(f"nobody: {answer.status} {answer.code}")
            if not is_kept(answer) and (written := traces.since(before)):
                wrong.append(f"{role}: {answer.status} {answer.code} has left traces in {written}")

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("operation", operations(), ids=" ".join)
def test_what_is_no_token_is_refused_where_one_is_needed(operation, world, wire, traces):
    example = EXAMPLES[operation](world)
    cases = [(value, example.request().with_headers(("Authorization", value))) for value in AUTHORIZATIONS]
    before, wrong = traces.look(), []

    for (value, _), answer in zip(cases, wire.send_all([request for _, request in cases]), strict=True):
        if 200 <= answer.status < 300 and is_public(operation):
            continue
        wrong += [f"{value[:40]!r}: {fault}" for fault in faults(answer)]
        if not is_public(operation) and answer.status != 401:
            wrong.append(f"{value[:40]!r}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert is_public(operation) or traces.since(before) == []


@pytest.mark.parametrize("operation", [o for o in operations() if not is_public(o)], ids=" ".join)
def test_a_forged_token_is_refused(operation, world, wire, traces):
    example = EXAMPLES[operation](world)
    caller = example.caller
    cases = [
        (name, example.request().with_headers(("Authorization", f"Bearer {token}"))) for name, token in forged(caller)
    ]
    before, wrong = traces.look(), []

    for (name, _), answer in zip(cases, wire.send_all([request for _, request in cases]), strict=True):
        wrong += [f"{name}: {fault}" for fault in faults(answer)]
        # A role is refused what it may not do before it is asked whose it is.
        if answer.status not in ((401, 403) if "role" in name else (401,)):
            wrong.append(f"{name}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []
