"""A fan's and a brand's way from sign-up to the overview, with the client of openapi-python-client."""

import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

import httpx
from companon_api_client import AuthenticatedClient, Client
from companon_api_client.api.campaigns import create_campaign
from companon_api_client.api.consents import give_consent
from companon_api_client.api.invitations import accept_invitation
from companon_api_client.api.jobs import get_job
from companon_api_client.api.life_cycle import launch_campaign
from companon_api_client.api.overview import get_overview
from companon_api_client.api.printed_codes import create_code
from companon_api_client.api.scans import report_scan
from companon_api_client.api.sign_in import log_in, start_anonymous_session
from companon_api_client.api.signups import sign_up, verify_email
from companon_api_client.models import (
    AcceptanceIn,
    AcceptanceOut,
    AnonymousIn,
    CodeIn,
    CodeOut,
    ConsentIn,
    ConsentOut,
    ConsentRequiredProblem,
    DeviceIn,
    GeofenceIn,
    JobOut,
    JobState,
    LimitReachedProblem,
    LimitWindow,
    LocationIn,
    LoginIn,
    NumbersOut,
    OverviewOut,
    QrCampaignIn,
    QrCampaignOut,
    QrConfigIn,
    ScanIn,
    ScanLimitIn,
    ScanOut,
    SessionOut,
    ShareIn,
    SignupIn,
    SignupOut,
    VerificationIn,
    VerifiedOut,
)
from companon_api_client.types import UNSET

API, MAIL, FAN, MEMBER = (os.environ[name] for name in ("API", "MAIL", "FAN", "MEMBER"))
PASSWORD = "paseo por el prado"
LAT, LON = 40.41541, -3.7074
PATIENCE = 120.0
"""Seconds to wait for a mail, a job or a score."""

Found = TypeVar("Found")


def expect(kind: type[Found], answer: object) -> Found:
    """Return the answer if it is of this type, and fail otherwise."""
    if not isinstance(answer, kind):
        raise SystemExit(f"expected {kind.__name__}: {answer}")
    return answer


def until(poll: Callable[[], Found | None]) -> Found:
    """Poll until there is a value."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = poll()
        if found is not None:
            return found
        time.sleep(0.1)
    raise SystemExit("nothing was found in time")


def mailed_token(address: str) -> str:
    """Return the token of the link in the newest mail to an address."""

    def poll() -> str | None:
        messages = httpx.get(f"{MAIL}/messages", params={"to": address}).json()["items"]
        tokens = re.findall(r"token=([\w=-]+)", messages[-1]["text"]) if messages else []
        return str(tokens[0]) if tokens else None

    return until(poll)


def login(email: str) -> AuthenticatedClient:
    """Sign in and return the client of the session."""
    session = expect(SessionOut, log_in.sync(client=Client(API), body=LoginIn(email, PASSWORD)))
    return AuthenticatedClient(API, session.access_token)


def signed_up_fan() -> AuthenticatedClient:
    """Begin without an account, sign up in that session, and follow the link in the mail."""
    session = expect(SessionOut, start_anonymous_session.sync(client=Client(API), body=AnonymousIn()))
    anonymous = AuthenticatedClient(API, session.access_token)
    expect(SignupOut, sign_up.sync(client=anonymous, body=SignupIn(FAN)))
    expect(VerifiedOut, verify_email.sync(client=anonymous, body=VerificationIn(mailed_token(FAN), PASSWORD)))
    return login(FAN)


def invited_member() -> AuthenticatedClient:
    """Accept the invitation to the brand."""
    body = AcceptanceIn(mailed_token(MEMBER), PASSWORD)
    expect(AcceptanceOut, accept_invitation.sync(client=Client(API), body=body))
    return login(MEMBER)


def launched_code(member: AuthenticatedClient) -> str:
    """Launch a campaign that accepts one scan of each device, and return the token of a code."""
    config = QrConfigIn(
        geofence=GeofenceIn(LAT, LON, 300),
        scan_limit=ScanLimitIn(per_device=ShareIn(1, LimitWindow.DAY)),
        timezone="Europe/Madrid",
    )
    body = QrCampaignIn("QR", "Plaza Mayor", config)
    campaign = expect(QrCampaignOut, create_campaign.sync(client=member, body=body))
    launch = expect(JobOut, launch_campaign.sync(campaign.id, client=member))

    def finished() -> bool | None:
        job = expect(JobOut, get_job.sync(launch.id, client=member))
        if job.state in (JobState.DEAD, JobState.CANCELLED):
            raise SystemExit(f"the launch failed: {job}")
        return job.state is JobState.DONE or None

    until(finished)
    return expect(CodeOut, create_code.sync(campaign.id, client=member, body=CodeIn("Lamp post"))).token


def scan(fan: AuthenticatedClient, code: str) -> object:
    """Report a new scan and return the answer."""
    at = datetime.now(UTC)
    location = LocationIn(lat=LAT, lon=LON, accuracy_m=12, captured_at=at)
    body = ScanIn(
        code=code, client_scan_id=uuid4(), scanned_at=at, device=DeviceIn(f"phone of {FAN}"), location=location
    )
    return report_scan.sync(client=fan, body=body)


def consent_after_refusal(fan: AuthenticatedClient, code: str) -> list[str]:
    """Scan without consent: the answer names the missing tiers and the notice. Give the consents."""
    refused = expect(ConsentRequiredProblem, scan(fan, code))
    notice_id = refused.notice.id if refused.notice else UNSET
    for tier in refused.missing:
        expect(ConsentOut, give_consent.sync(client=fan, body=ConsentIn(tier, notice_id=notice_id)))
    return [tier.value for tier in refused.missing]


def totals_of(member: AuthenticatedClient) -> NumbersOut:
    """Return the brand's figures once both scans are in them."""

    def poll() -> NumbersOut | None:
        overview = expect(OverviewOut, get_overview.sync(client=member))
        return overview.totals if overview.totals.scans == 2 and overview.pending == 0 else None

    return until(poll)


def main() -> None:
    """Run the whole way and print the result that the test compares."""
    fan, member = signed_up_fan(), invited_member()
    code = launched_code(member)
    missing = consent_after_refusal(fan, code)
    expect(ScanOut, scan(fan, code))
    wait = expect(LimitReachedProblem, scan(fan, code)).retry_after
    totals = totals_of(member)
    print(json.dumps({"refusals": [missing, wait > 0], "scans": totals.scans, "accepted": totals.accepted}))


if __name__ == "__main__":
    main()
