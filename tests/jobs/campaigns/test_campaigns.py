"""Test the launch of a campaign, as a job."""

import json
from uuid import UUID

import pytest
import redis

import jobs.campaigns.actors
from jobs.engine.worker.current import CurrentJob
from models.campaigns import campaigns, codes, launch
from models.campaigns.config import Config
from models.core import context, keys
from models.core.database import transaction, value
from models.jobs import ledger
from models.passport import services
from models.passport.health import HealthStore
from models.tenants import brands


@pytest.fixture
def start(manager):
    """Start the launch of a campaign. Return the job's id."""

    def ask(campaign) -> UUID:
        with manager.acting():
            return launch.start(campaign.id).id

    return ask


def read(account, campaign):
    with account.acting():
        return campaigns.get(campaign.id)


def job_of(account, job_id):
    with account.acting():
        return ledger.get(job_id)


@pytest.fixture(autouse=True)
def health(monkeypatch, redis_url):
    """Give the services a full retry budget: interrupted launches of other tests would use it up."""
    client = redis.Redis.from_url(redis_url)
    for key in client.keys("passport:health:*"):
        client.delete(key)
    client.close()
    monkeypatch.setattr(services, "health", HealthStore(redis_url))


def test_launch_of_draft_makes_it_active(campaign, manager, start, drain):
    draft, other = campaign(launched=False), campaign(launched=False)
    job_id = start(draft)

    ran = drain()

    active = read(manager, draft)
    assert "campaign.launch" in ran
    assert (active.status, active.launch_job_id) == ("Active", None)
    assert active.launched_at > draft.created_at
    assert active.fingerprint_key_version == keys.active_version()
    job = job_of(manager, job_id)
    assert (job.state, job.progress_done, job.progress_total, job.progress_message) == ("done", 7, 7, "active")
    untouched = read(manager, other)
    assert (untouched.status, untouched.fingerprint_key_version) == ("Draft", None)


def test_launch_opens_a_qr_activation_at_coliseum_once(campaign, start, drain, query):
    draft, drop = campaign(launched=False), campaign(launched=False, kind="Locker")
    for one in (draft, drop):
        start(one)
        drain()
    with transaction(context.for_brand_job(draft.brand_id)):
        ledger.enqueue("campaign.launch", draft.id)
    drain()

    assert query("select campaign_id from coliseum_campaigns") == [(draft.id,)]


def test_launch_creates_first_code_only_where_there_is_none(campaign, manager, start, drain):
    bare, printed = campaign(launched=False), campaign(launched=False)
    with manager.acting():
        codes.add(printed.id, "Entrance")
    for draft in (bare, printed):
        start(draft)

    drain()

    with manager.acting():
        labels = [[code.label for code in codes.find(draft.id, limit=9)] for draft in (bare, printed)]
    assert labels == [["default"], ["Entrance"]]


@pytest.fixture
def within(monkeypatch):
    """`within(number, do)`: call `do(step, campaign_id)` in place of a step of the launch."""

    def replace(number, do):
        name = launch.STEPS[number]
        message, step = jobs.campaigns.actors.STEPS[name]
        monkeypatch.setitem(jobs.campaigns.actors.STEPS, name, (message, lambda campaign_id: do(step, campaign_id)))

    return replace


@pytest.fixture
def between(monkeypatch):
    """`between(number, do)`: call `do()` after `number` steps of a launch have committed."""

    def replace(number, do):
        report = CurrentJob.progress

        def progress(job, done, total, message=""):
            if done == number:
                do()
            report(job, done, total, message)

        monkeypatch.setattr(CurrentJob, "progress", progress)

    return replace


def once(do):
    """Return a function that calls `do` the first time only."""
    waiting = [do]

    def perhaps():
        if waiting:
            waiting.pop()()

    return perhaps


def breaking():
    raise ConnectionResetError


@pytest.mark.parametrize("number", range(len(launch.STEPS)))
def test_launch_interrupted_within_step_repeats_it(campaign, manager, start, drain, within, number):
    draft = campaign(launched=False)
    breaks = once(breaking)

    def step_and_break(step, campaign_id):
        step(campaign_id)
        breaks()

    within(number, step_and_break)

    _assert_launched_in_two_attempts(draft, manager, start, drain)


@pytest.mark.parametrize("number", range(len(launch.STEPS) + 1))
def test_launch_interrupted_between_steps_resumes(campaign, manager, start, drain, between, number):
    draft = campaign(launched=False)
    between(number, once(breaking))

    _assert_launched_in_two_attempts(draft, manager, start, drain)


def _assert_launched_in_two_attempts(draft, manager, start, drain):
    job_id = start(draft)

    ran = drain()

    assert ran.count("campaign.launch") == 2
    assert job_of(manager, job_id).state == "done"
    active = read(manager, draft)
    assert (active.status, active.launch_job_id, active.fingerprint_key_version) == (
        "Active",
        None,
        keys.active_version(),
    )
    with manager.acting():
        assert len(codes.find(draft.id, limit=9)) == 1
    assert _activations(draft) == 1


