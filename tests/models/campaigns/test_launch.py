"""Launch of a campaign: readiness, the job, and activation."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import LaunchInProgress
from models.campaigns.config import Config
from models.campaigns.launch import NotReady
from models.campaigns.statuses import IllegalTransition
from models.core import context, keys
from models.core.database import now, transaction
from models.core.errors import FieldError


def in_days(days):
    return (now() + timedelta(days=days)).isoformat()


def test_second_launch_returns_the_running_job(campaign, manager):
    draft, other = campaign(launched=False), campaign(launched=False)

    with manager.acting():
        first = launch.start(draft.id)
    with manager.acting():
        second = launch.start(draft.id)
        launching = campaigns.get(draft.id)
        untouched = campaigns.get(other.id)

    assert (first.created, second.created) == (True, False)
    assert first.id == second.id == launching.launch_job_id
    assert (launching.status, launching.version) == ("Draft", draft.version + 1)
    assert (untouched.launch_job_id, untouched.version) == (None, other.version)


def test_concurrent_launches_start_one_job(campaign, manager):
    draft = campaign(launched=False)

    def start(_):
        with manager.acting():
            return launch.start(draft.id)

    with ThreadPoolExecutor(4) as pool:
        jobs = list(pool.map(start, range(4)))

    assert len({job.id for job in jobs}) == 1
    assert sum(job.created for job in jobs) == 1


def test_campaign_being_launched_is_not_replaced(campaign, manager):
    draft = campaign(launched=False)
    with manager.acting():
        job = launch.start(draft.id)

    with pytest.raises(LaunchInProgress) as refused, manager.acting():
        campaigns.replace(campaigns.get_for_update(draft.id), name="Other", kind="QR", config=Config())

    assert refused.value.extra["job_id"] == job.id
    with manager.acting():
        assert campaigns.get(draft.id).name == "Summer"


def test_launch_reports_everything_that_is_missing(campaign, manager):
    drafts = {
        "has passed: must be later than now": campaign(kind="Event", launched=False, ends_at=in_days(-1)),
        "must be set for an event": campaign(kind="Event", launched=False),
    }

    for reason, draft in drafts.items():
        with pytest.raises(NotReady) as refused, manager.acting():
            launch.start(draft.id)

        assert refused.value.status == 422
        assert refused.value.extra["errors"] == [{"field": "config.ends_at", "reason": reason}]


def test_end_at_the_time_of_the_check_has_passed(campaign):
    draft, at = campaign(launched=False, ends_at=in_days(1)), campaigns.config_of

    passed = FieldError("config.ends_at", "has passed: must be later than now")
    assert launch.missing(draft, at(draft).ends_at) == [passed]
    assert launch.missing(draft, at(draft).ends_at - timedelta(microseconds=1)) == []


def test_launch_of_completed_campaign_is_refused(campaign, manager):
    launched = campaign()
    with manager.acting():
        campaigns.transition(launched.id, "complete")

    with pytest.raises(IllegalTransition) as refused, manager.acting():
        launch.start(launched.id)

    assert (refused.value.current, refused.value.allowed) == ("Completed", [])


def test_fingerprint_key_is_pinned_once_and_for_one_campaign(campaign, monkeypatch):
    launched, other = campaign(), campaign(launched=False)
    monkeypatch.setattr(keys, "active_version", lambda: 99)

    with transaction(context.for_brand_job(launched.brand_id)):
        launch.pin_fingerprint_key(launched.id)
        pinned = [campaigns.get(one.id).fingerprint_key_version for one in (launched, other)]

    assert pinned == [launched.fingerprint_key_version, None]
    assert launched.fingerprint_key_version != 99


def test_second_activation_changes_nothing(campaign):
    launched = campaign()

    with transaction(context.for_brand_job(launched.brand_id)):
        again = launch.activate(launched.id)

    assert (again.version, again.launched_at) == (launched.version, launched.launched_at)


def test_first_code_is_created_only_where_there_is_none(campaign):
    launched = campaign()

    with transaction(context.for_brand_job(launched.brand_id)):
        codes.ensure_first(launched.id)
        labels = [code.label for code in codes.find(launched.id, limit=9)]

    assert labels == ["default"]
