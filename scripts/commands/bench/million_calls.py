"""Time the engine's functions and the console's queries on a ledger that `million` has filled; print JSON.

`python -m scripts.commands.bench.million_calls times CALLS` or `… plans 1`. The process uses production's logins.
"""

import json
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, repeat
from statistics import quantiles
from typing import Any, NamedTuple
from uuid import UUID

from jobs.engine.ledger import LAST_TENANT_KEY, Claim, Ledger
from models.core import context, database
from models.core.context import Identity
from models.core.database import transaction
from models.jobs import control, dead_letters, ledger
from models.jobs.dead_letters import Filter
from models.operations import metrics

ACTORS = [f"bench.actor{number}" for number in range(10)]
ROOM, BATCH = 32, 8
"""Jobs that a relay publishes and a worker claims at a time."""
PAGE = 51
ENOUGH = 1.0
"""Longest time in seconds for the repetitions of one console query."""

ADMIN = Identity("account", "app_admin", {"app_metadata": {"user_role": context.SYSTEM_ADMIN}})
_SCAN = re.compile(r"(Index Only Scan|Index Scan|Bitmap Index Scan|Seq Scan)(?: Backward)?(?: using (\S+))? on (\S+)")
_BIG = re.compile(r"^(jobs|job_history|dead_jobs)(_|$)")
_PARTITION = re.compile(r"^job_history_(\d{8}|default)")

Call = Callable[[], object]

heard: deque[str] = deque()
"""Server messages since the last call. psycopg2's own list keeps only the last 50."""


class Step(NamedTuple):
    """A call with its purpose (`engine`, `console`, `search` or `metrics`) and its name."""

    kind: str
    name: str
    call: Callable[[], object]


def times(calls: int) -> dict[str, dict[str, Any]]:
    """Return the 50th and 95th percentile of each call, in ms."""
    taken: dict[tuple[str, str], list[float]] = {}
    for kind, name, call in _steps(calls):
        started = time.perf_counter()
        call()
        taken.setdefault((kind, name), []).append(1000 * (time.perf_counter() - started))
    return {name: {"kind": kind, **_percentiles(ms)} for (kind, name), ms in taken.items()}


def _percentiles(ms: list[float]) -> dict[str, float]:
    found = quantiles(ms, n=20, method="inclusive")
    return {"p50": found[9], "p95": found[18]}


def plans(calls: int) -> dict[str, dict[str, Any]]:
    """Return the plans of the first execution of each call."""
    found: dict[str, dict[str, Any]] = {}
    for _, name, call in _steps(calls):
        heard.clear()
        call()
        found.setdefault(name, {"plans": _readable(heard), "scans": _scans(heard)})
    return found


def _readable(notices: deque[str]) -> list[str]:
    """Return each plan once, without irrelevant lines."""
    shown = {notice.partition("\n")[2].partition("  ->")[0]: notice for notice in reversed(notices)}
    return [re.sub(r"\n +(?:Planning|Output|Buckets|Sort Method).*", "", notice).strip() for notice in shown.values()]


def _scans(notices: deque[str]) -> list[str]:
    """Return the executed scan types of the big tables; partitions count as one table."""
    lines = [line for notice in notices for line in notice.splitlines() if "(never executed)" not in line]
    found = {_named(*match.groups()) for match in map(_SCAN.search, lines) if match}
    return sorted(found - {""})


def _named(how: str, index: str | None, on: str) -> str:
    name = _PARTITION.sub("job_history", index or on)
    return "" if not _BIG.match(name) else f"{how} {name}" if how == "Seq Scan" else name


def _steps(calls: int) -> Iterator[Step]:
    """Yield every call, at most `count` times each."""
    yield from _engine(calls)
    for kind, name, identity, given in _questions():
        until = time.monotonic() + ENOUGH
        for number in range(calls):
            yield Step(kind, name, partial(_asked, identity, next(given)))
            if number and time.monotonic() > until:
                break  # Repeat slow calls fewer times.


def _engine(calls: int) -> Iterator[Step]:
    """Yield the calls of relay and worker, fewer where fewer jobs wait."""
    engine = _Engine()
    for _ in range(calls):
        yield Step("engine", "publish_due", engine.take)
        while engine.taken:
            yield Step("engine", "claim", engine.claim)
            while engine.claims:
                yield Step("engine", "finish", engine.finish)


