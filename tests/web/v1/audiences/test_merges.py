"""Merges of contacts, undoing them, and the timeline of what happened with a person."""

from datetime import UTC, datetime, timedelta

import pytest

from models.audiences import contacts, engagement_events, notes
from models.core import context
from models.core.database import new_id, transaction

URL = "/api/v1/crm/contacts"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def add(client, manager):
    """`add(**fields)`: the id of a new contact."""
    return lambda **fields: client.post(URL, token=manager.token, json=fields).json["id"]


@pytest.fixture
def merge(client, manager):
    """`merge(survivor, merged)`: the answer to a manager."""
    return lambda survivor, merged: client.post(
        f"{URL}/{survivor}/merges", token=manager.token, json={"contact_id": merged}
    )


@pytest.fixture
def undo(client, manager):
    """`undo(survivor, merge)`: the answer to a manager who undoes the merge of this answer."""
    return lambda survivor, merge: client.delete(f"{URL}/{survivor}/merges/{merge.json['id']}", token=manager.token)


@pytest.fixture
def read(client, manager):
    """`read(contact, *names)`: these values of a contact."""

    def run(contact, *names):
        found = client.get(f"{URL}/{contact}", token=manager.token).json
        return [found[name] for name in names]

    return run


@pytest.fixture
def change(client, manager):
    return lambda contact, **fields: client.patch(f"{URL}/{contact}", token=manager.token, json=fields)


def test_survivor_keeps_its_values_and_gets_missing_ones(add, merge, read):
    one = add(name="Ana", tags=["a"], country="ES")
    other = add(name="Ana G.", email="ana@fan.example", tags=["b", "a"], lat=40.0, lon=-3.0, opted_out=True)

    answer = merge(one, other)

    assert answer.status_code == 201
    assert read(one, "name", "country", "email", "tags", "lat") == ["Ana", "ES", "ana@fan.example", ["a", "b"], 40.0]
    assert read(one, "opted_out_at") == read(other, "opted_out_at") != [None]
    assert read(other, "merged_into", "email") == [one, "ana@fan.example"]


def test_undone_merge_gives_both_contacts_their_values_back(add, merge, undo, read, change):
    one, other = add(name="Ana", tags=["a"]), add(name="Eva", email="eva@fan.example", city="Vigo", tags=["b"])
    names = ("name", "email", "city", "tags", "merged_into", "opted_out_at")
    before = read(one, *names), read(other, *names)
    merged = merge(one, other)
    change(one, city="Lugo")

    answer = undo(one, merged)

    (name, email, _, *rest), theirs = before
    assert answer.json["undone_at"] is not None
    assert (read(one, *names), read(other, *names)) == ([name, email, "Lugo", *rest], theirs)
    assert undo(one, merged).json["code"] == "merge_undone"


def test_opt_out_after_the_merge_stays_with_both_contacts(add, merge, undo, read, change):
    one, other = add(name="Ana"), add(name="Eva")
    merged = merge(one, other)
    change(one, opted_out=True)
    undo(one, merged)

    assert read(one, "opted_out_at") == read(other, "opted_out_at") != [None]


def test_opt_out_before_the_merge_goes_back_to_its_contact(add, merge, undo, read):
    one, other = add(name="Ana"), add(name="Eva", opted_out=True)
    told = read(other, "opted_out_at")
    undo(one, merge(one, other))

    assert (read(one, "opted_out_at"), read(other, "opted_out_at")) == ([None], told)


def test_merges_are_undone_in_their_order_and_groups_follow(add, merge, undo, read):
    one, two, three, four = (add(name=name) for name in "abcd")
    inner, outer = merge(two, three), merge(one, two)
    last = merge(one, four)

    refused, taken = undo(one, outer), merge(two, four)
    group = [read(each, "merged_into")[0] for each in (two, three, four)]
    undo(one, last)
    undo(one, outer)
    apart = [read(each, "merged_into")[0] for each in (two, three, four)]

    assert (refused.json["code"], refused.json["merge_id"]) == ("merge_not_last", last.json["id"])
    assert (taken.json["code"], taken.json["contact_id"]) == ("contact_merged", one)
    assert (group, apart) == ([one, one, one], [None, two, None])
    assert undo(two, inner).status_code == 200


