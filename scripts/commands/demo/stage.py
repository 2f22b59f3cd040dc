"""Before the crowd comes: a system admin makes a brand, and its first admin puts a campaign on each square."""

import re
import secrets
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from scripts.commands.demo import crowd
from scripts.commands.demo.crowd import Place
from scripts.commands.demo.http import Client, GaveUp
from scripts.devstack import authenticator
from scripts.devstack.progress import step

LINK = re.compile(r"https?://\S+/accept-invitation#token=[\w=%-]+")
LOOK_AGAIN = 0.1
"""Seconds between two looks at what goes on elsewhere: an inbox, a job."""

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Stage:
    """What the crowd finds."""

    brand_id: str
    brand: str
    admin: Client
    """Signed in as the brand's admin."""
    codes: Mapping[Place, dict[str, Any]]
    """The code that hangs on each square, as the API shows it."""


def build(run: Mapping[str, Any], until: float) -> Stage:
    """Set everything up, over HTTP.

    Raises:
        GaveUp: it was refused, or took too long.
    """
    mark = secrets.token_hex(4)
    brand, email = f"Churros Valor {mark}", f"ana.{mark}@brand.example"
    with step("A System Admin makes a brand") as detail:
        detail.append(brand)
        brand_id = _make_brand(Client(run["api"], until=until), run["admin"], brand, email)
    with step(f"Its first admin follows the link in the mail to {email}"):
        admin = Client(run["api"], until=until)
        _join(admin, Client(run["mail"], until=until), email)
    codes = {}
    for place in crowd.PLACES:
        with step(f"A campaign is launched on {place.name}, {place.city}") as detail:
            codes[place] = _campaign(admin, place, detail)
    return Stage(brand_id, brand, admin, codes)


def sign_in(client: Client, email: str, password: str) -> None:
    """Begin a session, and use its token from then on."""
    session = client.post("/api/v1/auth/login", {"email": email, "password": password})
    client.token = session["access_token"]


def _show_code(client: Client, secret: str) -> None:
    for code in authenticator.codes(secret):
        answer = client.ask("POST", "/api/v1/auth/mfa/verify", {"code": code})
        if answer.status == 200:
            client.token = answer.body["access_token"]
            return
    raise GaveUp(f"the code of the admin's authenticator was refused: {answer.text[:500]}")


def _make_brand(client: Client, admin: Mapping[str, str], name: str, email: str) -> str:
    sign_in(client, admin["email"], admin["password"])
    _show_code(client, admin["totp_secret"])
    brand = client.post("/api/v1/brands", {"name": name, "admin_email": email}, key=_key())
    client.close()
    return str(brand["id"])


def _join(client: Client, inbox: Client, email: str) -> None:
    """Do what a person does with an invitation: open the link, choose a password, sign in."""
    link = _wait(lambda: _link(inbox.get(f"/messages?to={quote(email)}")["items"]), client.until, "no invitation came")
    inbox.close()
    page = urlsplit(str(link))
    client.require("GET", page.path)
    token = parse_qs(page.fragment)["token"][0]
    password = secrets.token_urlsafe(18)
    accepted = client.ask("POST", "/api/v1/auth/accept-invitation", {"token": token, "password": password})
    if accepted.status >= 400 and accepted.tries == 1:
        raise GaveUp(f"the invitation was refused with {accepted.status}: {accepted.text[:500]}")
    # After several tries a refusal may mean that the first had been heard: then the password is good.
    sign_in(client, email, password)


def _link(messages: list[dict[str, Any]]) -> str | None:
    found = [LINK.search(message["text"]) for message in messages]
    return next((match.group() for match in reversed(found) if match), None)


def _campaign(admin: Client, place: Place, detail: deque[str]) -> dict[str, Any]:
    """Make a campaign, launch it, and hang its first code; the code."""
    campaign = admin.post("/api/v1/campaigns", {"name": place.name, "type": "QR", "config": config(place)}, key=_key())
    path = f"/api/v1/campaigns/{campaign['id']}"
    job = admin.require("POST", f"{path}/launch", key=_key()).headers["location"]
    _wait(lambda: _is_over(admin.get(job), detail), admin.until, "the launch did not end")
    code: dict[str, Any] = admin.post(f"{path}/codes", {"label": f"{place.name}, lamp post"}, key=_key())
    return code


def config(place: Place) -> dict[str, Any]:
    """The rules of a campaign on that square."""
    return {
        "geofence": {"lat": place.lat, "lon": place.lon, "radius_m": place.radius_m, "when_uncertain": "flag"},
        "scan_limit": {
            "per_user": {"count": crowd.PER_PERSON, "window": "lifetime"},
            "per_device": {"count": crowd.PER_DEVICE, "window": "day"},
        },
        "consent_tiers": ["essential"],
        "timezone": place.timezone,
    }


def _is_over(job: Mapping[str, Any], detail: deque[str]) -> bool:
    detail.append(f"{job['state']}: {job['progress']['message'] or ''}")
    if job["state"] in ("dead", "cancelled"):
        raise GaveUp(f"the job {job['actor']} failed: {job['error']}")
    return bool(job["state"] == "done")


def _wait(look: Callable[[], Found], until: float, otherwise: str) -> Found:
    while not (found := look()):
        if time.monotonic() > until:
            raise GaveUp(otherwise)
        time.sleep(LOOK_AGAIN)
    return found


def _key() -> str:
    return str(uuid.uuid4())
