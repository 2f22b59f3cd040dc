"""Watching the numbers move: the brand's overview, asked for again and again, beside what the phones were told."""

import sys
import threading
import time
from typing import Any

from scripts.commands.demo.http import Client, GaveUp
from scripts.commands.demo.street import Street
from scripts.commands.demo.tally import Tally
from scripts.devstack.progress import output, say

EVERY = 0.4
"""Seconds between two looks at the overview."""
LINE_EVERY = 2.0
"""Seconds between two lines where they can't be rewritten."""
CONFIRMED = 3
"""Looks that have to see the same settled numbers."""


class Watch:
    """The newest overview, read in a thread of its own."""

    def __init__(self, admin: Client, still: float) -> None:
        """Look with `admin`'s eyes; when nothing has changed for `still` seconds, nothing more is expected."""
        self.still = still
        self.overview: dict[str, Any] = {}
        self.looks = 0
        self.changed_at = time.monotonic()
        self.failure: str | None = None
        self._admin = admin
        self._stopped = threading.Event()

    def open(self) -> None:
        """Begin."""
        threading.Thread(target=self._look, name="watch", daemon=True).start()

    def close(self) -> None:
        """End."""
        self._stopped.set()

    def _look(self) -> None:
        while not self._stopped.wait(EVERY):
            try:
                self._take(self._admin.get("/api/v1/analytics/overview"))
            except GaveUp as error:
                self.failure = str(error)
                return

    def _take(self, overview: dict[str, Any]) -> None:
        # Answers differ in the moment they were given, and nothing else when nothing happens.
        if {**overview, "as_of": ""} != {**self.overview, "as_of": ""}:
            self.changed_at = time.monotonic()
            self.looks = 0
        self.looks += 1
        self.overview = overview


def follow(street: Street, watch: Watch, phones: int, until: float) -> None:
    """Show the numbers until every phone is through, every scan is scored, and the overview has settled.

    It has settled when several looks in a row agree with the phones, or when nothing moves any more.

    Raises:
        GaveUp: a phone could not go on, or time is over; says what is missing.
    """
    said, said_at = "", time.monotonic()
    with output.status() as show:
        while not (street.done.is_set() and settled(watch, street.tally)):
            text = line(street.tally, watch.overview, phones)
            _check(street, watch, until, text)
            show(text)
            if not sys.stdout.isatty() and text != said and time.monotonic() - said_at >= LINE_EVERY:
                said, said_at = text, time.monotonic()
                say(text)
            time.sleep(EVERY / 4)
    text = line(street.tally, watch.overview, phones)
    if text != said:
        say(text)


def _check(street: Street, watch: Watch, until: float, state: str) -> None:
    failure = street.failure or watch.failure
    if failure is None and time.monotonic() > until:
        failure = f"its time is over; {state.strip()}"
    if failure:
        raise GaveUp(failure)


def settled(watch: Watch, tally: Tally) -> bool:
    """Whether the overview won't change any more."""
    overview = watch.overview
    if not overview or overview["pending"]:
        return False
    agrees = (overview["totals"]["accepted"], overview["totals"]["rejected"]) == (tally.accepted, tally.rejected)
    confirmed = agrees and overview["settled"] and watch.looks >= CONFIRMED
    return confirmed or time.monotonic() - watch.changed_at > watch.still


def line(tally: Tally, overview: dict[str, Any], phones: int) -> str:
    """The state of things in one line."""
    scored = max(0, tally.accepted - overview["pending"]) if overview else 0
    counts = [
        f"phones {tally.phones:4}/{phones}",
        f"sent {tally.sent:4}",
        f"accepted {tally.accepted:4}",
        f"rejected {tally.rejected + tally.refused:3}",
        f"scored {scored:4}",
    ]
    if tally.asked_again:
        counts.append(f"asked again {tally.asked_again}")
    return "  " + "  ".join(counts)
