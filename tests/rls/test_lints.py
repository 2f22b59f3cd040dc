"""Lints of all tables, policies and functions in every shape of the database."""

from tests.rls import lints, lints_of_keys, lints_of_logins
from tests.rls.shapes import Shape

LINTS = [
    *lints.RLS,
    *lints.FUNCTIONS,
    *lints.RELATIONS_LINTS,
    *lints.ROLES,
    *lints_of_keys.KEYS,
    *lints_of_logins.LOGINS,
]


def test_lints_find_no_offender_in_any_shape(shape: Shape) -> None:
    with shape.undone() as cur:
        assert {lint.name: found for lint in LINTS if (found := lint.offenders(cur))} == {}


def test_lint_finds_broken_object(bare: Shape) -> None:
    missed = []
    for lint in LINTS:
        with bare.undone() as cur:
            cur.execute(lint.broken)
            if not lint.offenders(cur):
                missed.append(lint.name)

    assert missed == []


def test_lints_need_each_of_their_exceptions(shape: Shape) -> None:
    with shape.undone() as cur:
        unused = {name for lint in LINTS for name in lint.unused_exceptions(cur)}

    assert unused <= {"supabase_read_only_user"}


def test_locks_and_large_objects_are_granted_by_use(bare: Shape) -> None:
    lint = lints_of_logins.BOOTSTRAPPED
    with bare.undone() as cur:
        assert (lint.offenders(cur), lint.unused_exceptions(cur)) == (set(), set())
        cur.execute(lint.broken)
        assert lint.offenders(cur)
