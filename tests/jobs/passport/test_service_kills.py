"""Workers killed with SIGKILL while they call a service: after the resumption, one effect, and nothing is lost.

The ordinary suite kills after the effect of the service and before our commit; `--slow` kills at all boundaries.
"""

from functools import partial

import pytest

from jobs.engine.worker import runner
from jobs.passport import gateway
from tests.jobs.passport.callers import CALLERS, READS
from tests.support.kills import kill

pytestmark = pytest.mark.xdist_group("services")

BOUNDARIES = ("before", "effect", "record", "done")
"""Places of a kill: before the call, after the effect of the service, after the record of the call, after the body."""
CALLS = {"before": {1}, "effect": {2}, "record": {2}, "done": {1, 2}}
"""Calls that reach the service in the end."""
SHORT = {"grant", "claim", "check_in", "ingest"}
"""Operations whose callers are killed in the ordinary suite."""
CASES = [(*called, boundary) for called in CALLERS for boundary in BOUNDARIES]


def _kill_at(boundary, operation):
    """Return a function that lets this process die at a boundary of an operation."""
    attempt, body = gateway._Attempt, runner._call_interruptible
    send, record, called = attempt.run, attempt.record, []

    def run(self, sender):
        if boundary == "before" and self.operation.name == operation:
            kill()
        return send(self, sender)

    def record_and_die(self, *args):
        if self.operation.name != operation:
            return record(self, *args)
        if boundary == "effect":
            kill()
        record(self, *args)
        if boundary == "record":
            kill()
        called.append(operation)

    def call(*args):
        body(*args)
        if called:
            kill()

    def arrange():
        gateway._http_senders.clear()  # Their connections are shared with the parent.
        attempt.run, attempt.record, runner._call_interruptible = run, record_and_die, call

    return arrange


def _param(service, operation, boundary):
    is_short = operation in SHORT and boundary == "effect"
    id = f"{service}-{operation}-{boundary}"
    return pytest.param(service, operation, boundary, marks=() if is_short else pytest.mark.slow, id=id)


@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize(
    ("service", "operation", "boundary"),
    [
        pytest.param(
            *case, marks=() if case[1] in SHORT and case[2] == "effect" else pytest.mark.slow, id="-".join(case)
        )
        for case in CASES
    ],
)
def test_killed_call_has_one_effect(outside, world, drain_with_kill, service, operation, boundary):
    server = outside.use(service)
    caller = CALLERS[service, operation](world)
    next(caller)
    before = server.counts()
    world.run = partial(drain_with_kill, _kill_at(boundary, operation))
    assert next(caller, "done") == "done"

    after = server.counts()
    made = {name: after[name].get(operation, 0) - before[name].get(operation, 0) for name in ("calls", "effects")}
    assert drain_with_kill.has_killed
    if operation not in READS:
        assert made["calls"] in CALLS[boundary]
        assert made["effects"] == 1
