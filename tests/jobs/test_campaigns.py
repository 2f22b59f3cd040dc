"""The launch of a campaign, as a job."""

from uuid import UUID

import pytest

import jobs.campaigns
from jobs.engine.worker.current import CurrentJob
from models.campaigns import campaigns
from models.campaigns.campaigns import Config
from models.core import context, keys
from models.core.database import transaction, value
from models.jobs import ledger as ledger_of


@pytest.fixture
def launch(manager):
    """Ask for the launch of a campaign; the job's id."""

    def ask(campaign) -> UUID:
        with manager.acting():
            return campaigns.launch(campaign.id).id

    return ask


def read(account, campaign):
    with account.acting():
        return campaigns.get(campaign.id)


def job_of(account, job_id):
    with account.acting():
        return ledger_of.get(job_id)


def test_a_launch_takes_a_draft_live(campaign, manager, launch, drain):
    draft = campaign(launched=False)
    job_id = launch(draft)

    ran = drain()

    live = read(manager, draft)
    assert "campaign.launch" in ran
    assert (live.status, live.launch_job_id) == ("Active", None)
    assert live.launched_at > draft.created_at
    assert live.fingerprint_key_version == keys.active_version()
    job = job_of(manager, job_id)
    assert (job.state, job.progress_done, job.progress_total, job.progress_message) == ("done", 5, 5, "live")


def test_a_campaign_without_codes_gets_its_first_one_and_others_keep_theirs(campaign, manager, launch, drain):
    bare, printed = campaign(launched=False), campaign(launched=False)
    with manager.acting():
        campaigns.add_code(printed.id, "Entrance")
    for draft in (bare, printed):
        launch(draft)

    drain()

    with manager.acting():
        labels = [[code.label for code in campaigns.codes_of(draft.id, limit=9)] for draft in (bare, printed)]
    assert labels == [["default"], ["Entrance"]]


@pytest.fixture
def within(monkeypatch):
    """`within(number, do)`: have `do(step, campaign_id)` called in place of a step of the launch."""

    def replace(number, do):
        steps = list(jobs.campaigns.STEPS)
        message, step = steps[number]
        steps[number] = (message, lambda campaign_id: do(step, campaign_id))
        monkeypatch.setattr(jobs.campaigns, "STEPS", steps)

    return replace


@pytest.fixture
def between(monkeypatch):
    """`between(number, do)`: have `do()` called after so many steps of a launch have committed."""

    def replace(number, do):
        report = CurrentJob.progress

        def progress(job, done, total, message=""):
            if done == number:
                do()
            report(job, done, total, message)

        monkeypatch.setattr(CurrentJob, "progress", progress)

    return replace


def once(do):
    """`do`, the first time only."""
    waiting = [do]

    def perhaps():
        if waiting:
            waiting.pop()()

    return perhaps


def breaking():
    raise ConnectionResetError


@pytest.mark.parametrize("number", range(len(jobs.campaigns.STEPS)))
def test_a_launch_that_breaks_within_a_step_takes_it_again(campaign, manager, launch, drain, within, number):
    draft = campaign(launched=False)
    breaks = once(breaking)

    def step_and_break(step, campaign_id):
        step(campaign_id)
        breaks()

    within(number, step_and_break)

    _is_launched_in_two_attempts(draft, manager, launch, drain)


@pytest.mark.parametrize("number", range(len(jobs.campaigns.STEPS) + 1))
def test_a_launch_that_breaks_between_steps_goes_on_there(campaign, manager, launch, drain, between, number):
    draft = campaign(launched=False)
    between(number, once(breaking))

    _is_launched_in_two_attempts(draft, manager, launch, drain)


def _is_launched_in_two_attempts(draft, manager, launch, drain):
    job_id = launch(draft)

    ran = drain()

    assert ran.count("campaign.launch") == 2
    assert job_of(manager, job_id).state == "done"
    live = read(manager, draft)
    assert (live.status, live.launch_job_id, live.fingerprint_key_version) == ("Active", None, keys.active_version())
    with manager.acting():
        assert len(campaigns.codes_of(draft.id, limit=9)) == 1
    assert _activations(draft) == 1


def _activations(campaign):
    with transaction(context.for_system_job()):
        sql = "SELECT count(*) FROM public.audit_logs WHERE action = 'campaign.launched' AND record_id = %s"
        return value(sql, (campaign.id,))


def test_what_was_done_with_a_live_campaign_is_not_undone_by_the_end_of_its_launch(
    campaign, manager, launch, drain, between
):
    draft = campaign(launched=False)

    def pause_and_break():
        with manager.acting():
            campaigns.move(draft.id, "pause")
        raise ConnectionResetError

    between(4, once(pause_and_break))
    launch(draft)

    assert drain().count("campaign.launch") == 2

    assert read(manager, draft).status == "Paused"


def test_a_dead_launch_stands_in_nobodys_way(campaign, manager, launch, drain, superuser):
    draft = campaign(launched=False)
    first = launch(draft)
    with superuser.cursor() as cursor:  # time passes
        cursor.execute(
            """update public.campaigns set config = config || '{"ends_at": "2020-01-01T00:00:00Z"}' where id = %s""",
            (draft.id,),
        )
    drain(allow_dead=True)
    assert job_of(manager, first).state == "dead"
    assert "has passed" in job_of(manager, first).error["message"]

    with manager.acting():
        campaigns.replace(campaigns.lock(draft.id), name="Again", kind="QR", config=Config())
    second = launch(draft)
    drain()

    assert second != first
    assert read(manager, draft).status == "Active"


def test_while_it_is_launched_its_progress_is_seen(campaign, manager, launch, drain, within):
    draft = campaign(launched=False)
    job_id = launch(draft)
    seen = []

    def step_and_look(step, campaign_id):
        step(campaign_id)
        job = job_of(manager, job_id)
        seen.append((job.state, job.progress_done, job.progress_total, job.progress_message))

    within(2, step_and_look)
    drain()

    assert seen == [("running", 2, 5, "making its first code")]
