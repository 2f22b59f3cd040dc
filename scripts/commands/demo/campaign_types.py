"""Run a Locker Drop and an Event Partnership to their ends: rewards that fans redeem, tickets that fans check in."""

import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.commands.demo.brand_setup import POLL_SECONDS, launch, new_key, open_link, sign_in, wait
from scripts.commands.demo.http_client import Client, DemoFailed, Response
from scripts.commands.demo.report import Row
from scripts.devstack.progress import step

PENDING = ("requested", "pending", "waiting", "published", "running")
"""States of tickets, check-ins and jobs that are not decided yet."""
FANS = 12
"""Fans of each campaign."""
REWARDS, REDEEMED = 8, 5
"""Rewards of the Locker Drop, fewer than fans, and how many of them are handed over."""
SETTLES_WITHIN = 30.0
"""Seconds within which the figures of a stock have every change."""
PLACES, ARRIVALS = 7, 4
"""Capacity of the event, lower than the number of fans, and how many people arrive."""


@dataclass(frozen=True, slots=True)
class Fan:
    """A fan with an anonymous session and a device."""

    client: Client
    fingerprint: str

    def scan(self, token: str) -> None:
        """Scan a code, and require that the scan is accepted."""
        body = {
            "code": token,
            "client_scan_id": str(uuid.uuid4()),
            "scanned_at": datetime.now(UTC).isoformat(),
            "device": {"fingerprint": self.fingerprint, "platform": "ios", "locale": "es-ES"},
        }
        self.client.post("/api/v1/qr/scan", body)


def run(run: Mapping[str, Any], admin: Client, until: float) -> list[Row]:
    """Run both campaigns. Return their numbers: planned, seen by the fans, and reported to the brand.

    Raises:
        DemoFailed: a request was refused, or took too long.
    """
    with step("A Locker Drop gives rewards, and fans redeem them"):
        rows = _locker_drop(admin, [_fan(run["api"], until) for _ in range(FANS)], until)
    with step("An Event Partnership issues tickets, and fans check in"):
        members = [_fan(run["api"], until) for _ in range(FANS)]
        _together(members, lambda fan: _sign_up(fan, Client(run["mail"], until=until)))
        return rows + _event(admin, members, until)


def _fan(api: str, until: float) -> Fan:
    """Return an anonymous fan who consents to the essential tier, with an address in a network of its own.

    Many new devices of one network are evidence of fraud, also those of an earlier demonstration.
    """
    network = f"{130 + secrets.randbelow(120)}.{secrets.randbelow(250)}"
    client = Client(api, until=until, source=f"127.{network}.1")
    client.token = client.post("/api/v1/auth/anonymous", {"locale": "es"})["access_token"]
    client.post("/api/v1/consents", {"tier": "essential"})
    return Fan(client, uuid.uuid4().hex)


def _sign_up(fan: Fan, inbox: Client) -> None:
    """Give the fan an account: events issue tickets to people with an email address."""
    email, password = f"fan.{fan.fingerprint}@fans.example", secrets.token_urlsafe(18)
    fan.client.post("/api/v1/auth/signup", {"email": email, "locale": "es"})
    token = open_link(fan.client, inbox, email)
    fan.client.post("/api/v1/auth/verify", {"token": token, "password": password})
    sign_in(fan.client, email, password)


def _together(fans: list[Fan], act: Callable[[Fan], Any]) -> list[Any]:
    """Let all fans act at the same time. Return their results."""
    with ThreadPoolExecutor(len(fans)) as threads:
        return list(threads.map(act, fans))


def _create(admin: Client, kind: str, name: str, **config: Any) -> tuple[str, str]:
    """Create and launch a campaign. Return its path and the token of its code."""
    settings = {"consent_tiers": ["essential"], "timezone": "Europe/Madrid", **config}
    campaign = admin.post("/api/v1/campaigns", {"name": name, "type": kind, "config": settings}, key=new_key())
    path = f"/api/v1/campaigns/{campaign['id']}"
    launch(admin, path)
    return path, str(admin.get(f"{path}/codes")["items"][0]["token"])