def test_undo_is_refused_if_the_address_was_given_away(add, merge, undo, read):
    one, other = add(name="Ana", email="ana@fan.example"), add(name="Eva", email="eva@fan.example")
    merged = merge(one, other)
    third = add(name="Iris", email="eva@fan.example")

    refused = undo(one, merged)

    assert (refused.json["code"], refused.json["contact_id"]) == ("contact_key_taken", third)
    assert read(other, "merged_into") == [one]


def test_merge_with_itself_or_a_foreign_contact_is_refused(add, merge, query, make_brand):
    one, foreign = add(name="Ana"), str(new_id())
    query("insert into contacts (id, brand_id) values (%s, %s)", foreign, make_brand("Other")["id"])

    assert [merge(one, other).status_code for other in (one, foreign)] == [422, 422]
    assert merge(foreign, one).status_code == 404


@pytest.fixture
def history(client, manager):
    """`history(contact, **filters)`: kinds of all entries of a timeline, read in pages of two."""

    def run(contact, **filters):
        seen, cursor = [], None
        while True:
            parameters = filters | {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get(f"{URL}/{contact}/timeline", token=manager.token, params=parameters).json
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return seen

    return run


@pytest.fixture
def act(query):
    """`act(campaign, kind, user_id, at, source_id)`: record an engagement event."""

    def run(campaign, kind, at, *, user_id=None, contact_id=None, source_id=None, reverses=False):
        person = {"user_id": user_id, "contact_id": contact_id}
        with transaction(context.for_brand_job(campaign.brand_id)):
            engagement_events.record(
                kind,
                brand_id=campaign.brand_id,
                campaign_id=campaign.id,
                source_id=source_id or new_id(),
                occurred_at=at,
                reverses=reverses,
                **person,
            )

    return run


def test_timeline_of_merged_contact_is_complete_and_ordered(
    client, manager, campaign, put_scan, fan, merge, add, act, history, drain, query
):
    summer, winter, nora = campaign(), campaign("Winter"), fan("essential", "marketing")
    put_scan(summer, nora.user_id)
    with transaction(context.for_brand_job(summer.brand_id)):
        contacts.upsert(nora.user_id)
    survivor, scan = add(name="Nora"), new_id()
    (merged,) = query("select id from contacts where user_id is not null")[0]
    act(summer, "scan", NOON, user_id=nora.user_id, source_id=scan)
    act(summer, "scan", NOON, user_id=nora.user_id, source_id=scan, reverses=True)
    act(winter, "check_in", NOON + timedelta(hours=1), user_id=nora.user_id)
    act(winter, "conversion", NOON + timedelta(hours=2), contact_id=survivor)
    drain()
    with manager.acting():
        notes.add(merged, "Likes tea")
    merge(survivor, str(merged))

    found = history(survivor)

    kinds = [entry["kind"] for entry in found]
    assert sorted(kinds) == sorted(
        ["scan", "check_in", "conversion", "campaign", "consent", "consent", "created", "created", "note", "merge"]
    )
    assert found == sorted(found, key=lambda entry: (entry["at"], entry["id"], entry["kind"]), reverse=True)
    assert [entry["detail"]["source_id"] for entry in found if entry["detail"].get("reversed_at")] == [str(scan)]
    assert [entry["kind"] for entry in history(survivor, campaign_id=str(winter.id))] == [
        "conversion",
        "check_in",
        "campaign",
    ]
    assert [entry["kind"] for entry in history(survivor, kind=["scan", "note"])] == ["note", "scan"]
    assert [entry["kind"] for entry in history(str(merged), kind=["merge", "note", "conversion"])] == ["note"]


def test_segments_are_part_of_the_timeline_and_a_filter(client, manager, add, history, query):
    member, former = add(name="Ana"), add(name="Eva")
    segment = str(new_id())
    query(
        "insert into audience_segments (id, brand_id, name) select %s, brand_id, 'Regulars' from contacts limit 1",
        segment,
    )
    for contact, left in ((member, None), (former, NOON)):
        query(
            "insert into segment_members select brand_id, %s, id, %s, %s from contacts where id = %s",
            *(segment, NOON - timedelta(days=1), left, contact),
        )

    found = client.get(URL, token=manager.token, params={"segment_id": segment}).json["items"]
    passed = history(former, kind=["segment_entered", "segment_left"])

    assert [one["id"] for one in found] == [member]
    assert [entry["kind"] for entry in passed] == ["segment_left", "segment_entered"]
    assert passed[0]["detail"] == {"segment_id": segment, "name": "Regulars"}
