"""The log of finished jobs: one line for each attempt, written in batches."""

import json
import logging
import re
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

import jobs.actors  # noqa: F401  (declares the actors)
from jobs.engine.ledger import Claim
from jobs.engine.worker.job_log import FLUSH_LINES, JobLog
from jobs.engine.worker.runner import Runner
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue
from tests.fixtures.jobs import take
from tests.support.brokers import until

CLAIM = Claim(
    id=UUID(int=7),
    actor="scan.score",
    args=["s3cret"],
    attempts=2,
    crashes=0,
    fence=3,
    brand_id=UUID(int=8),
    user_id=UUID(int=9),
    subject_type=None,
    subject_id=None,
    request_id="request-77",
    correlation_id="journey-7",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    created_at=datetime(2026, 11, 30, tzinfo=UTC),
)


@pytest.fixture(autouse=True)
def info_level(caplog):
    caplog.set_level(logging.INFO, "jobs")


@pytest.fixture
def written():
    return []


def lines(written):
    return [json.loads(line) for text in written for line in text.splitlines()]


def test_finished_job_is_one_line_with_its_ids_and_outcome(written):
    log = JobLog(written.append)

    log.write(CLAIM, "done", 0.01234)
    log.flush()

    (line,) = lines(written)
    assert re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", line.pop("at"))
    assert line == {
        "level": "INFO",
        "logger": "jobs",
        "message": "scan.score done",
        "actor": "scan.score",
        "job_id": str(CLAIM.id),
        "brand_id": str(CLAIM.brand_id),
        "attempt": 2,
        "ms": 12.34,
        "outcome": "done",
        "request_id": "request-77",
        "correlation_id": "journey-7",
        "traceparent": CLAIM.traceparent,
    }


def test_lines_are_written_together_after_a_moment(written):
    log = JobLog(written.append)
    log.open()

    for number in range(5):
        log.write(replace(CLAIM, attempts=number), "done", 0.0)

    until(lambda: len(lines(written)) == 5)
    assert len(written) == 1
    log.write(CLAIM, "done", 0.0)
    until(lambda: len(lines(written)) == 6)


def test_full_batch_is_written_without_waiting(written):
    log = JobLog(written.append)

    for _ in range(FLUSH_LINES):
        log.write(CLAIM, "done", 0.0)

    assert len(lines(written)) == FLUSH_LINES


def test_level_above_info_writes_no_line(written, caplog):
    caplog.set_level(logging.WARNING, "jobs")
    log = JobLog(written.append)

    log.write(CLAIM, "done", 0.0)
    log.flush()

    assert written == []


def test_runner_logs_each_attempt(ledger, written):
    log = JobLog(written.append)
    with transaction(context.for_system_job()):
        enqueue("requests.expire")
    (claim,) = ledger.claim(take(ledger, "requests.expire"), 1)

    Runner(ledger, 1, log).run(claim)
    Runner(ledger, 1, log).run(claim)
    log.flush()

    assert [(line["job_id"], line["outcome"]) for line in lines(written)] == [
        (str(claim.id), "done"),
        (str(claim.id), "stale"),
    ]