class _Engine:
    """A relay and a worker on one connection."""

    def __init__(self) -> None:
        self.taken: list[UUID] = []
        self.claims: list[Claim] = []
        self._connection = database.connect("worker")
        self._connection.notices = heard  # type: ignore[assignment]
        self._ledger = Ledger()
        self._ledger._connection = self._connection  # noqa: SLF001  (the one that is listened to)
        self._worker_id = self._ledger.register_worker()
        self._last_tenant = LAST_TENANT_KEY

    def take(self) -> None:
        found = self._ledger.publish_due(ACTORS, ROOM, (), self._last_tenant)
        self.taken, self._last_tenant = [id for id, _ in found.jobs], found.last_tenant

    def claim(self) -> None:
        ids, self.taken = self.taken[:BATCH], self.taken[BATCH:]
        self.claims = self._ledger.claim(ids, self._worker_id)

    def finish(self) -> None:
        claim = self.claims.pop()
        with self._connection.cursor() as cursor:
            cursor.execute("CALL app.finish(%s, %s)", (claim.id, claim.fence))


def _questions() -> Iterator[tuple[str, str, Identity, Iterator[Call]]]:
    """Yield the console's queries, searches by external ids, and metrics."""
    for name, given in (*_of_one_job(), *_of_dead_jobs(), ("actors", repeat(control.actors))):
        yield "console", name, ADMIN, given
    for name, given in _by_foreign_ids():
        yield "search", name, ADMIN, given
    Ledger().count_jobs()  # The clock counts every few seconds.
    yield "metrics", "metrics of jobs", context.unauthenticated(), repeat(lambda: list(metrics.job_metrics()))
    yield (
        "metrics",
        "metrics of the audit trail",
        context.unauthenticated(),
        repeat(lambda: list(metrics.audit_metrics())),
    )


def _of_one_job() -> Iterator[tuple[str, Iterator[Call]]]:
    for table, ids in {
        "job_history": "SELECT id FROM app.job_history",
        "jobs": "SELECT id FROM app.jobs",
        "dead_jobs": "SELECT id FROM app.dead_jobs",
    }.items():
        yield f"job in {table}", cycle([partial(ledger.get, id) for (id,) in _some(ids)])
    for what, ids in {
        "trail by request id": "SELECT request_id FROM app.job_history",
        "trail, still waiting": "SELECT request_id FROM app.jobs",
    }.items():
        yield what, cycle([partial(control.trail, id) for (id,) in _some(ids)])


def _by_foreign_ids() -> Iterator[tuple[str, Iterator[Call]]]:
    """Return correlation ids of callers."""
    for what, ids in {
        "trail by correlation id": (
            "SELECT correlation_id FROM app.job_history WHERE correlation_id IS DISTINCT FROM request_id"
        ),
        "trail by trace id": "SELECT split_part(traceparent, '-', 2) FROM app.job_history",
        "trail by trace id, waiting": "SELECT split_part(traceparent, '-', 2) FROM app.jobs",
    }.items():
        yield what, cycle([partial(control.trail, id) for (id,) in _some(ids)])
    yield "trail of an unknown request", repeat(partial(control.trail, "00000000"))


def _of_dead_jobs() -> Iterator[tuple[str, Iterator[Call]]]:
    ((fingerprint, actor, brand_id, died_at, id), *_) = _some(
        "SELECT fingerprint, actor, brand_id, finished_at, id FROM app.dead_jobs"
    )
    filters = {
        "": Filter(),
        " of an actor": Filter(actor=actor),
        " of a brand": Filter(brand_id=brand_id),
        " alike": Filter(fingerprint=fingerprint),
        " of a day": Filter(since=died_at - timedelta(days=1), until=died_at),
    }
    for what, which in filters.items():
        yield f"dead jobs{what}", repeat(partial(dead_letters.page, which, PAGE))
        yield f"dead groups{what}", repeat(partial(dead_letters.groups, which, PAGE))
        yield f"replay{what}, dry run", repeat(partial(dead_letters.forecast, which))
        yield f"replay{what}, which", repeat(partial(dead_letters.batch, which, datetime.now(UTC)))
    yield "dead jobs, next page", repeat(partial(dead_letters.page, Filter(), PAGE, (died_at, id)))
    yield "dead job", repeat(partial(dead_letters.get, id))


def _some(sql: str) -> list[tuple[Any, ...]]:
    """Return some rows spread over a table."""
    with transaction(ADMIN):
        return [tuple(found.values()) for found in database.rows(sql + " ORDER BY md5(id::text) LIMIT 200")]


def _asked(identity: Identity, call: Call) -> None:
    with transaction(identity):
        database.db.connection().notices = heard  # type: ignore[no-untyped-call]
        call()


if __name__ == "__main__":
    print(json.dumps({"times": times, "plans": plans}[sys.argv[1]](int(sys.argv[2]))))