def _activations(campaign):
    with transaction(context.for_system_job()):
        sql = "SELECT count(*) FROM public.audit_logs WHERE action = 'campaign.launched' AND record_id = %s"
        return value(sql, (campaign.id,))


def test_resumed_launch_keeps_later_pause(campaign, manager, start, drain, between):
    draft = campaign(launched=False)

    def pause_and_break():
        with manager.acting():
            campaigns.transition(draft.id, "pause")
        raise ConnectionResetError

    between(6, once(pause_and_break))
    start(draft)

    assert drain().count("campaign.launch") == 2

    assert read(manager, draft).status == "Paused"


def test_dead_launch_does_not_block_the_next_one(campaign, manager, start, drain, superuser):
    draft = campaign(launched=False)
    first = start(draft)
    with superuser.cursor() as cursor:  # the campaign's end passes before the job runs
        cursor.execute(
            """update public.campaigns set config = config || '{"ends_at": "2020-01-01T00:00:00Z"}' where id = %s""",
            (draft.id,),
        )
    drain(allow_dead=True)
    assert job_of(manager, first).state == "dead"
    error = job_of(manager, first).error
    assert error["code"] == "not_ready"
    assert "has passed" in error["message"]

    with manager.acting():
        campaigns.replace(campaigns.get_for_update(draft.id), name="Again", kind="QR", config=Config())
    second = start(draft)
    drain()

    assert second != first
    assert read(manager, draft).status == "Active"


def test_progress_of_running_launch_is_visible(campaign, manager, start, drain, within):
    draft = campaign(launched=False)
    job_id = start(draft)
    seen = []

    def step_and_look(step, campaign_id):
        step(campaign_id)
        job = job_of(manager, job_id)
        seen.append((job.state, job.progress_done, job.progress_total, job.progress_message))

    within(4, step_and_look)
    drain()

    assert seen == [("running", 4, 7, "creating its first code")]


@pytest.fixture
def events(subscribe, query):
    """Subscribe to all events of the brand. Return a function for (type, campaign) of each published event."""
    subscribe()

    def read_all():
        found = query("select type, payload from app.webhook_outbox order by event_id")
        return [(kind, UUID(json.loads(payload)["data"]["campaign_id"])) for kind, payload in found]

    return read_all


def test_each_transition_is_announced_once(campaign, manager, start, drain, events):
    draft = campaign(launched=False)
    start(draft)
    drain()

    for name in ("pause", "resume", "complete"):
        with manager.acting():
            campaigns.transition(draft.id, name)
    for _ in range(2):
        with manager.acting():
            campaigns.archive(campaigns.get_for_update(draft.id))

    assert [kind for kind, _ in events()] == [
        "campaign.launched",
        "campaign.paused",
        "campaign.resumed",
        "campaign.completed",
        "campaign.archived",
    ]
    assert {campaign_id for _, campaign_id in events()} == {draft.id}


def test_archiving_and_restoring_the_brand_announces_its_campaigns(campaign, admin, drain, events):
    first, second = campaign("First"), campaign("Second")
    campaign("Draft", launched=False)
    published = len(events())

    for act in (brands.archive, brands.restore, brands.restore):
        with admin.acting():
            act(first.brand_id)
        drain()

    assert sorted(events()[published:]) == sorted(
        (kind, one.id) for kind in ("campaign.paused", "campaign.resumed") for one in (first, second)
    )


def test_members_are_notified_of_finished_and_failed_launches(campaign, start, drain, query, mailbox):
    fine, broken = campaign("Fine", launched=False), campaign("Broken", launched=False)
    for draft in (fine, broken):
        start(draft)
    query(
        """update public.campaigns set config = config || '{"ends_at": "2020-01-01T00:00:00Z"}' where id = %s""",
        broken.id,
    )

    for _ in range(2):
        drain(allow_dead=True)
        with transaction(context.for_system_job()):
            ledger.enqueue("campaigns.sweep")
    drain()

    found = query("select kind, subject_id, occurrences, details from public.notifications order by kind desc")
    assert [row[:3] for row in found] == [
        ("launch_finished", str(fine.id), 1),
        ("launch_failed", str(broken.id), 1),
    ]
    assert "has passed" in found[1][3]["reason"]


def test_launch_during_archiving_of_the_brand_fails_and_is_repeated(campaign, manager, admin, start, drain, between):
    draft = campaign(launched=False)

    def archive():
        with admin.acting():
            brands.archive(draft.brand_id)

    between(4, once(archive))
    first = start(draft)
    drain(allow_dead=True)
    with transaction(context.for_brand_job(draft.brand_id)):
        failed = campaigns.get(draft.id)
        assert launch.progress_of([failed])[draft.id].step == "activation"
        assert ledger.get(first).error["code"] == "not_ready"
    with admin.acting():
        brands.restore(draft.brand_id)
    with transaction(context.for_brand_job(draft.brand_id)):
        launch.start(draft.id)
    drain()

    assert failed.status == "Draft"
    with transaction(context.for_brand_job(draft.brand_id)):
        assert campaigns.get(draft.id).status == "Active"
