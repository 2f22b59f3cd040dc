"""Lints of all tables, policies and functions in every shape of the database."""

import pytest

from tests.rls import lints, lints_of_keys, lints_of_logins
from tests.rls.lints import Lint
from tests.rls.shapes import Shape

LINTS = [
    *lints.RLS,
    *lints.FUNCTIONS,
    *lints.RELATIONS_LINTS,
    *lints.ROLES,
    *lints_of_keys.KEYS,
    *lints_of_logins.LOGINS,
]


def lint_id(lint: Lint) -> str:
    return lint.name


@pytest.mark.parametrize("lint", LINTS, ids=lint_id)
def test_lint_finds_no_offender_in_any_shape(lint: Lint, shape: Shape) -> None:
    with shape.undone() as cur:
        assert lint.offenders(cur) == set()


@pytest.mark.parametrize("lint", LINTS, ids=lint_id)
def test_lint_finds_broken_object(lint: Lint, bare: Shape) -> None:
    with bare.undone() as cur:
        cur.execute(lint.broken)
        assert lint.offenders(cur)


@pytest.mark.parametrize("lint", LINTS, ids=lint_id)
def test_lint_needs_each_of_its_exceptions(lint: Lint, shape: Shape) -> None:
    with shape.undone() as cur:
        assert lint.unused_exceptions(cur) <= {"supabase_read_only_user"}


def test_locks_and_large_objects_are_granted_by_use(bare: Shape) -> None:
    lint = lints_of_logins.BOOTSTRAPPED
    with bare.undone() as cur:
        assert (lint.offenders(cur), lint.unused_exceptions(cur)) == (set(), set())
        cur.execute(lint.broken)
        assert lint.offenders(cur)
