"""Life cycle of campaigns: launch, pause, resume and complete them, and archive drafts and completed ones."""

from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, launch, schedule
from models.campaigns.campaigns import CampaignArchived, LaunchInProgress
from models.campaigns.launch import NotReady
from models.campaigns.statuses import IllegalTransition, TransitionName
from models.core.errors import PreconditionFailed
from models.tenants.brands import BrandArchived
from web.http.accepted import JobOut
from web.http.datetimes import Instant, in_utc
from web.http.endpoint import accept, audited, endpoint, require_match
from web.v1.campaigns._schemas import CampaignOut, respond


class CampaignLaunch:
    """`/api/v1/campaigns/{campaign_id}/launch`: start the launch job."""

    @endpoint(
        response=JobOut,
        status=202,
        permission="campaigns:launch",
        audit="campaign.launch",
        idempotent=True,
        problems=(BrandArchived, CampaignArchived, IllegalTransition, NotReady),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Launch a campaign. Return the running launch job if there is one.

        The answer is the job `campaign.launch`: poll its `Location` until `state` is `done`. `launch` of the campaign
        shows the step that it has reached. Before that, `not_ready` names everything that is missing in `errors`. After
        a failed job (`dead`), launch again: what is done already is not done twice. A campaign with a `starts_at` in
        the future becomes `Active`, and its scans are refused until then.
        """
        job = launch.start(campaign_id)
        audited(req, table="campaigns", record_id=campaign_id, after={"launch_job_id": job.id})
        accept(resp, job)


class ScheduleIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The time of a launch."""

    launch_at: Annotated[
        Instant,
        Meta(
            description="Time of the launch. Later than now; a job starts the launch within a minute.",
            examples=["2036-12-01T09:00:00Z"],
        ),
    ]


class CampaignSchedule:
    """`/api/v1/campaigns/{campaign_id}/schedule`: the scheduled launch of a draft."""

    @endpoint(
        operation_id="scheduleCampaign",
        body=ScheduleIn,
        response=CampaignOut,
        permission="campaigns:launch",
        audit="campaign.schedule",
        problems=(
            BrandArchived,
            CampaignArchived,
            IllegalTransition,
            LaunchInProgress,
            NotReady,
            PreconditionFailed,
        ),
        example={"launch_at": "2036-12-01T09:00:00Z"},
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Schedule the launch of a draft, or change its time.

        `not_ready` names everything that would be missing then. The launch checks again; if something is missing then,
        the campaign stays a draft with a failed `launch`.
        """
        body: ScheduleIn = req.context.body
        at = in_utc("launch_at", body.launch_at)
        assert at is not None
        require_match(req, campaigns.get(campaign_id).version)
        scheduled = schedule.set_launch(campaign_id, at)
        audited(req, table="campaigns", record_id=campaign_id, after={"launch_at": scheduled.launch_at})
        respond(resp, scheduled)

    @endpoint(
        operation_id="unscheduleCampaign",
        response=CampaignOut,
        permission="campaigns:launch",
        audit="campaign.unschedule",
    )
    def on_delete(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Remove the scheduled launch of a campaign. A campaign without one stays as it is."""
        campaign = campaigns.get_for_update(campaign_id)
        audited(req, table="campaigns", record_id=campaign_id, before={"launch_at": campaign.launch_at})
        respond(resp, schedule.remove_launch(campaign))


class CampaignPause:
    """`/api/v1/campaigns/{campaign_id}/pause`: pause a campaign."""

    @endpoint(
        response=CampaignOut, permission="campaigns:launch", audit="campaign.pause", problems=(IllegalTransition,)
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Pause an `Active` campaign.

        Scans that are received from now on are refused with `campaign_not_active`, whatever the time of the scan.
        """
        _transit(req, resp, campaign_id, "pause")


class CampaignResume:
    """`/api/v1/campaigns/{campaign_id}/resume`: resume a paused campaign."""

    @endpoint(
        response=CampaignOut,
        permission="campaigns:launch",
        audit="campaign.resume",
        problems=(BrandArchived, IllegalTransition, NotReady),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Resume a `Paused` campaign.

        `not_ready` names everything that prevents it, such as an `ends_at` that has passed.
        """
        launch.require_resumable(campaign_id)
        _transit(req, resp, campaign_id, "resume")


class CampaignComplete:
    """`/api/v1/campaigns/{campaign_id}/complete`: complete a campaign."""

    @endpoint(
        response=CampaignOut, permission="campaigns:launch", audit="campaign.complete", problems=(IllegalTransition,)
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Complete an `Active` or `Paused` campaign for ever.

        Scans that were made before still count if they arrive within `config.max_lateness_s`. A job completes campaigns
        at their `ends_at`.
        """
        _transit(req, resp, campaign_id, "complete")


def _transit(req: Request, resp: Response, campaign_id: UUID, name: TransitionName) -> None:
    before = campaigns.get(campaign_id)
    changed = campaigns.transition(campaign_id, name)
    audited(
        req,
        table="campaigns",
        record_id=campaign_id,
        before={"status": before.status},
        after={"status": changed.status},
    )
    respond(resp, changed)


class CampaignArchive:
    """`/api/v1/campaigns/{campaign_id}/archive`: archive a campaign, or bring it back."""

    @endpoint(
        operation_id="archiveCampaign",
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.archive",
        problems=(IllegalTransition, LaunchInProgress, PreconditionFailed),
    )
    def on_put(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Archive a draft or a completed campaign: the list leaves it out, and it can't be changed.

        Complete an `Active` or `Paused` campaign first. An archived campaign stays as it is.
        """
        before = campaigns.get_for_update(campaign_id)
        require_match(req, before.version)
        _respond_archived(req, resp, before, campaigns.archive(before))

    @endpoint(
        operation_id="unarchiveCampaign",
        response=CampaignOut,
        permission="campaigns:write",
        audit="campaign.unarchive",
    )
    def on_delete(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Bring an archived campaign back to the lists. A campaign that is not archived stays as it is."""
        before = campaigns.get_for_update(campaign_id)
        _respond_archived(req, resp, before, campaigns.unarchive(before))


def _respond_archived(req: Request, resp: Response, before: campaigns.Campaign, after: campaigns.Campaign) -> None:
    was, is_now = {"archived_at": before.archived_at}, {"archived_at": after.archived_at}
    audited(req, table="campaigns", record_id=after.id, before=was, after=is_now)
    respond(resp, after)


_ONE = "/api/v1/campaigns/{campaign_id:uuid}"

ROUTES: list[tuple[str, object]] = [
    (f"{_ONE}/archive", CampaignArchive()),
    (f"{_ONE}/complete", CampaignComplete()),
    (f"{_ONE}/launch", CampaignLaunch()),
    (f"{_ONE}/pause", CampaignPause()),
    (f"{_ONE}/resume", CampaignResume()),
    (f"{_ONE}/schedule", CampaignSchedule()),
]
