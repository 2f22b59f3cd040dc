"""Launches killed with SIGKILL at every step: the end state is the same, and each effect happens once."""

import pytest

import jobs.campaigns.actors
from models.campaigns import campaigns, launch
from models.core import context
from models.core.database import transaction, value
from tests.fixtures.jobs import take
from tests.support.kills import WORKER, is_killed, kill

CONFIGS = {
    "QR": {},
    "Locker": {"rewards": [{"key": "churros", "name": "Six churros", "quantity": 9}]},
    "Event": {"ends_at": "2100-01-01T00:00:00Z", "event": {"capacity": 9}},
}
"""A configuration that can be launched, by type."""
OPENED = {
    "QR": "select count(*) from coliseum_campaigns where campaign_id = %s",
    "Locker": "select sum(quantity)::int / 9 from locker_rewards where campaign_id = %s",
    "Event": "select sum(capacity)::int / 9 from concierto_events where id = %s",
}
"""Effects at the service of the type, counted in its store."""

BOUNDARIES = [(step, place) for step in launch.STEPS for place in ("before", "after")]
"""Places of a kill: before a step, and after its effect has committed."""


@pytest.fixture
def run_until_killed(ledger):
    """`run_until_killed(job_id, step, place)`: run an attempt in a process that is killed at a boundary of a step."""

    def attempt(job_id, step, place):
        def arrange():
            message, run = jobs.campaigns.actors.STEPS[step]

            def run_and_die(campaign_id):
                if place == "before":
                    kill()
                run(campaign_id)
                kill()

            jobs.campaigns.actors.STEPS[step] = (message, run_and_die)

        take(ledger, "campaign.launch")
        (claim,) = ledger.claim([job_id], WORKER)
        assert is_killed(claim, arrange), f"{step}, {place}: the launch was not killed"
        ledger.release([job_id], WORKER)

    return attempt


@pytest.fixture
def start(manager):
    """Start the launch of a campaign. Return the job's id."""

    def ask(draft):
        with manager.acting():
            return launch.start(draft.id).id

    return ask


@pytest.mark.parametrize("kind", CONFIGS)
def test_launch_killed_at_each_step_in_turn_has_each_effect_once(
    campaign, start, run_until_killed, drain, superuser, kind
):
    draft = campaign(kind=kind, launched=False, **CONFIGS[kind])
    job_id = start(draft)

    for step, place in BOUNDARIES:
        if kind == "QR" or step in ("service", "overview"):  # the other steps are the same for all types
            run_until_killed(job_id, step, place)
    ran = drain()

    assert ran.count("campaign.launch") == 1
    _assert_launched_once(draft, superuser)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(("step", "place"), BOUNDARIES)
def test_launch_killed_at_one_step_has_each_effect_once(
    campaign, start, run_until_killed, drain, superuser, kind, step, place
):
    draft = campaign(kind=kind, launched=False, **CONFIGS[kind])

    run_until_killed(start(draft), step, place)
    drain()

    _assert_launched_once(draft, superuser)


def _assert_launched_once(draft, superuser):
    with transaction(context.for_brand_job(draft.brand_id)):
        launched = campaigns.get(draft.id)
    assert (launched.status, launched.launch_job_id, launched.launched_at is not None) == ("Active", None, True)
    assert effects(draft) == {"codes": 1, "activations": 1, "notifications": 1}
    with superuser.cursor() as cursor:
        cursor.execute(OPENED[draft.type], (draft.id,))
        assert cursor.fetchone() == (1,)
        cursor.execute("select count(*) from app.passport_answers where answer is not null")
        assert cursor.fetchone() == (1,)


def effects(campaign):
    """Count the effects of a launch."""
    counted = {
        "codes": "SELECT count(*) FROM public.qr_codes WHERE campaign_id = %s",
        "activations": "SELECT count(*) FROM public.audit_logs WHERE action = 'campaign.launched' AND record_id = %s",
        "notifications": "SELECT sum(occurrences)::int FROM public.notifications WHERE subject_id = %s::text",
    }
    with transaction(context.for_system_job()):
        return {name: value(sql, (campaign.id,)) for name, sql in counted.items()}
