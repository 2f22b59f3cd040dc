"""What it came to: the plan, what the phones were told and what the brand sees, side by side."""

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import segno

from scripts.commands.demo.crowd import PLAZA_MAYOR, Crowd
from scripts.commands.demo.stage import Stage
from scripts.commands.demo.tally import UNSTORED, Tally, percentile
from scripts.devstack.progress import output, say

MOST_MISTAKES = 10

_SCORING = """
    select percentile_disc(array[0.5, 0.95]) within group (order by scored_at - received_at), count(*), count(scored_at)
    from public.qr_scans where brand_id = %s and decision = 'accepted'
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One number, as it was planned, told to the phones and shown to the brand; None where it isn't known."""

    name: str
    planned: int | None
    told: int | None
    shown: int | None

    @property
    def agrees(self) -> bool:
        """Whether what is known of it is one number."""
        return len({n for n in (self.planned, self.told, self.shown) if n is not None}) <= 1

    def __str__(self) -> str:
        numbers = "".join(f"{'–' if n is None else n:>14}" for n in (self.planned, self.told, self.shown))
        return f"  {self.name:<32}{numbers}{'' if self.agrees else '  ✗'}"


def rows(crowd: Crowd, tally: Tally, totals: Mapping[str, Any]) -> list[Row]:
    """What has to agree."""
    planned = crowd.expected()
    reasons, unstored = totals["rejected_by_reason"], totals["unstored_by_reason"]
    names = sorted({*planned, *tally.decided, *reasons} - {"accepted", *UNSTORED})
    rejected = sum(planned[name] for name in names)
    return [
        Row("accepted", planned["accepted"], tally.accepted, totals["accepted"]),
        Row("rejected", rejected, tally.rejected, totals["rejected"]),
        *(Row(f"  {name}", planned[name], tally.decided[name], reasons.get(name, 0)) for name in names),
        Row("forged code, not stored", planned["bad_token"], tally.decided["bad_token"], None),
        *(
            Row(f"{name}, not stored", planned[name], tally.decided[name], unstored.get(name, 0))
            for name in sorted({*unstored, *UNSTORED} - {"bad_token"})
        ),
        *_flags(crowd, totals),
        Row("people reached", crowd.reach(), None, totals["reach"]),
    ]


def _flags(crowd: Crowd, totals: Mapping[str, Any]) -> Iterator[Row]:
    """Phones don't get to know of them. What isn't planned is not held against the plan: how late a scan is, say."""
    planned = crowd.flags()
    found = totals["flagged_by_rule"]
    yield Row("flagged", sum(bool(scan.flags) for scan in crowd.scans), None, totals["flagged"])
    for rule in sorted({*planned, *found}):
        yield Row(f"  {rule}", planned.get(rule), None, found.get(rule, 0))


def show(run: Mapping[str, Any], stage: Stage, crowd: Crowd, tally: Tally, overview: Mapping[str, Any]) -> bool:
    """Print everything; whether the numbers agree."""
    totals = overview["totals"]
    table = rows(crowd, tally, totals)
    say("")
    say(f"  {'scans':<32}{'planned':>14}{'phones saw':>14}{'overview':>14}")
    for row in table:
        say(str(row))
    for text in _times(run, stage, tally):
        say(text)
    wrong = list(tally.mistakes)
    if overview["pending"]:
        wrong.append(f"{overview['pending']} accepted scans have no score")
    if not all(row.agrees for row in table):
        wrong.append("The numbers marked above disagree")
    say("")
    for text in wrong[:MOST_MISTAKES]:
        say(f"✗ {text}")
    if not wrong:
        say("✓ The overview agrees with what the phones were told, and with the plan: none lost, none counted twice")
    return not wrong


def _times(run: Mapping[str, Any], stage: Stage, tally: Tally) -> Iterator[str]:
    p50, p95 = (percentile(tally.seconds, share) * 1000 for share in (0.5, 0.95))
    again = f", {tally.asked_again} asked again" if tally.asked_again else ""
    yield f"  {'answer time':<24}p50 {p50:.0f} ms, p95 {p95:.0f} ms  ({len(tally.seconds)} answers{again})"
    yield f"  {'scan → score':<24}{scoring(run['database_direct_url'], stage.brand_id)}"


def scoring(dsn: str, brand_id: str) -> str:
    """How long scans waited for their score; only the database knows, so it is asked, read-only."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.set_session(readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(_SCORING, [brand_id])
            waits, accepted, scored = cursor.fetchall()[0]
    if not scored:
        return "none scored"
    p50, p95 = (wait.total_seconds() for wait in waits)
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s  ({scored} of {accepted}, from the database)"


def farewell(run: Mapping[str, Any], stage: Stage) -> None:
    """The code on the lamp post, and where to look further."""
    code = stage.codes[PLAZA_MAYOR]
    picture = io.StringIO()
    segno.make(code["url"], error="m", micro=False).terminal(out=picture, border=2, compact=True)
    say(f"\n  The code on {PLAZA_MAYOR.name}, {PLAZA_MAYOR.city}: {code['url']}\n")
    for text in picture.getvalue().splitlines():
        output.line(f"  {text}")
    say(f"\n  API            {run['api']}/api/v1")
    say(f"  Documentation  {run['docs']}")
    say(f"  Mail           {run['mail']}/messages")
