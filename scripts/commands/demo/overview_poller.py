"""Poll the brand's overview, and show its numbers beside the results of the phones."""

import sys
import threading
import time
from typing import Any

from scripts.commands.demo.http_client import Client, DemoFailed
from scripts.commands.demo.phone_runner import PhoneRunner
from scripts.commands.demo.results import Results
from scripts.devstack.progress import output, say

POLL_SECONDS = 0.4
"""Seconds between two polls of the overview."""
LINE_SECONDS = 2.0
"""Seconds between two lines of output that is not a terminal."""
CONFIRMATIONS = 3
"""Polls in a row that must return the same settled numbers."""


class OverviewPoller:
    """Poll the overview in a thread and keep the newest."""

    def __init__(self, admin: Client, still: float) -> None:
        """Poll as `admin`. After `still` seconds without change the overview counts as settled."""
        self.still = still
        self.overview: dict[str, Any] = {}
        self.unchanged = 0
        self.changed_at = time.monotonic()
        self.failure: str | None = None
        self._admin = admin
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._poll, name="overview", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()

    def _poll(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self._take(self._admin.get("/api/v1/analytics/overview"))
            except DemoFailed as error:
                self.failure = str(error)
                return

    def _take(self, overview: dict[str, Any]) -> None:
        # Two responses without a change between them differ in `as_of` only.
        if {**overview, "as_of": ""} != {**self.overview, "as_of": ""}:
            self.changed_at = time.monotonic()
            self.unchanged = 0
        self.unchanged += 1
        self.overview = overview


def wait_until_settled(runner: PhoneRunner, poller: OverviewPoller, phones: int, until: float) -> None:
    """Show the numbers until every phone has finished, every scan is scored, and the overview is settled.

    It is settled if several polls in a row agree with the results, or if it doesn't change any more.

    Raises:
        DemoFailed: a phone failed, or the time is over.
    """
    shown, shown_at = "", time.monotonic()
    with output.status() as show:
        while not (runner.done.is_set() and settled(poller, runner.results)):
            text = line(runner.results, poller.overview, phones)
            _check(runner, poller, until, text)
            show(text)
            if not sys.stdout.isatty() and text != shown and time.monotonic() - shown_at >= LINE_SECONDS:
                shown, shown_at = text, time.monotonic()
                say(text)
            time.sleep(POLL_SECONDS / 4)
    text = line(runner.results, poller.overview, phones)
    if text != shown:
        say(text)


def _check(runner: PhoneRunner, poller: OverviewPoller, until: float, state: str) -> None:
    failure = runner.failure or poller.failure
    if failure is None and time.monotonic() > until:
        failure = f"the time is over; {state.strip()}"
    if failure:
        raise DemoFailed(failure)


def settled(poller: OverviewPoller, results: Results) -> bool:
    """Return whether the overview is settled."""
    overview = poller.overview
    if not overview or overview["pending"]:
        return False
    agrees = (overview["totals"]["accepted"], overview["totals"]["rejected"]) == (results.accepted, results.rejected)
    confirmed = agrees and overview["settled"] and poller.unchanged >= CONFIRMATIONS
    return confirmed or time.monotonic() - poller.changed_at > poller.still


def line(results: Results, overview: dict[str, Any], phones: int) -> str:
    """Return the state of the run in one line."""
    scored = max(0, results.accepted - overview["pending"]) if overview else 0
    counts = [
        f"phones {results.phones:4}/{phones}",
        f"sent {results.sent:4}",
        f"accepted {results.accepted:4}",
        f"rejected {results.rejected + results.refused:3}",
        f"scored {scored:4}",
    ]
    if results.repeated:
        counts.append(f"repeated {results.repeated}")
    return "  " + "  ".join(counts)
