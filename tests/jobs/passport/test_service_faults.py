"""Each caller of a service meets each fault of it once: the job is retried, and the effect happens once.

The ordinary suite has one fault for each caller; `--slow` has all.
"""

from itertools import cycle

import pytest

from jobs.passport import policy
from tests.jobs.passport.callers import CALLERS, READS, UNCALLED
from tests.jobs.passport.conftest import CAUSES, FAULTS

pytestmark = pytest.mark.xdist_group("services")

ALL = [(service, operation, fault) for service, operation in CALLERS for fault in FAULTS]
SIBLINGS = {("locker", "extend"), ("locker", "suspend"), ("concierto", "uninvite"), ("concierto", "undo_check_in")}
"""Callers that differ from another one by the operation alone: `--slow` has their faults."""
SHORT = {
    (*called, fault)
    for called, fault in zip([one for one in CALLERS if one not in SIBLINGS], cycle(FAULTS), strict=False)
}
"""One fault for each other caller; each fault is met by two callers or more."""


@pytest.mark.usefixtures("mailbox")
@pytest.mark.parametrize(
    ("service", "operation", "fault"),
    [pytest.param(*case, marks=() if case in SHORT else pytest.mark.slow, id="-".join(case)) for case in ALL],
)
def test_effect_happens_once_whatever_the_service_answers(outside, world, query, service, operation, fault):
    server = outside.use(service)
    caller = CALLERS[service, operation](world)
    next(caller)
    before = server.counts()
    query("delete from passport_calls")

    outside.fail(service, operation, fault)
    assert next(caller, "done") == "done"

    after = server.counts()
    failed = query("select operation, error_code from passport_calls where outcome = 'failed'")
    assert failed == [(operation, CAUSES[fault])]
    made = {name: after[name].get(operation, 0) - before[name].get(operation, 0) for name in ("calls", "effects")}
    assert made["calls"] == (1 if fault == "down" else 2)
    if operation not in READS:
        assert made["effects"] == 1


def test_every_operation_that_jobs_call_meets_faults():
    assert CALLERS.keys() | UNCALLED == policy.POLICY.keys()
    assert not CALLERS.keys() & UNCALLED
