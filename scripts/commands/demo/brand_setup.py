"""Create a brand as a system admin, then its campaigns as the brand's first admin."""

import re
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from scripts.commands.demo import plan
from scripts.commands.demo.http_client import Client, DemoFailed
from scripts.commands.demo.plan import Place
from scripts.devstack import authenticator
from scripts.devstack.progress import step

LINK = re.compile(r"https?://\S+/(?:accept-invitation|verify-email)(?:\?lang=\w+)?#token=[\w=%-]+")
POLL_SECONDS = 0.1
"""Seconds between two polls of the inbox or of a job."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class DemoBrand:
    """The brand of the demonstration."""

    brand_id: str
    admin: Client
    """Client with the session of the brand's admin."""
    codes: Mapping[Place, dict[str, Any]]
    """The code of each place, as the API returns it."""


def create(run: Mapping[str, Any], until: float) -> DemoBrand:
    """Create the brand and its campaigns over HTTP.

    Raises:
        DemoFailed: a request was refused, or took too long.
    """
    mark = secrets.token_hex(4)
    name, email = f"Churros Valor {mark}", f"ana.{mark}@brand.example"
    with step("A system admin creates a brand") as detail:
        detail.append(name)
        brand_id = create_brand(Client(run["api"], until=until), run["admin"], name, email)
    with step(f"Its first admin accepts the invitation sent to {email}"):
        admin = Client(run["api"], until=until)
        _join(admin, Client(run["mail"], until=until), email)
    codes = {}
    for place in plan.PLACES:
        with step(f"A campaign is launched on {place.name}, {place.city}") as detail:
            codes[place] = _campaign(admin, place, detail)
    return DemoBrand(brand_id, admin, codes)


def sign_in(client: Client, email: str, password: str) -> None:
    """Sign in. The client sends the token with later requests."""
    session = client.post("/api/v1/auth/login", {"email": email, "password": password})
    client.token = session["access_token"]


def _verify_code(client: Client, secret: str) -> None:
    for code in authenticator.codes(secret):
        response = client.send("POST", "/api/v1/auth/mfa/verify", {"code": code})
        if response.status == 200:
            client.token = response.body["access_token"]
            return
    raise DemoFailed(f"the admin's MFA code was refused: {response.text[:500]}")


def create_brand(client: Client, admin: Mapping[str, str], name: str, email: str) -> str:
    """Create a brand as a system admin, and invite its first admin. Return the brand's id.

    Raises:
        DemoFailed: a request was refused.
    """
    sign_in(client, admin["email"], admin["password"])
    _verify_code(client, admin["totp_secret"])
    brand = client.post("/api/v1/brands", {"name": name, "admin_email": email}, key=new_key())
    client.close()
    return str(brand["id"])


def _join(client: Client, inbox: Client, email: str) -> None:
    """Open the invitation's link, choose a password, and sign in."""
    token = open_link(client, inbox, email)
    password = secrets.token_urlsafe(18)
    accepted = client.send("POST", "/api/v1/auth/accept-invitation", {"token": token, "password": password})
    if accepted.status >= 400 and accepted.attempts == 1:
        raise DemoFailed(f"the invitation was refused with {accepted.status}: {accepted.text[:500]}")
    # After several attempts, a refusal may mean that an earlier one succeeded: then the password is set.
    sign_in(client, email, password)


def open_link(client: Client, inbox: Client, email: str) -> str:
    """Wait for the mail to an address, open the page of its link, and return the token of the link.

    Raises:
        DemoFailed: no mail came, or the page does not exist.
    """
    link = wait(lambda: _link(inbox.get(f"/messages?to={quote(email)}")["items"]), client.until, f"no mail to {email}")
    inbox.close()
    page = urlsplit(str(link))
    client.require("GET", page.path)
    return parse_qs(page.fragment)["token"][0]


def _link(messages: list[dict[str, Any]]) -> str | None:
    found = [LINK.search(message["text"]) for message in messages]
    return next((match.group() for match in reversed(found) if match), None)


def _campaign(admin: Client, place: Place, detail: deque[str]) -> dict[str, Any]:
    """Create and launch a campaign. Return its first code."""
    body = {"name": place.name, "type": "QR", "config": config(place)}
    campaign = admin.post("/api/v1/campaigns", body, key=new_key())
    path = f"/api/v1/campaigns/{campaign['id']}"
    launch(admin, path, detail)
    code: dict[str, Any] = admin.post(f"{path}/codes", {"label": f"{place.name}, lamp post"}, key=new_key())
    return code


def launch(admin: Client, path: str, detail: deque[str] | None = None) -> None:
    """Launch the campaign at `path` and wait for the end of the job. `detail` receives its progress.

    Raises:
        DemoFailed: the launch was refused, has failed, or took too long.
    """
    job = admin.require("POST", f"{path}/launch", key=new_key()).headers["location"]
    progress: deque[str] = deque(maxlen=1) if detail is None else detail
    wait(lambda: _is_done(admin.get(job), progress), admin.until, "the launch did not finish")


def config(place: Place) -> dict[str, Any]:
    """Return the configuration of a place's campaign."""
    return {
        "geofence": {"lat": place.lat, "lon": place.lon, "radius_m": place.radius_m, "when_uncertain": "flag"},
        "scan_limit": {
            "per_user": {"count": plan.PER_PERSON, "window": "lifetime"},
            "per_device": {"count": plan.PER_DEVICE, "window": "day"},
        },
        "consent_tiers": ["essential"],
        "timezone": place.timezone,
    }


def _is_done(job: Mapping[str, Any], detail: deque[str]) -> bool:
    detail.append(f"{job['state']}: {job['progress']['message'] or ''}")
    if job["state"] in ("dead", "cancelled"):
        raise DemoFailed(f"the job {job['actor']} failed: {job['error']}")
    return bool(job["state"] == "done")


def wait(poll: Callable[[], Found | None], until: float, otherwise: str) -> Found:
    """Poll until there is a true result, and return it.

    Raises:
        DemoFailed: the time is over; with the text `otherwise`.
    """
    while not (found := poll()):
        if time.monotonic() > until:
            raise DemoFailed(otherwise)
        time.sleep(POLL_SECONDS)
    return found


def new_key() -> str:
    """Return a new value for the `Idempotency-Key`."""
    return str(uuid.uuid4())
