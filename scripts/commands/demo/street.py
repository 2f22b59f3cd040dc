"""The crowd on the square: each phone is a client of its own, with its own connection, address and fan."""

import queue
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.commands.demo.crowd import Crowd, Party, Phone, Place, Scan
from scripts.commands.demo.http import Answer, Client, GaveUp
from scripts.commands.demo.tally import Tally

AT_ONCE = 48
"""Phones that are served at the same time."""
OLD = 900.0
"""Seconds since an old position was taken."""
FORGED = "A" * 36
"""Has the form of a code's token; nobody signed it."""


class Street:
    """Lets a crowd loose on an API. `done` is set when the last phone is through, or one could not go on."""

    def __init__(self, api: str, codes: Mapping[Place, Mapping[str, Any]], crowd: Crowd, until: float) -> None:
        self.tally = Tally()
        self.done = threading.Event()
        self._api, self._codes, self._until = api, codes, until
        self._waiting: queue.SimpleQueue[Party] = queue.SimpleQueue()
        self._left = len(crowd.parties)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failure: str | None = None
        for party in crowd.parties:
            self._waiting.put(party)

    def open(self) -> None:
        """Let the phones come, each at its time."""
        self._opened = time.monotonic()
        for number in range(AT_ONCE):
            threading.Thread(target=self._serve, name=f"phones-{number}", daemon=True).start()

    def close(self) -> None:
        """Let nobody else in."""
        self._stopped.set()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                party = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._stopped.wait(max(0.0, self._opened + party.arrives - time.monotonic()))
            self._receive(party)

    def _receive(self, party: Party) -> None:
        try:
            # One moment for all who share a device: the fraud rules look at the order of their scans.
            together = datetime.now(UTC) if party.shares else None
            for nth, phone in enumerate(party.phones):
                self._visit(phone, together and together + timedelta(milliseconds=nth))
        except Exception as error:
            self.failure = self.failure or (str(error) if isinstance(error, GaveUp) else repr(error))
            self._stopped.set()
        with self._lock:
            self._left -= 1
            if self._left == 0 or self.failure:
                self.done.set()

    def _visit(self, phone: Phone, moment: datetime | None) -> None:
        client = Client(self._api, until=self._until, source=_address(phone))
        client.token = client.post("/api/v1/auth/anonymous", {"locale": "es"})["access_token"]
        if not any(scan.mishap == "no_consent" for scan in phone.scans):
            _consent(client)
        for scan in phone.scans:
            self._scan(client, phone, scan, moment or datetime.now(UTC))
        client.close()
        self.tally.leave(client.tries, client.requests)

    def _scan(self, client: Client, phone: Phone, scan: Scan, moment: datetime) -> None:
        body = self._body(phone, scan, moment)
        self.tally.send()
        answer = client.ask("POST", "/api/v1/qr/scan", body)
        outcome = _outcome(answer)
        if outcome != scan.expected:
            self.tally.unexpected(f"a {phone.habit}'s scan was {outcome}, not {scan.expected}")
        scan_id = answer.body["id"] if outcome == "accepted" else ""
        self.tally.decide(outcome, scan.client_scan_id, scan_id, answer.seconds)
        if scan.mishap == "sent_twice" and outcome == "accepted":
            again = client.ask("POST", "/api/v1/qr/scan", body)
            self.tally.replay(scan.client_scan_id, again.body.get("id", ""), again.status)
        if outcome == "consent_required":
            _consent(client)

    def _body(self, phone: Phone, scan: Scan, moment: datetime) -> dict[str, Any]:
        scanned_at = moment - timedelta(seconds=scan.age)
        captured_at = scanned_at - timedelta(seconds=OLD if scan.mishap == "old_location" else 1)
        place = {
            "lat": scan.lat,
            "lon": scan.lon,
            "accuracy_m": scan.accuracy_m,
            "captured_at": captured_at.isoformat(),
        }
        return {
            "code": FORGED if scan.mishap == "forged" else self._codes[scan.place]["token"],
            "client_scan_id": scan.client_scan_id,
            "scanned_at": scanned_at.isoformat(),
            "location": None if scan.mishap == "no_location" else place,
            "device": {"fingerprint": phone.fingerprint, "platform": "web", "locale": "es-ES"},
        }


def _consent(client: Client) -> None:
    client.post("/api/v1/consents", {"tier": "essential"})


def _outcome(answer: Answer) -> str:
    return "accepted" if answer.status in (200, 201) else answer.code


def _address(phone: Phone) -> str:
    """Return an address of the phone's own. Networks (/24) differ, too: many new phones of one network are evidence."""
    return f"127.{40 + phone.number % 80}.{phone.number // 80 % 250}.{phone.number // 20_000 % 250 + 1}"
