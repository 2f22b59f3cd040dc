"""Metrics of jobs, mails and the audit trail, read from their tables at each scrape.

The process that answers a scrape holds no counters, so it does not matter which web process does. Counting a million
waiting jobs takes long, so the clock counts them every few seconds, and `companon_jobs_counted_age_seconds` is the age
of its counts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from models.audit import checkpoints
from models.core.database import row, rows
from models.passport import services

WINDOW = timedelta(minutes=5)
"""Period of the summaries: they cover the jobs that finished within it."""

COUNT_INTERVAL = timedelta(seconds=5)
"""Least time between two counts by the clock."""

STALE_AFTER = timedelta(seconds=30)
"""Age of the clock's counts from which a scrape counts the jobs itself."""

MAX_BRANDS = 50
"""Brands with a lag in the metrics: the ones with the longest."""

HEARTBEAT_TIMEOUT = 15.0
"""Seconds without a heartbeat after which a process counts as stuck."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of jobs as rows of `app.job_counts`, and their age in seconds."""

    gauges: list[dict[str, Any]]
    failing_mails: list[dict[str, Any]]
    summaries: list[dict[str, Any]]
    brand_lags: list[dict[str, Any]]
    age: float


def gauge(
    name: str, help_text: str, samples: Iterable[tuple[Mapping[str, str], float]], labels: tuple[str, ...] = ()
) -> GaugeMetricFamily:
    """Return a gauge with one value for each set of labels."""
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, number in samples:
        family.add_metric([values[label] for label in labels], number)
    return family


def job_metrics() -> Iterator[GaugeMetricFamily]:
    """Return the metrics of jobs, in the caller's transaction."""
    found = job_counts()
    yield from job_gauges(found)
    yield from job_summaries(found)
    yield brand_lags(found)
    yield gauge(
        "companon_mails_failing",
        "Mails that wait for another attempt after one has failed, by actor.",
        [(r, r["mails"]) for r in found.failing_mails],
        ("actor",),
    )
    yield gauge(
        "companon_jobs_counted_age_seconds",
        "Age of the counts of jobs. Dead letters are counted at each scrape.",
        [({}, found.age)],
    )
    yield dead_letters()
    yield gauge(
        "companon_heartbeat_age_seconds",
        "Time since the newest heartbeat of a kind of process; +Inf if there never was one.",
        [({"process": kind}, age) for kind, age in heartbeat_ages().items()],
        ("process",),
    )


def job_counts() -> Counts:
    """Return the clock's newest counts. Count the jobs now if these are older than `STALE_AFTER`."""
    found = row("SELECT counts, age FROM app.job_counts(%s, %s, %s)", (STALE_AFTER, WINDOW, MAX_BRANDS))
    assert found is not None
    return Counts(**{name: counted or [] for name, counted in found["counts"].items()}, age=found["age"])


def audit_metrics() -> Iterator[GaugeMetricFamily]:
    """Return the metrics of the audit trail, in the caller's transaction."""
    found = checkpoints.gauges()
    yield gauge("companon_audit_unsealed", "Audit entries without a seal.", [({}, found.unsealed)])
    yield gauge(
        "companon_audit_oldest_unsealed_seconds",
        "Age of the oldest audit entry without a seal; 0 if there is none.",
        [({}, found.oldest_unsealed_seconds)],
    )
    age = found.checkpoint_seconds
    yield gauge(
        "companon_audit_checkpoint_age_seconds",
        "Age of the newest stored checkpoint; +Inf if there never was one.",
        [({}, float("inf") if age is None else age)],
    )


def service_metrics() -> Iterator[GaugeMetricFamily]:
    """Return the metrics of downstream services, in the caller's transaction."""
    reports = list(services.reports())
    yield gauge(
        "companon_service_calls_recently",
        f"Calls of a downstream service within the last {services.WINDOW.total_seconds():.0f} s, by outcome.",
        [
            ({"service": report.name, "outcome": outcome}, number)
            for report in reports
            for outcome, number in report.outcomes.items()
        ],
        ("service", "outcome"),
    )
    yield gauge(
        "companon_service_seconds",
        "Duration of the calls in companon_service_calls_recently.",
        [
            ({"service": report.name, "quantile": quantile}, milliseconds / 1000)
            for report in reports
            for quantile, milliseconds in (("0.50", report.p50_ms), ("0.95", report.p95_ms))
            if milliseconds is not None
        ],
        ("service", "quantile"),
    )
    yield gauge(
        "companon_service_breaker",
        "State of a service's circuit breaker: 0 closed, 1 half open, 2 open.",
        [({"service": report.name}, ("closed", "half_open", "open").index(report.breaker)) for report in reports],
        ("service",),
    )


def heartbeat_ages() -> dict[str, float]:
    """Return the seconds since the newest heartbeat of each kind of process; infinite without one.

    The kinds are `relay`, `worker`, `clock`, `seal`, and `worker-<queue>` for the workers of each queue.
    """
    found = rows("SELECT kind, seconds FROM app.heartbeat_ages()")
    return {r["kind"]: float("inf") if r["seconds"] is None else r["seconds"] for r in found}


def dead_letters() -> GaugeMetricFamily:
    """Return the number of dead letters by actor."""
    dead = rows("SELECT actor, dead FROM app.dead_letter_gauges()")
    return gauge("companon_jobs_dead", "Dead letters.", [(r, r["dead"]) for r in dead], ("actor",))


def brand_lags(found: Counts) -> GaugeMetricFamily:
    """Return the age of the oldest due job of the brands that wait longest."""
    return gauge(
        "companon_brand_lag_seconds",
        "Age of the oldest due job of the brands that wait longest.",
        [({"brand": r["brand_id"]}, r["seconds"]) for r in found.brand_lags],
        ("brand",),
    )


def job_gauges(found: Counts) -> Iterator[GaugeMetricFamily]:
    """Return the number of jobs by actor and state, and the age of the oldest due job by actor."""
    states = ("waiting", "due", "published", "running")
    yield gauge(
        "companon_jobs",
        "Jobs that are not finished, by actor and state. Waiting jobs include due jobs.",
        [({"actor": r["actor"], "state": state}, r[state]) for r in found.gauges for state in states],
        ("actor", "state"),
    )
    yield gauge(
        "companon_jobs_oldest_due_seconds",
        "Time for which the oldest due job has waited to be published.",
        [(r, r["oldest_due_seconds"]) for r in found.gauges],
        ("actor",),
    )


def job_summaries(found: Counts) -> Iterator[GaugeMetricFamily]:
    """Return the number, attempts and times of the jobs that finished within `WINDOW`, by actor."""
    yield gauge(
        "companon_jobs_ended_recently",
        f"Jobs that finished within the last {WINDOW.total_seconds():.0f} s.",
        [(r, r["ended"]) for r in found.summaries],
        ("actor",),
    )
    yield gauge(
        "companon_jobs_attempts_recently",
        "Attempts of the jobs in companon_jobs_ended_recently.",
        [(r, r["attempts"]) for r in found.summaries],
        ("actor",),
    )
    for name, column, help_text in (
        ("companon_job_start_seconds", "start", "Time from the creation of a job to its last start."),
        ("companon_job_run_seconds", "run", "Time from the last start of a job to its end."),
    ):
        yield gauge(
            name,
            help_text,
            [
                ({"actor": r["actor"], "quantile": f"0.{q}"}, r[f"{column}_p{q}"])
                for r in found.summaries
                for q in ("50", "95")
            ],
            ("actor", "quantile"),
        )
