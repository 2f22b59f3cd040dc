"""Rewards of fans, and their redemption by the brand.

An accepted scan of a campaign with rewards earns one, as long as stocks last. A job grants it after the fraud score.
The fan asks for a one-time code and shows it; a member of the brand, or a kiosk with an API key, redeems it.
"""

from typing import Annotated, cast
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.campaigns import campaigns, reward_codes, reward_stocks, rewards
from models.campaigns.reward_codes import AlreadyRedeemed, OwnReward, RewardUnavailable, UnknownRewardCode
from models.campaigns.rewards import Reward, RewardState
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of, wait_for
from web.http.fields import CampaignId, CreatedAt, Id, UpdatedAt

RewardId = Annotated[Id, Meta(description="Id of the reward: the id of the scan that has earned it.")]
RewardKey = Annotated[
    str, Meta(description="Key of the reward in the campaign's configuration.", examples=["tote-bag"])
]
RewardName = Annotated[
    str, Meta(description="Name of the reward when the scan earned it.", examples=["Tote bag with your name"])
]
State = Annotated[RewardState, Meta(description="Present state of the reward.", examples=["granted"])]
GrantedAt = Annotated[Instant | None, Meta(description="Time of the first grant, in UTC; null before it.")]
ClaimedAt = Annotated[Instant | None, Meta(description="Time of the first claim, in UTC; null before it.")]
RedeemedAt = Annotated[Instant | None, Meta(description="Time of the redemption, in UTC; null before it.")]


class OwnRewardOut(msgspec.Struct):
    """A reward of the caller."""

    id: RewardId
    campaign_id: CampaignId
    campaign_name: Annotated[
        str, Meta(description="Name of the campaign when the scan earned the reward.", examples=["Plaza Mayor"])
    ]
    key: RewardKey
    name: RewardName
    state: State
    created_at: CreatedAt
    updated_at: UpdatedAt
    expires_at: Annotated[
        Instant | None,
        Meta(description="End of a reservation, in UTC, unless the check of the scan extends it; null otherwise."),
    ]
    granted_at: GrantedAt
    claimed_at: ClaimedAt
    redeemed_at: RedeemedAt

    @classmethod
    def of(cls, reward: OwnReward) -> "OwnRewardOut":
        """Build the response for a reward of the caller."""
        # The brand's loss is no matter of the fan.
        state: RewardState = "redeemed" if reward.state == "lost" else reward.state
        return cls(
            id=reward.id,
            campaign_id=reward.campaign_id,
            campaign_name=reward.campaign_name,
            key=reward.reward_key,
            name=reward.name,
            state=state,
            created_at=reward.created_at,
            updated_at=reward.updated_at,
            expires_at=reward.expires_at,
            granted_at=reward.granted_at,
            claimed_at=reward.claimed_at,
            redeemed_at=reward.redeemed_at,
        )


class RewardCodeOut(msgspec.Struct):
    """A one-time code."""

    reward_id: RewardId
    code: Annotated[
        str,
        Meta(
            description="Code to show to the staff, as text or in a QR code. The next claim replaces it.",
            examples=["7K3QF-0W9XB"],
        ),
    ]
    expires_at: Annotated[Instant, Meta(description="End of the code's validity, in UTC: claim again for a new one.")]


class RedemptionIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A code that a fan shows."""

    code: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=40,
            description="The code, in upper or lower case. Blanks and hyphens are ignored; O counts as 0, I and L as "
            "1.",
            examples=["7K3QF-0W9XB"],
        ),
    ]


class RewardFilter(PageQuery, kw_only=True):
    """Filter of the list of a campaign's rewards."""

    state: Annotated[
        RewardState | None, Meta(description="Only rewards in this state. Default: all.", examples=["redeemed"])
    ] = None


class RewardOut(msgspec.Struct):
    """A reward of a campaign, without its fan."""

    id: RewardId
    key: RewardKey
    name: RewardName
    state: State
    created_at: CreatedAt
    updated_at: UpdatedAt
    granted_at: GrantedAt
    claimed_at: ClaimedAt
    redeemed_at: RedeemedAt
    redeemed_by: Annotated[
        UUID | None,
        Meta(
            description="Id of the member or the API key that asked for the redemption; null before it.",
            examples=["01941f28-5de0-7f06-b3a9-0c7e2d4b8a61"],
        ),
    ]

    @classmethod
    def of(cls, reward: Reward) -> "RewardOut":
        """Build the response for a reward."""
        return cls(
            id=reward.id,
            key=reward.reward_key,
            name=reward.name,
            state=cast(RewardState, reward.state),
            created_at=reward.created_at,
            updated_at=reward.updated_at,
            granted_at=reward.granted_at,
            claimed_at=reward.claimed_at,
            redeemed_at=reward.redeemed_at,
            redeemed_by=reward.redeemed_by if reward.redeemed_at else None,
        )


Units = Annotated[int, Meta(ge=0, description="Number of units in this state.", examples=[3])]


class RewardStockOut(msgspec.Struct):
    """The stock of one reward."""

    key: RewardKey
    name: Annotated[str, Meta(description="Name of the reward.", examples=["Tote bag with your name"])]
    quantity: Annotated[int, Meta(description="Units in total.", examples=[100])]
    per_user: Annotated[int, Meta(description="Units that one person can get.", examples=[1])]
    reserved: Annotated[Units, Meta(description="Units of scans that are being checked.")]
    granted: Annotated[Units, Meta(description="Units that fans can claim.")]
    claimed: Annotated[Units, Meta(description="Units that fans have claimed and not yet got.")]
    redeemed: Annotated[Units, Meta(description="Units that have been handed over, losses included.")]
    suspended: Annotated[
        Units, Meta(description="Units of scans in doubt; they are reinstated or return to the stock.")
    ]
    left: Annotated[Units, Meta(description="Free units.")]
    as_of: Annotated[Instant, Meta(description="Time of the figures, in UTC.")]

    @classmethod
    def of(cls, stock: reward_stocks.Stock) -> "RewardStockOut":
        """Build the response for the stock of a reward."""
        return msgspec.convert(stock, cls, from_attributes=True)


