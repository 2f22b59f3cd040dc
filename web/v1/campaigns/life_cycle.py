"""Transitions of a campaign's status."""

from uuid import UUID

from falcon.asgi import Request, Response

from models.campaigns import launch
from models.campaigns.campaigns import IllegalTransition
from models.campaigns.launch import NotReady
from models.tenants.brands import BrandArchived
from web.http.accepted import JobOut
from web.http.endpoint import accept, audited, endpoint


class CampaignLaunch:
    """`/api/v1/campaigns/{campaign_id}/launch`: start the launch job."""

    @endpoint(
        response=JobOut,
        status=202,
        permission="campaigns:launch",
        audit="campaign.launch",
        idempotent=True,
        problems=(BrandArchived, IllegalTransition, NotReady),
    )
    def on_post(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Launch a campaign. Return the running launch job if there is one.

        The answer is the job `campaign.launch`: poll its `Location` until `state` is `done`. The job checks the
        campaign again, creates a code with the label `default` if the campaign has none, and makes the campaign
        `Active`. Before that, `not_ready` names everything that is missing in `errors`. After a failed job (`dead`),
        launch again.
        """
        job = launch.start(campaign_id)
        audited(req, table="campaigns", record_id=campaign_id, after={"launch_job_id": job.id})
        accept(resp, job)


ROUTES: list[tuple[str, object]] = [("/api/v1/campaigns/{campaign_id:uuid}/launch", CampaignLaunch())]
