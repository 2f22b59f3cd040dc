"""Compare the plan, the results of the phones, and the brand's overview."""

import io
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import segno

from scripts.commands.demo.brand_setup import DemoBrand
from scripts.commands.demo.plan import PLAZA_MAYOR, Plan
from scripts.commands.demo.results import UNSTORED, Results, percentile
from scripts.devstack.progress import output, say

MOST_MISTAKES = 10

_SCORING = """
    select percentile_disc(array[0.5, 0.95]) within group (order by scored_at - received_at), count(*), count(scored_at)
    from app.real_scans where brand_id = %s and decision = 'accepted'
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One number: planned, counted by the phones, and in the overview. None if a source doesn't have it."""

    name: str
    planned: int | None
    counted: int | None
    overview: int | None

    @property
    def agrees(self) -> bool:
        """Whether all known values are the same."""
        return len({n for n in (self.planned, self.counted, self.overview) if n is not None}) <= 1

    def __str__(self) -> str:
        numbers = "".join(f"{'–' if n is None else n:>14}" for n in (self.planned, self.counted, self.overview))
        return f"  {self.name:<32}{numbers}{'' if self.agrees else '  ✗'}"


def rows(plan: Plan, results: Results, totals: Mapping[str, Any]) -> list[Row]:
    """Return the numbers that must agree."""
    planned = plan.expected()
    reasons, unstored = totals["rejected_by_reason"], totals["unstored_by_reason"]
    names = sorted({*planned, *results.decided, *reasons} - {"accepted", *UNSTORED})
    rejected = sum(planned[name] for name in names)
    return [
        Row("accepted", planned["accepted"], results.accepted, totals["accepted"]),
        Row("rejected", rejected, results.rejected, totals["rejected"]),
        *(Row(f"  {name}", planned[name], results.decided[name], reasons.get(name, 0)) for name in names),
        Row("forged code, not stored", planned["bad_token"], results.decided["bad_token"], None),
        *(
            Row(f"{name}, not stored", planned[name], results.decided[name], unstored.get(name, 0))
            for name in sorted({*unstored, *UNSTORED} - {"bad_token"})
        ),
        *_flags(plan, totals),
        Row("people reached", plan.reach(), None, totals["reach"]),
    ]


def _flags(plan: Plan, totals: Mapping[str, Any]) -> Iterator[Row]:
    """Yield flags, which phones don't see. A rule that is not planned, like lateness, has no planned number."""
    planned = plan.flags()
    found = totals["flagged_by_rule"]
    yield Row("flagged", sum(bool(scan.flags) for scan in plan.scans), None, totals["flagged"])
    for rule in sorted({*planned, *found}):
        yield Row(f"  {rule}", planned.get(rule), None, found.get(rule, 0))


def show(
    run: Mapping[str, Any],
    brand: DemoBrand,
    plan: Plan,
    results: Results,
    overview: Mapping[str, Any],
    types: list[Row],
) -> bool:
    """Print the comparison of the scans, and that of the other types of campaigns. Return whether all numbers agree."""
    totals = overview["totals"]
    table = rows(plan, results, totals)
    _show_table("scans", "overview", table)
    _show_table("rewards and tickets", "brand", types)
    for text in _times(run, brand, results):
        say(text)
    wrong = list(results.mistakes)
    if overview["pending"]:
        wrong.append(f"{overview['pending']} accepted scans have no score")
    if not all(row.agrees for row in (*table, *types)):
        wrong.append("The numbers marked above disagree")
    say("")
    for text in wrong[:MOST_MISTAKES]:
        say(f"✗ {text}")
    if not wrong:
        say("✓ The overview agrees with the phones and with the plan: no scan is lost or counted twice")
    return not wrong


def _show_table(title: str, source: str, table: list[Row]) -> None:
    say("")
    say(f"  {title:<32}{'planned':>14}{'phones':>14}{source:>14}")
    for row in table:
        say(str(row))


def _times(run: Mapping[str, Any], brand: DemoBrand, results: Results) -> Iterator[str]:
    p50, p95 = (percentile(results.seconds, share) * 1000 for share in (0.5, 0.95))
    again = f", {results.repeated} repeated" if results.repeated else ""
    yield f"  {'response time':<24}p50 {p50:.0f} ms, p95 {p95:.0f} ms  ({len(results.seconds)} responses{again})"
    yield f"  {'scan → score':<24}{scoring(run['database_direct_url'], brand.brand_id)}"


def scoring(dsn: str, brand_id: str) -> str:
    """Return the time from receipt to score, read from the database. The API doesn't show it."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.set_session(readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(_SCORING, [brand_id])
            waits, accepted, scored = cursor.fetchall()[0]
    if not scored:
        return "none scored"
    p50, p95 = (wait.total_seconds() for wait in waits)
    return f"p50 {p50:.2f} s, p95 {p95:.2f} s  ({scored} of {accepted}, from the database)"


def show_links(run: Mapping[str, Any], brand: DemoBrand) -> None:
    """Print a code and the links of the running system."""
    code = brand.codes[PLAZA_MAYOR]
    picture = io.StringIO()
    segno.make(code["url"], error="m", micro=False).terminal(out=picture, border=2, compact=True)
    say(f"\n  The code on {PLAZA_MAYOR.name}, {PLAZA_MAYOR.city}: {code['url']}\n")
    for text in picture.getvalue().splitlines():
        output.line(f"  {text}")
    say(f"\n  API            {run['api']}/api/v1")
    say(f"  Documentation  {run['docs']}")
    say(f"  Mail           {run['mail']}/messages")