class RewardStocksOut(msgspec.Struct):
    """The stock of every reward of a campaign."""

    items: Annotated[
        list[RewardStockOut],
        Meta(description="Rewards in the order of the configuration. Empty without rewards, and before the launch."),
    ]


class Rewards:
    """`/api/v1/rewards`: the rewards of the caller."""

    @endpoint(operation_id="listOwnRewards", query=PageQuery, response=Page[OwnRewardOut], permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's rewards of all brands, newest first.

        A job grants a reward after the scan has been checked, mostly within a second.
        """
        query: PageQuery = req.context.query
        after = decode_cursor(query.cursor, UUID, scope="own-rewards")
        found = reward_codes.find_own(limit=query.limit + 1, after=after)
        items = [OwnRewardOut.of(reward) for reward in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope="own-rewards")


class OneReward:
    """`/api/v1/rewards/{reward_id}`: one reward of the caller."""

    @endpoint(operation_id="getOwnReward", response=OwnRewardOut, permission="authenticated")
    def on_get(self, req: Request, resp: Response, reward_id: UUID) -> None:
        """Read a reward of the caller."""
        resp.media = OwnRewardOut.of(reward_codes.get_own(reward_id))


class RewardClaim:
    """`/api/v1/rewards/{reward_id}/claim`: claim a reward."""

    @endpoint(
        operation_id="claimReward",
        response=RewardCodeOut,
        permission="authenticated",
        audit="reward.claim",
        rate="30/minute",
        idempotent=True,
        secret=True,
        problems=(AlreadyRedeemed, RewardUnavailable),
    )
    def on_post(self, req: Request, resp: Response, reward_id: UUID) -> None:
        """Return a one-time code for a granted reward, to show to the staff.

        The code is valid for five minutes and in no other answer. Each claim replaces the code before it, so a picture
        of an older one is worth nothing. A job records the first claim.
        """
        code = reward_codes.issue(reward_id)
        audited(req, table="rewards", record_id=reward_id)
        resp.media = RewardCodeOut(reward_id, code.text, code.expires_at)


class RewardRedemption:
    """`/api/v1/rewards/redeem`: redeem the reward of a code."""

    @endpoint(
        operation_id="redeemReward",
        body=RedemptionIn,
        example={"code": "7K3QF-0W9XB"},
        response=RewardOut,
        permission="rewards:redeem",
        waits=True,
        audit="reward.redeem",
        rate="30/minute",
        idempotent=True,
        problems=(AlreadyRedeemed, RewardUnavailable, UnknownRewardCode),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Redeem the reward of a code that a fan shows.

        Hand the reward over after a 200 only. Of two requests at the same moment, one is refused with
        `already_redeemed`. If Locker does not answer within five seconds, the answer is 202: the reward is redeemed
        once its job is `done`, and refused if the job is `dead`.
        """
        reward, job = reward_codes.start_redemption(req.context.body.code)
        audited(req, table="rewards", record_id=reward.id, after={"redemption_job_id": job.id})
        wait_for(req, resp, job, lambda: RewardOut.of(reward_codes.redeemed(reward.id, job)))


class CampaignRewards:
    """`/api/v1/campaigns/{campaign_id}/rewards`: the stock of a campaign's rewards."""

    @endpoint(operation_id="listRewardStocks", response=RewardStocksOut, permission="campaigns:read")
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """Read the stock of each reward of a campaign.

        The figures are those of Locker, about a second after each change. `as_of` is their time.
        """
        campaigns.get(campaign_id)
        resp.media = RewardStocksOut([RewardStockOut.of(stock) for stock in reward_stocks.find(campaign_id)])


class CampaignRewardGrants:
    """`/api/v1/campaigns/{campaign_id}/rewards/grants`: the rewards that scans of a campaign have earned."""

    @endpoint(
        operation_id="listRewards",
        query=RewardFilter,
        response=Page[RewardOut],
        permission="rewards:redeem",
    )
    def on_get(self, req: Request, resp: Response, campaign_id: UUID) -> None:
        """List the rewards that scans of a campaign have earned, newest first.

        It names no fan. `lost` finds the rewards that were handed over for scans which were rejected afterwards.
        """
        query: RewardFilter = req.context.query
        scope = f"rewards:{campaigns.get(campaign_id).id}:{query.state}"
        after = decode_cursor(query.cursor, UUID, scope=scope)
        found = rewards.find(campaign_id, limit=query.limit + 1, after=after, state=query.state)
        items = [RewardOut.of(reward) for reward in found]
        resp.media = page_of(items, query.limit, lambda item: item.id, scope=scope)


_OF_CAMPAIGN = "/api/v1/campaigns/{campaign_id:uuid}/rewards"

ROUTES: list[tuple[str, object]] = [
    ("/api/v1/rewards", Rewards()),
    ("/api/v1/rewards/redeem", RewardRedemption()),
    ("/api/v1/rewards/{reward_id:uuid}", OneReward()),
    ("/api/v1/rewards/{reward_id:uuid}/claim", RewardClaim()),
    (_OF_CAMPAIGN, CampaignRewards()),
    (f"{_OF_CAMPAIGN}/grants", CampaignRewardGrants()),
]