def _locker_drop(admin: Client, fans: list[Fan], until: float) -> list[Row]:
    rewards = [{"key": "tote_bag", "name": "Tote bag", "quantity": REWARDS, "per_user": 1}]
    path, token = _create(admin, "Locker", "Locker Drop at Sol", rewards=rewards)
    _together(fans, lambda fan: fan.scan(token))
    wait(lambda: _stock(admin, path)["left"] == 0, until, "the rewards were not granted")
    lists = _together(fans, lambda fan: wait(lambda: _granted(fan), until, "a reward stays reserved"))
    owners = [(fan, own[0]) for fan, (own,) in zip(fans, lists, strict=True) if own]
    redeemed = [_redeem(admin, fan, reward) for fan, reward in owners[:REDEEMED]]
    stock = _settled_stock(admin, path, until)
    return [
        Row("Locker Drop: rewards", REWARDS, len(owners), _given(stock)),
        Row("  redeemed", REDEEMED, sum(redeemed), stock["redeemed"]),
    ]


def _stock(admin: Client, path: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = admin.get(f"{path}/rewards")["items"][0]
    return found


def _granted(fan: Fan) -> tuple[list[Mapping[str, Any]]] | None:
    """Return the fan's rewards, or None while one is only reserved."""
    own: list[Mapping[str, Any]] = fan.client.get("/api/v1/rewards")["items"]
    return None if any(reward["state"] == "reserved" for reward in own) else (own,)


def _given(stock: Mapping[str, Any]) -> int:
    return int(stock["granted"] + stock["claimed"] + stock["redeemed"])


def _settled_stock(admin: Client, path: str, until: float) -> Mapping[str, Any]:
    """Return the stock with all rewards and redemptions: a job copies it after changes. After a while, return any."""
    latest = min(until, time.monotonic() + SETTLES_WITHIN)
    while True:
        stock = _stock(admin, path)
        if (_given(stock), stock["redeemed"]) == (REWARDS, REDEEMED) or time.monotonic() > latest:
            return stock
        time.sleep(POLL_SECONDS)


def _redeem(admin: Client, fan: Fan, reward: Mapping[str, Any]) -> bool:
    """Claim a reward as the fan and redeem its code as the staff. Return whether the fan sees it as redeemed."""
    path = f"/api/v1/rewards/{reward['id']}"
    code = fan.client.post(f"{path}/claim", None)["code"]
    _finish(admin, "/api/v1/rewards/redeem", {"code": code})
    return bool(fan.client.get(path)["state"] == "redeemed")


def _event(admin: Client, fans: list[Fan], until: float) -> list[Row]:
    now = datetime.now(UTC)
    path, _ = _create(
        admin,
        "Event",
        "Noche en la Plaza",
        starts_at=(now - timedelta(hours=1)).isoformat(),
        ends_at=(now + timedelta(hours=4)).isoformat(),
        event={"capacity": PLACES, "admission": "tickets", "doors_open_at": None},
    )
    tickets = [ticket for ticket in _together(fans, lambda fan: _ticket(fan, path.rpartition("/")[2])) if ticket]
    for ticket in tickets[:ARRIVALS]:
        _finish(admin, f"{path}/check-ins", {"ticket": ticket["code"], "gate": "North gate"})
    wait(lambda: admin.get(f"{path}/attendance")["pending"] == 0, until, "the check-ins were not decided")
    seen = _together(fans, lambda fan: fan.client.get("/api/v1/tickets")["items"])
    checked_in = sum(bool(ticket["checked_in_at"]) for own in seen for ticket in own)
    attendance = admin.get(f"{path}/attendance")
    return [
        Row("Event Partnership: tickets", PLACES, len(tickets), attendance["tickets"]),
        Row("  checked in", ARRIVALS, checked_in, attendance["inside"]),
    ]


def _ticket(fan: Fan, campaign_id: str) -> Mapping[str, Any] | None:
    """Ask for a ticket. Return it, or None if the event is full."""
    response = fan.client.send("POST", "/api/v1/tickets", {"campaign_id": campaign_id})
    if response.code == "at_capacity":
        return None
    if response.status >= 400:
        raise DemoFailed(f"a ticket was refused with {response.status}: {response.text[:500]}")
    ticket = _decided(fan.client, response)
    return ticket if ticket["state"] == "issued" else None


def _finish(client: Client, path: str, body: Mapping[str, Any]) -> None:
    """Send a request that a job decides, and wait for the decision."""
    _decided(client, client.require("POST", path, body, key=new_key()))


def _decided(client: Client, response: Response) -> Mapping[str, Any]:
    """Return the answer, or after 202 the resource of `Location` as soon as it is decided."""
    if response.status != 202:
        answer: Mapping[str, Any] = response.body
        return answer
    path = response.headers["location"]
    return wait(lambda: _unless_pending(client.get(path)), client.until, f"{path} was not decided")


def _unless_pending(resource: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return None if resource["state"] in PENDING else resource
