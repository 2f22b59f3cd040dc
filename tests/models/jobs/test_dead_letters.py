"""Dead letters: groups by cause, and replays under the same id."""

from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest

import jobs.actors  # noqa: F401  (declares every actor before a test declares its own)
from jobs.engine import actor
from jobs.engine.ledger import Ledger
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import now, transaction
from models.core.errors import NotFound
from models.jobs import dead_letters
from models.jobs.dead_letters import Blocked, Filter
from models.jobs.ledger import enqueue
from tests.fixtures.jobs import take

pytestmark = pytest.mark.usefixtures("temporary_actors")


def test_dead_letters_with_one_cause_are_one_group(admin, make_dead_letter, make_brand):
    one, other = make_brand("One"), make_brand("Other")
    for brand in (one, one, other):
        make_dead_letter("test.one", message=f"no answer to {uuid4()}", brand_id=brand["id"])
    make_dead_letter("test.one", where=["vendors.py:99 other"])
    make_dead_letter("test.two")

    with admin.acting():
        groups = dead_letters.groups(Filter(), 10)
        of_other = dead_letters.groups(Filter(brand_id=other["id"]), 10)

    assert (groups[0].actor, groups[0].count, groups[0].brands) == ("test.one", 3, 2)
    assert sorted((group.actor, group.count) for group in groups[1:]) == [("test.one", 1), ("test.two", 1)]
    assert groups[0].first_at < groups[0].last_at
    assert groups[0].error["kind"] == "VendorError"
    assert [(group.fingerprint, group.count) for group in of_other] == [(groups[0].fingerprint, 1)]


def test_pages_of_groups_and_dead_letters_are_complete(admin, make_dead_letter):
    ids = {make_dead_letter(f"test.{name}") for name in ("one", "one", "two", "three")}

    with admin.acting():
        first = dead_letters.groups(Filter(), 2)
        rest = dead_letters.groups(Filter(), 2, (first[-1].count, first[-1].fingerprint))
        page = dead_letters.page(Filter(), 3)
        last = dead_letters.page(Filter(), 3, (page[-1].finished_at, page[-1].id))

    assert [group.count for group in first + rest] == [2, 1, 1]
    assert {letter.id for letter in page + last} == ids
    assert len(page) == 3


def test_replayed_job_keeps_its_id_and_gets_new_attempts(admin, make_dead_letter, query, brand):
    id = make_dead_letter("test.one", "arg", brand_id=brand["id"], priority=0)

    with admin.acting():
        done = dead_letters.replay(Filter(ids=[id]))

    assert done.ids == [id]
    assert query("select count(*) from app.dead_jobs") == [(0,)]
    ((state, attempts, crashes, fence, priority, args, error, tenant_key),) = query(
        "select state, attempts, crashes, fence, priority, args, error, tenant_key from app.jobs where id = %s", id
    )
    assert (state, attempts, crashes, priority, args, tenant_key) == ("waiting", 0, 0, 0, ["arg"], brand["id"])
    assert fence == 1  # The next claim has fence 2, so a claim from before the replay is refused.
    assert error["message"] == "it broke"


def test_replay_is_audited_for_its_brand_and_admin(admin, make_dead_letter, query, brand):
    id = make_dead_letter("test.one", brand_id=brand["id"])

    with admin.acting():
        dead_letters.replay(Filter(ids=[id]))

    ((who, record, of, role, details),) = query(
        "select user_id, record_id, brand_id, actor_role, details from public.audit_logs where action = 'job.replay'"
    )
    assert (who, record, of, role) == (admin.user_id, id, brand["id"], "System Admin")
    assert (details["before"]["state"], details["after"]["state"]) == ("dead", "waiting")
    assert "args" not in details["before"]


def test_replay_with_new_arguments_audits_both(admin, make_dead_letter, query):
    id = make_dead_letter("test.one", "wrong")

    with admin.acting():
        dead_letters.replay(Filter(ids=[id]), args=["right", 2])

    assert query("select args from app.jobs where id = %s", id) == [(["right", 2],)]
    ((details,),) = query("select details from public.audit_logs where action = 'job.replay'")
    assert (details["before"]["args"], details["after"]["args"]) == (["wrong"], ["right", 2])


def test_dead_letters_are_filtered_by_actor_brand_and_time(admin, make_dead_letter, brand):
    mine = make_dead_letter("test.one", brand_id=brand["id"])
    make_dead_letter("test.one")
    noon = now()
    late = make_dead_letter("test.two")

    with admin.acting():
        found = [
            {letter.id for letter in dead_letters.page(which, 10)}
            for which in (
                Filter(actor="test.one", brand_id=brand["id"]),
                Filter(since=noon),
                Filter(until=noon, brand_id=brand["id"]),
                Filter(since=noon, actor="test.one"),
            )
        ]

    assert found == [{mine}, {late}, {mine}, set()]


