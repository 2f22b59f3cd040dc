"""Run the planned phones. Each is a client with its own connection, address and fan."""

import queue
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scripts.commands.demo.http_client import Client, DemoFailed, Response
from scripts.commands.demo.plan import Group, Phone, Place, Plan, PlannedScan
from scripts.commands.demo.results import Results

CONCURRENCY = 48
"""Phones that run at the same time."""
OLD_SECONDS = 900.0
"""Age of an old position in seconds."""
FORGED = "A" * 36
"""A token of the right form without a valid signature."""


class PhoneRunner:
    """Run the phones of a plan against an API. `done` is set after the last phone, or after a failure."""

    def __init__(self, api: str, codes: Mapping[Place, Mapping[str, Any]], plan: Plan, until: float) -> None:
        self.results = Results()
        self.done = threading.Event()
        self._api, self._codes, self._until = api, codes, until
        self._waiting: queue.SimpleQueue[Group] = queue.SimpleQueue()
        self._left = len(plan.groups)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.failure: str | None = None
        for group in plan.groups:
            self._waiting.put(group)

    def start(self) -> None:
        """Start the phones, each at its planned time."""
        self._started = time.monotonic()
        for number in range(CONCURRENCY):
            threading.Thread(target=self._run, name=f"phones-{number}", daemon=True).start()

    def stop(self) -> None:
        """Start no more phones."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                group = self._waiting.get_nowait()
            except queue.Empty:
                return
            self._stopped.wait(max(0.0, self._started + group.starts - time.monotonic()))
            self._run_group(group)

    def _run_group(self, group: Group) -> None:
        try:
            # One time for all people who share a device: the fraud rules depend on the order of their scans.
            together = datetime.now(UTC) if group.shares else None
            for nth, phone in enumerate(group.phones):
                self._run_phone(phone, together and together + timedelta(milliseconds=nth))
        except Exception as error:
            self.failure = self.failure or (str(error) if isinstance(error, DemoFailed) else repr(error))
            self._stopped.set()
        with self._lock:
            self._left -= 1
            if self._left == 0 or self.failure:
                self.done.set()

    def _run_phone(self, phone: Phone, at: datetime | None) -> None:
        client = Client(self._api, until=self._until, source=_address(phone))
        client.token = client.post("/api/v1/auth/anonymous", {"locale": "es"})["access_token"]
        if not any(scan.deviation == "no_consent" for scan in phone.scans):
            _consent(client)
        for scan in phone.scans:
            self._scan(client, phone, scan, at or datetime.now(UTC))
        client.close()
        self.results.finish_phone(client.attempts, client.requests)

    def _scan(self, client: Client, phone: Phone, scan: PlannedScan, at: datetime) -> None:
        body = self._body(phone, scan, at)
        self.results.count_sent()
        response = client.send("POST", "/api/v1/qr/scan", body)
        outcome = _outcome(response)
        if outcome != scan.expected:
            self.results.add_mistake(f"a scan ({phone.behaviour}) was {outcome}, not {scan.expected}")
        scan_id = response.body["id"] if outcome == "accepted" else ""
        self.results.add_outcome(outcome, scan.client_scan_id, scan_id, response.seconds)
        if scan.deviation == "sent_twice" and outcome == "accepted":
            again = client.send("POST", "/api/v1/qr/scan", body)
            self.results.add_replay(scan.client_scan_id, again.body.get("id", ""), again.status)
        if outcome == "consent_required":
            _consent(client)

    def _body(self, phone: Phone, scan: PlannedScan, at: datetime) -> dict[str, Any]:
        scanned_at = at - timedelta(seconds=scan.age)
        captured_at = scanned_at - timedelta(seconds=OLD_SECONDS if scan.deviation == "old_location" else 1)
        place = {
            "lat": scan.lat,
            "lon": scan.lon,
            "accuracy_m": scan.accuracy_m,
            "captured_at": captured_at.isoformat(),
        }
        return {
            "code": FORGED if scan.deviation == "forged" else self._codes[scan.place]["token"],
            "client_scan_id": scan.client_scan_id,
            "scanned_at": scanned_at.isoformat(),
            "location": None if scan.deviation == "no_location" else place,
            "device": {"fingerprint": phone.fingerprint, "platform": "web", "locale": "es-ES"},
        }


def _consent(client: Client) -> None:
    client.post("/api/v1/consents", {"tier": "essential"})


def _outcome(response: Response) -> str:
    return "accepted" if response.status in (200, 201) else response.code


def _address(phone: Phone) -> str:
    """Return the phone's local address. Networks (/24) differ, too: many new devices of one network are evidence."""
    return f"127.{40 + phone.number % 80}.{phone.number // 80 % 250}.{phone.number // 20_000 % 250 + 1}"
