"""Prepare scans: an active campaign of a brand, its code, and fans with phones.

`python -m scripts.commands.bench.stage FANS HOST FOLDER` creates them through the models. It writes requests of
phones to `phones.txt` (for `scan.lua`), and the rows that the web tier would pass on to `rows.txt` (for `pgbench`).
"""

import hashlib
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from models.campaigns import campaigns, codes, launch
from models.campaigns.campaigns import Campaign
from models.campaigns.codes import QrCode
from models.campaigns.config import Config
from models.consents import consents
from models.core import context
from models.core.database import new_id, now, transaction
from models.identity import access_tokens, mfa, passwords, sessions, system_admin, totp
from models.scans.recorder import Recorder, ScanRequest
from models.tenants import brands, invitations

LAT, LON = 40.4168, -3.7038
CONFIG = {
    "geofence": {"lat": LAT, "lon": LON, "radius_m": 500, "when_uncertain": "flag"},
    "scan_limit": {
        "per_user": {"count": 1_000_000, "window": "day"},
        "per_device": {"count": 1_000_000, "window": "day"},
    },
    "consent_tiers": ["essential"],
    "timezone": "Europe/Madrid",
}
"""Configuration in which every check applies and every scan passes. A total limit would serialise single rows."""
MARK = "@"
"""Placeholder of the scan's id in a phone's request."""


@dataclass(frozen=True)
class Fan:
    """An anonymous fan with a phone."""

    session: sessions.Session
    fingerprint: str

    def scan(self, token: str, at: datetime) -> dict[str, Any]:
        """Return the body of a scan at a given time, without the scan's id."""
        place = {"lat": LAT, "lon": LON, "accuracy_m": 8.0, "captured_at": (at - timedelta(seconds=1)).isoformat()}
        device = {"fingerprint": self.fingerprint, "platform": "ios", "locale": "es-ES", "timezone": "Europe/Madrid"}
        asked = {"code": token, "client_scan_id": MARK, "scanned_at": at.isoformat(), "location": place}
        return asked | {"device": device}

    def attempt(self, code: QrCode, at: datetime) -> ScanRequest:
        """Return the scan as the web tier passes it to the recorder."""
        return ScanRequest(
            code_id=code.id,
            client_scan_id=new_id(),
            request_digest=hashlib.sha256(self.fingerprint.encode()).hexdigest(),
            scanned_at=at,
            fingerprint=self.fingerprint,
            user_id=self.session.person.id,
            session_id=self.session.id,
            user_role=context.FAN,
            lat=LAT,
            lon=LON,
            accuracy_m=8.0,
            captured_at=at - timedelta(seconds=1),
            locale="es-ES",
            address="127.0.0.1",
            request_id=str(new_id()),
            correlation_id=str(new_id()),
        )


class Rows(Recorder):
    """Build the rows that `app.record_scans` takes, without passing them on."""

    def row(self, attempt: ScanRequest) -> bytes:
        """Return one row as JSON."""
        return msgspec.json.encode(self._row(attempt))


def signed_in() -> sessions.Session:
    """Sign in the admin of a new brand, who accepts an invitation."""
    secret = totp.new_secret()
    system_admin.ensure_system_admin("root@companon.example", "correct horse battery", secret)
    admin = identity_of(sessions.sign_in("root@companon.example", "correct horse battery", "bench").access_token)
    with transaction(identity_of(mfa.verify(admin.on_credentials(), totp.code(secret)).access_token)):
        _, invitation = brands.create("Bench", {}, "ana@brand.example")
    hashed = passwords.hash("correct horse battery")
    with transaction(context.unauthenticated().on_credentials()):
        invitations.accept(invitation, hashed, "Ana", "en")
    return sessions.sign_in("ana@brand.example", "correct horse battery", "bench")


def launched() -> Campaign:
    """Create and launch a campaign through the models."""
    with transaction(identity_of(signed_in().access_token)):
        made = campaigns.create(name="Bench", kind="QR", config=msgspec.convert(CONFIG, Config))
    with transaction(context.for_brand_job(made.brand_id)):
        launch.pin_fingerprint_key(made.id)
        codes.ensure_first(made.id)
        return launch.activate(made.id)


def identity_of(access_token: str) -> context.Identity:
    """Return the identity of a person's transactions."""
    return context.of_claims(access_tokens.verify(access_token))


def fan(number: int) -> Fan:
    """Create an anonymous fan with the consents that the campaign requires."""
    with transaction(context.unauthenticated().on_credentials()):
        session = sessions.sign_in_anonymously()
    with transaction(identity_of(session.access_token)):
        consents.grant("essential", source="bench")
    return Fan(session, f"bench-device-{number:08d}")


def request(fan: Fan, token: str, host: str, at: datetime) -> str:
    """Return the bytes of a request before and after the scan's id."""
    body = msgspec.json.encode(fan.scan(token, at)).decode()
    before, after = body.split(f'"{MARK}"')
    head = [
        "POST /api/v1/qr/scan HTTP/1.1",
        f"Host: {host}",
        f"Authorization: Bearer {fan.session.access_token}",
        "Content-Type: application/json",
        f"Content-Length: {len(before) + len(after) + len(str(UUID(int=0))) + 2}",
    ]
    return "\\r\\n".join([*head, "", before]) + f'"{MARK}"' + after


def main(fans: int, host: str, folder: Path) -> None:
    """Create everything and write the files."""
    campaign = launched()
    with transaction(context.for_brand_job(campaign.brand_id)):
        (code,) = codes.find(campaign.id, limit=1)
    token, at = codes.make_token(code.id, code.key_version), now()
    rows = Rows()
    with (folder / "phones.txt").open("w") as phones, (folder / "rows.txt").open("wb") as passed_on:
        for number in range(fans):
            one = fan(number)
            phones.write(request(one, token, host, at) + "\n")
            passed_on.write(b"%d\t%s\n" % (number + 1, rows.row(one.attempt(code, at))))
    rows.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