def test_forecast_changes_nothing(admin, make_dead_letter, query):
    make_dead_letter("test.one")
    make_dead_letter("test.one")

    with admin.acting():
        seen = dead_letters.forecast(Filter(actor="test.one"))

    assert (seen.matching, seen.blocked, len(seen.sample)) == (2, 0, 2)
    assert query("select count(*) from app.dead_jobs") == [(2,)]
    assert query("select count(*) from public.audit_logs where action = 'job.replay'") == [(0,)]


def test_dead_letter_with_a_taken_key_is_blocked(admin, make_dead_letter, query):
    dead = make_dead_letter("test.one", unique="until_done")
    with transaction(context.for_system_job()):
        alive = enqueue("test.one", unique="until_done").id

    with admin.acting():
        seen = dead_letters.forecast(Filter(actor="test.one"))
        done = dead_letters.replay(Filter(actor="test.one"))

    assert seen.blocked == 1
    assert (done.ids, done.blocked) == ([], [Blocked(dead, alive)])
    assert query("select id from app.dead_jobs") == [(dead,)]
    assert query("select count(*) from public.audit_logs where action = 'job.replay'") == [(0,)]


def test_replayed_job_holds_its_key_again(admin, make_dead_letter):
    first, second = (make_dead_letter("test.one", unique="until_done") for _ in range(2))

    with admin.acting():
        done = dead_letters.replay(Filter(actor="test.one"))
    with transaction(context.for_system_job()):
        asked = enqueue("test.one", unique="until_done")

    assert (done.ids, done.blocked) == ([first], [Blocked(second, first)])
    assert (asked.id, asked.created) == (first, False)


def test_replay_in_batches_keeps_its_rate_and_its_start(admin, make_dead_letter, query, monkeypatch):
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    ids = [make_dead_letter("test.one") for _ in range(5)]

    which = Filter(since=now() - timedelta(hours=1))

    with admin.acting():
        done = [dead_letters.replay(which, rate=10)]
    later = make_dead_letter("test.two")
    while done[-1].place:
        with admin.acting():
            done.append(dead_letters.replay(which, rate=10, place=done[-1].place))

    assert [batch.ids for batch in done] == [ids[:2], ids[2:4], ids[4:]]
    due = [at for (at,) in query("select due_at from app.jobs where actor = 'test.one' order by due_at")]
    assert [at - due[0] for at in due] == [timedelta(seconds=n / 10) for n in range(5)]
    assert query("select id from app.dead_jobs") == [(later,)]


def test_replayed_job_cannot_be_replayed_again(admin, make_dead_letter):
    id = make_dead_letter("test.one")

    with admin.acting():
        dead_letters.replay(Filter(ids=[id]))
        with pytest.raises(NotFound):
            dead_letters.replay(Filter(ids=[id]))
        with pytest.raises(NotFound):
            dead_letters.get(id)


def test_only_system_admins_replay(make_dead_letter, member, brand):
    id = make_dead_letter("test.one", brand_id=brand["id"])

    with member("Brand Admin").acting(), pytest.raises(Exception, match="permission denied"):
        dead_letters.replay(Filter(ids=[id]))


def test_replay_of_one_group_leaves_the_others(admin, brand, ledger: Ledger, runner: Runner, query, drain):
    did: Counter[int] = Counter()
    mended = False

    @actor("test.letters", runs_as="brand", max_attempts=1)
    def letters(number: int) -> None:
        if not mended:
            raise KeyError(number)
        did[number] += 1

    @actor("test.receipts", runs_as="brand", max_attempts=1)
    def receipts(number: int) -> None:
        raise ValueError(f"receipt {number}")

    @actor("test.stamps", runs_as="brand")
    def stamps(number: int) -> None:
        raise NotFound(f"no stamp {number}")

    kinds = ("test.receipts", "test.stamps", "test.letters")
    with transaction(context.for_system_job()):
        for number in range(1000):
            kind = kinds[min(number % 5, 2)]
            enqueue(*(kind, number), brand_id=brand["id"])
    while ids := take(ledger, *kinds, most=200):
        for claim in ledger.claim(ids, 1):
            assert runner.run(claim) == "dead"
    with admin.acting():
        groups = {group.actor: group for group in dead_letters.groups(Filter(), 10)}
    assert {kind: groups[kind].count for kind in kinds} == dict(zip(kinds, (200, 200, 600), strict=True))

    mended = True
    with admin.acting():
        done = dead_letters.replay(Filter(fingerprint=groups["test.letters"].fingerprint), rate=100)
    ((first, last),) = query("select min(due_at), max(due_at) from app.jobs where actor = 'test.letters'")
    ran = Counter(drain())

    assert (len(done.ids), done.blocked, done.place) == (600, [], None)
    assert last - first == timedelta(seconds=5.99)
    assert ran["test.letters"] == 600
    assert set(did) == {number for number in range(1000) if number % 5 > 1}
    assert set(did.values()) == {1}
    assert dict(query("select actor, count(*) from app.dead_jobs group by actor")) == {
        "test.receipts": 200,
        "test.stamps": 200,
    }
    assert query("select count(distinct record_id) from public.audit_logs where action = 'job.replay'") == [(600,)]
