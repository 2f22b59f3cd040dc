"""Scheduled launch and end of campaigns, by the sweep and its jobs."""

from datetime import timedelta

import pytest

from models.campaigns import campaigns, launch, schedule
from models.campaigns.campaigns import CampaignArchived, LaunchInProgress
from models.campaigns.launch import NotReady
from models.campaigns.statuses import IllegalTransition
from models.core import context
from models.core.database import now, transaction
from models.core.errors import Invalid
from models.jobs.ledger import enqueue

HOUR = timedelta(hours=1)


@pytest.fixture
def sweep(drain):
    """Run the sweep and the jobs that it enqueues. Return the names of the jobs after it."""

    def run():
        with transaction(context.for_system_job()):
            enqueue("campaigns.sweep")
        return [name for name in drain(allow_dead=True) if name != "campaigns.sweep"]

    return run


@pytest.fixture
def end_at(query):
    """`end_at(campaign, time)`: change the end of a stored campaign."""

    def change(campaign, at):
        query(
            "update public.campaigns set config = config || jsonb_build_object('ends_at', %s::text) where id = %s",
            at.isoformat(),
            campaign.id,
        )

    return change


def read(account, campaign):
    with account.acting():
        return campaigns.get(campaign.id)


def audited(query, action):
    return query("select record_id, user_id, details from public.audit_logs where action = %s", action)


def test_campaigns_are_completed_once_at_their_end(campaign, manager, sweep, end_at, query):
    active, paused, draft = campaign("Active"), campaign("Paused"), campaign("Draft", launched=False)
    later, endless = campaign("Later"), campaign("Endless")
    with manager.acting():
        campaigns.transition(paused.id, "pause")
    for ended in (active, paused, draft):
        end_at(ended, now() - HOUR)
    end_at(later, now() + HOUR)

    first, second = sweep(), sweep()

    assert first.count("campaign.end") == 2
    assert second.count("campaign.end") == 0
    statuses = {one.name: read(manager, one).status for one in (active, paused, draft, later, endless)}
    assert statuses == {
        "Active": "Completed",
        "Paused": "Completed",
        "Draft": "Draft",
        "Later": "Active",
        "Endless": "Active",
    }
    entries = audited(query, "campaign.completed")
    assert {(record_id, user_id) for record_id, user_id, _ in entries} == {(active.id, None), (paused.id, None)}
    assert len(entries) == 2


def test_end_that_was_moved_while_the_job_waited_is_obeyed(campaign, manager, drain, end_at):
    moved = campaign()
    end_at(moved, now() - HOUR)
    with transaction(context.for_system_job()):
        schedule.sweep()
    end_at(moved, now() + HOUR)

    assert "campaign.end" in drain()
    assert read(manager, moved).status == "Active"


def test_scheduled_launch_starts_at_its_time(campaign, manager, sweep, query):
    due, later = campaign("Due", launched=False), campaign("Later", launched=False)
    for draft in (due, later):
        with manager.acting():
            schedule.set_launch(draft.id, now() + HOUR)
    assert sweep() == []
    query("update public.campaigns set launch_at = now() - interval '1 hour' where id = %s", due.id)

    assert "campaign.launch" in sweep()

    launched, waiting = read(manager, due), read(manager, later)
    assert (launched.status, launched.launch_at) == ("Active", None)
    assert (waiting.status, waiting.launch_at is not None) == ("Draft", True)


def test_launch_that_was_moved_while_the_job_waited_is_obeyed(campaign, manager, drain):
    draft = campaign(launched=False)
    with manager.acting():
        schedule.set_launch(draft.id, now() + HOUR)
    with transaction(context.for_system_job()):
        enqueue("campaign.start_scheduled", draft.id, brand_id=draft.brand_id)

    ran = drain()

    assert ran == ["campaign.start_scheduled"]
    assert (read(manager, draft).status, read(manager, draft).launch_job_id) == ("Draft", None)


def test_scheduled_launch_that_is_not_ready_fails_visibly(campaign, manager, sweep, end_at, query, mailbox):
    draft = campaign(launched=False)
    with manager.acting():
        schedule.set_launch(draft.id, now() + HOUR)
    query("update public.campaigns set launch_at = now() - interval '1 hour'")
    end_at(draft, now() - HOUR)

    sweep()
    failed = read(manager, draft)
    with manager.acting():
        progress = launch.progress_of([failed])[draft.id]
    assert "campaign.report_failed_launch" in sweep()
    assert "campaign.report_failed_launch" not in sweep()

    assert (failed.status, failed.launch_at) == ("Draft", None)
    assert (progress.state, progress.step, progress.error["code"]) == ("failed", "readiness", "not_ready")
    ((record_id, user_id, details),) = audited(query, "campaign.launch_failed")
    assert (record_id, user_id) == (draft.id, None)
    assert (details["after"]["step"], details["after"]["error"]) == ("readiness", "not_ready")


def test_second_failure_of_a_launch_is_reported_again(campaign, manager, sweep, end_at, query, mailbox):
    draft = campaign(launched=False)

    for reports in (1, 2):
        end_at(draft, now() + HOUR)
        with manager.acting():
            launch.start(draft.id)
        end_at(draft, now() - HOUR)
        for _ in range(3):
            sweep()

        assert len(audited(query, "campaign.launch_failed")) == reports


def test_failed_launch_is_reported_once_by_two_jobs(campaign, manager, drain, end_at, query):
    draft = campaign(launched=False)
    with manager.acting():
        launch.start(draft.id)
    end_at(draft, now() - HOUR)
    drain(allow_dead=True)

    with transaction(context.for_brand_job(draft.brand_id)):
        reported = [launch.report_failure(draft.id) for _ in range(2)]

    assert reported == [True, False]
    assert len(audited(query, "campaign.launch_failed")) == 1


def test_launch_is_scheduled_where_it_would_be_possible_only(campaign, manager, end_at):
    draft, running, active = (campaign(name, launched=name == "Active") for name in ("Draft", "Running", "Active"))
    archived = campaign("Archived", launched=False)
    with manager.acting():
        launch.start(running.id)
        campaigns.archive(campaigns.get_for_update(archived.id))
    end_at(draft, now() + HOUR)

    def refused(subject, error, at=HOUR):
        with pytest.raises(error), manager.acting():
            schedule.set_launch(subject.id, now() + at)

    refused(draft, Invalid, -HOUR)
    refused(draft, NotReady, 2 * HOUR)
    refused(running, LaunchInProgress)
    refused(active, IllegalTransition)
    refused(archived, CampaignArchived)


def test_scheduled_launch_can_be_removed(campaign, manager, sweep, query):
    draft = campaign(launched=False)
    with manager.acting():
        scheduled = schedule.set_launch(draft.id, now() + HOUR)
        removed = schedule.remove_launch(campaigns.get_for_update(draft.id))
        again = schedule.remove_launch(campaigns.get_for_update(draft.id))

    assert (removed.launch_at, removed.version) == (None, scheduled.version + 1)
    assert again.version == removed.version


def test_launch_by_hand_replaces_a_scheduled_one(campaign, manager, sweep, query):
    draft = campaign(launched=False)
    with manager.acting():
        schedule.set_launch(draft.id, now() + HOUR)
        launch.start(draft.id)
    assert read(manager, draft).launch_at is None

    assert sweep().count("campaign.launch") == 1
