"""Launches while the service of their type fails: answers of the API, the breaker, and the recovery."""

from dataclasses import dataclass
from typing import Any

import pytest

from tests.fixtures.accounts import Account
from tests.fixtures.campaigns import MakeCampaign
from tests.fixtures.jobs import Drain
from tests.fixtures.web import Client
from tests.jobs.passport.conftest import FAULTS, Clock, Outside

pytestmark = pytest.mark.xdist_group("services")

ATTEMPTS = 5
"""Attempts of a launch (`max_attempts`)."""
SERVICES = {"Locker": ("locker", "open"), "Event": ("concierto", "publish"), "QR": ("coliseum", "open")}
"""Service and operation that open a campaign, by its type."""
CONFIGS: dict[str, dict[str, Any]] = {
    "Locker": {"rewards": [{"key": "churros", "name": "Six churros", "quantity": 9}]},
    "Event": {"ends_at": "2100-01-01T00:00:00Z", "event": {"capacity": 9}},
    "QR": {},
}
SHORT = {("Locker", "429"), ("Event", "down"), ("QR", "wrong_schema")}
"""Cases of the ordinary suite."""
WITH_EFFECT = {"hang", "drop_after"}
"""Faults after which the service has acted."""


@dataclass
class Launches:
    """Drafts that are launched through the API."""

    campaign: MakeCampaign
    client: Client
    token: str
    kind: str

    def draft(self) -> str:
        """Create a draft and return the path of its resource."""
        return f"/api/v1/campaigns/{self.campaign(kind=self.kind, launched=False, **CONFIGS[self.kind]).id}"

    def start(self, path: str) -> int:
        """Request the launch of a draft."""
        return self.client.post(f"{path}/launch", token=self.token).status_code

    def state(self, path: str) -> tuple[Any, ...]:
        """Return the status of a campaign, and the state, the step and the error of its launch."""
        shown = self.client.get(path, token=self.token).json
        launch = shown["launch"] or {"state": None, "step": None, "error": None}
        return shown["status"], launch["state"], launch["step"], launch["error"] and launch["error"]["code"]


@pytest.fixture
def launches(campaign: MakeCampaign, client: Client, manager: Account, kind: str) -> Launches:
    """Return launches of campaigns of a type."""
    return Launches(campaign, client, manager.token, kind)


CASES = [(kind, fault) for kind in SERVICES for fault in FAULTS]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [pytest.param(*case, marks=() if case in SHORT else pytest.mark.slow) for case in CASES],
)
def test_launch_that_fails_shows_its_step_and_is_started_again(
    outside: Outside, launches: Launches, drain: Drain, kind: str, fault: str
) -> None:
    service, operation = SERVICES[kind]
    server, draft = outside.use(service), launches.draft()
    outside.fail(service, operation, fault, times=ATTEMPTS)

    started = launches.start(draft)
    ran = drain(allow_dead=True)
    failed = launches.state(draft)
    again = launches.start(draft)
    drain()

    assert (started, ran.count("campaign.launch"), again) == (202, ATTEMPTS, 202)
    assert failed == ("Draft", "failed", "service", "service_unavailable")
    assert launches.state(draft) == ("Active", None, None, None)
    # The second launch is another call, of a newer version. The key of Coliseum is the campaign alone.
    effects = 2 if fault in WITH_EFFECT and kind != "QR" else 1
    assert server.counts()["effects"][operation] == effects


@pytest.mark.parametrize(
    "kind", [kind if kind == "Event" else pytest.param(kind, marks=pytest.mark.slow) for kind in SERVICES]
)
def test_launches_open_the_breaker_wait_for_it_and_close_it(
    outside: Outside, launches: Launches, drain: Drain, clock: Clock, health: Any, admin: Account, kind: str
) -> None:
    service, operation = SERVICES[kind]
    server, drafts = outside.use(service), [launches.draft() for _ in range(3)]
    outside.fail(service, operation, "500", times=2 * ATTEMPTS)

    def breaker() -> str:
        shown = launches.client.get("/api/v1/passport/services", token=admin.token).json["items"]
        return str(next(one["breaker"] for one in shown if one["name"] == service))

    for draft in drafts[:2]:
        launches.start(draft)
        drain(allow_dead=True)
    opened = breaker()
    launches.start(drafts[2])
    drain(rounds=3)
    waiting, calls = launches.state(drafts[2]), server.counts()["calls"][operation]
    clock.now += health.rules.open_for
    half_open = breaker()
    drain()
    recovered = [launches.state(draft)[0] for draft in drafts]
    for draft in drafts[:2]:
        launches.start(draft)
    drain()

    assert (opened, half_open, breaker()) == ("open", "half_open", "closed")
    assert (waiting, calls) == (("Draft", "running", "service", None), 2 * ATTEMPTS)
    assert recovered == ["Draft", "Draft", "Active"]
    assert [launches.state(draft)[0] for draft in drafts] == ["Active"] * 3
    assert server.counts()["effects"][operation] == 3
