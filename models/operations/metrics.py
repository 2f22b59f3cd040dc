"""Measures of jobs and of the audit trail, from their tables themselves; nothing beside can drift.

Where many jobs wait it takes a while to count them, so the clock does it every few seconds, and says when.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from models.audit import checkpoints
from models.core.database import row, rows

WINDOW = timedelta(minutes=5)
"""Times are of the jobs that ended within it."""

COUNTED_EVERY = timedelta(seconds=5)
"""Time between two counts of the clock's at the least."""

STALE = timedelta(seconds=30)
"""What the clock has counted longer ago is counted by whoever asks."""

BRANDS = 50
"""Brands whose lag is told: those that wait longest."""

FRESH = 15.0
"""Seconds since a process's last sign of life after which it is taken for stuck or gone."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """One measure: its name and meaning, and a value for each set of labels."""

    name: str
    help: str
    samples: list[tuple[Labels, float]]


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of the jobs, as rows, and how many seconds ago."""

    gauges: list[dict[str, Any]]
    summaries: list[dict[str, Any]]
    brand_lags: list[dict[str, Any]]
    age: float


def job_metrics() -> Iterator[Metric]:
    """Every measure of the jobs, in the caller's transaction."""
    found = counts()
    yield from gauges(found)
    yield from summaries(found)
    yield brand_lags(found)
    yield Metric(
        "companon_jobs_counted_age_seconds",
        "Time since the jobs were counted: of that moment is what is said of them, dead letters excepted.",
        [({}, found.age)],
    )
    yield dead_letters()
    yield Metric(
        "companon_heartbeat_age_seconds",
        "Time since the last sign of life of a kind of process; +Inf if there never was one.",
        [({"process": kind}, age) for kind, age in heartbeat_ages().items()],
    )


def counts() -> Counts:
    """What the clock has counted lately; if no clock has, what there is now."""
    found = row("SELECT counts, age FROM app.job_counts(%s, %s, %s)", (STALE, WINDOW, BRANDS))
    assert found is not None
    return Counts(**{what: counted or [] for what, counted in found["counts"].items()}, age=found["age"])


def audit_metrics() -> Iterator[Metric]:
    """Every measure of the audit trail, in the caller's transaction."""
    found = checkpoints.gauges()
    yield Metric("companon_audit_unsealed", "Audit entries that have no seal yet.", [({}, found.unsealed)])
    yield Metric(
        "companon_audit_oldest_unsealed_seconds",
        "For how long the oldest of them has had none.",
        [({}, found.oldest_unsealed_seconds)],
    )
    age = found.checkpoint_seconds
    yield Metric(
        "companon_audit_checkpoint_age_seconds",
        "Time since the newest stored checkpoint was made; +Inf if there never was one.",
        [({}, float("inf") if age is None else age)],
    )


def heartbeat_ages() -> dict[str, float]:
    """Return the seconds since the newest heartbeat of `relay`, `worker`, `clock` and `seal`; infinite without one."""
    found = rows("SELECT kind, seconds FROM app.heartbeat_ages()")
    return {r["kind"]: float("inf") if r["seconds"] is None else r["seconds"] for r in found}


def dead_letters() -> Metric:
    """How many dead letters of each actor there are."""
    dead = rows("SELECT actor, dead FROM app.dead_letter_gauges()")
    return Metric("companon_jobs_dead", "Dead letters.", [({"actor": r["actor"]}, r["dead"]) for r in dead])


def brand_lags(found: Counts) -> Metric:
    """How far behind the system is, brand by brand."""
    return Metric(
        "companon_brand_lag_seconds",
        "Age of the oldest due job of the brands that wait longest.",
        [({"brand": r["brand_id"]}, r["seconds"]) for r in found.brand_lags],
    )


def gauges(found: Counts) -> Iterator[Metric]:
    """How many jobs of each actor are in which state, and for how long the oldest has been due."""
    states = ("waiting", "due", "published", "running")
    yield Metric(
        "companon_jobs",
        "Jobs that are not over, by actor and state; those that are due are among those that wait.",
        [({"actor": r["actor"], "state": state}, r[state]) for r in found.gauges for state in states],
    )
    yield Metric(
        "companon_jobs_oldest_due_seconds",
        "For how long the oldest due job has been waiting to be published.",
        [({"actor": r["actor"]}, r["oldest_due_seconds"]) for r in found.gauges],
    )


def summaries(found: Counts) -> Iterator[Metric]:
    """What can be said of the jobs that ended lately."""
    of_actor = [({"actor": r["actor"]}, r) for r in found.summaries]
    yield Metric(
        "companon_jobs_ended_recently",
        f"Jobs that were done within the last {WINDOW.total_seconds():.0f} s.",
        [(labels, r["ended"]) for labels, r in of_actor],
    )
    yield Metric(
        "companon_jobs_attempts_recently",
        "Attempts that these jobs took.",
        [(labels, r["attempts"]) for labels, r in of_actor],
    )
    for name, column, what in (
        ("companon_job_start_seconds", "start", "Time from the moment they were asked for to their last start"),
        ("companon_job_run_seconds", "run", "Time from there to their end"),
    ):
        yield Metric(
            name,
            f"{what}.",
            [({**labels, "quantile": f"0.{q}"}, r[f"{column}_p{q}"]) for labels, r in of_actor for q in ("50", "95")],
        )
