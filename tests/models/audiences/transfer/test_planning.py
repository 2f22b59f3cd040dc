"""Tests of the decision about each row of a batch."""

from itertools import count
from uuid import UUID

import pytest

from models.audiences.transfer.planning import ID, Known, Planner, Row

A, B = UUID(int=1), UUID(int=2)


def _plan(rows, *, match=("email",), overwrite="all", known=(), earlier=()):
    contacts = {one.id: one for one in known}
    owners = {}
    for one in known:
        owners.setdefault((ID, str(one.id)), set()).add(one.id)
        for name in ("email", "external_id", "phone"):
            if name in one.values:
                owners.setdefault((name, one.values[name]), set()).add(one.id)
    numbers = count(100)
    planner = Planner(match, overwrite, owners, contacts, set(earlier), lambda: UUID(int=next(numbers)))
    for number, values in enumerate(rows, 1):
        planner.add(Row(number, values))
    return planner.plan


def test_each_row_of_ten_is_counted_under_one_outcome():
    known = [Known(A, {"email": "k1", "name": "K"}), Known(B, {"email": "k2", "name": "old"})]
    rows = [{"email": f"n{n}"} for n in range(5)]
    rows += [{"email": "k1", "name": "K"}, {"email": "k2", "name": "new"}, {"email": "n0"}, {"name": "x"}, {}]

    plan = _plan(rows, known=known)

    assert plan.outcomes == ["created"] * 5 + ["unchanged", "updated", "duplicate", "refused", "refused"]
    assert plan.refused == {9: "no_key", 10: "no_key"}


def test_rows_about_one_new_contact_are_merged_into_it():
    plan = _plan([{"email": "a", "name": "Ana"}, {"email": "a", "name": "Eva", "city": "León"}])

    assert [(one.values, one.is_new) for one in plan.created] == [({"email": "a", "name": "Eva", "city": "León"}, True)]
    assert (plan.outcomes, plan.updated) == (["created", "duplicate"], [])


@pytest.mark.parametrize(("overwrite", "name"), [("all", "new"), ("missing", "old")])
def test_overwrite_decides_whether_a_value_of_a_contact_changes(overwrite, name):
    known = [Known(A, {"email": "a", "name": "old"})]

    plan = _plan([{"email": "a", "name": "new", "city": "León"}], overwrite=overwrite, known=known)

    assert [(one.values["name"], one.values["city"]) for one in plan.updated] == [(name, "León")]


def test_row_whose_keys_belong_to_two_contacts_is_refused():
    known = [Known(A, {"email": "a"}), Known(B, {"external_id": "7"})]

    plan = _plan([{"email": "a", "external_id": "7"}], match=("email", "external_id"), known=known)

    assert (plan.refused, plan.updated) == ({1: "matches_two_contacts"}, [])


def test_row_that_joins_two_new_contacts_of_the_file_is_refused():
    rows = [{"email": "a"}, {"external_id": "7"}, {"email": "a", "external_id": "7"}]

    assert _plan(rows, match=("email", "external_id")).outcomes == ["created", "created", "refused"]


def test_phone_number_of_two_contacts_matches_neither():
    known = [Known(A, {"phone": "+1"}), Known(B, {"phone": "+1"})]

    assert _plan([{"phone": "+1"}], match=("phone",), known=known).refused == {1: "matches_two_contacts"}


def test_unique_value_of_another_contact_is_refused_if_it_is_no_match_key():
    known = [Known(A, {"email": "a"}), Known(B, {"external_id": "7"})]

    plan = _plan([{"email": "a", "external_id": "7"}, {"email": "new", "external_id": "7"}], known=known)

    assert plan.refused == {1: "external_id_of_other_contact", 2: "external_id_of_other_contact"}


def test_value_that_a_contact_gives_up_may_be_used_by_a_later_row():
    known = [Known(A, {"external_id": "1", "email": "a"})]
    rows = [{"external_id": "1", "email": "b"}, {"external_id": "2", "email": "a"}]

    assert _plan(rows, match=("external_id",), known=known).outcomes == ["updated", "created"]


def test_key_that_a_contact_does_not_take_over_stays_free():
    known = [Known(A, {"email": "a", "external_id": "1"})]
    rows = [{"email": "a", "external_id": "2"}, {"email": "b", "external_id": "2"}]

    assert _plan(rows, overwrite="missing", known=known).outcomes == ["unchanged", "created"]


def test_unknown_id_is_refused_even_if_another_key_matches():
    known = [Known(A, {"email": "a"})]

    assert _plan([{ID: str(B), "email": "a"}], match=(ID, "email"), known=known).refused == {1: "unknown_id"}


def test_row_with_a_key_of_an_earlier_batch_is_a_duplicate():
    plan = _plan([{"email": "a", "city": "León"}], known=[Known(A, {"email": "a"})], earlier=[("email", "a")])

    assert (plan.outcomes, [one.id for one in plan.updated]) == (["duplicate"], [A])
