"""Jobs that call MediaID over HTTP while it fails: nothing is lost, and each effect happens once."""

from typing import Any

import pytest

from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue
from tests.fixtures.jobs import Drain
from tests.support.counterparts import Counterpart

COUNTERPART = "mediaid"


@pytest.mark.parametrize("fault", ["status", "garbage", "drop_before", "drop_after"])
def test_link_while_mediaid_fails_happens_later_and_once(
    over_http: Counterpart, fan: Any, drain: Drain, fault: str
) -> None:
    nora = fan()
    over_http.fail(fault, times=2)
    with transaction(context.for_system_job()):
        enqueue("mediaid.link", nora.user_id, user_id=nora.user_id)

    ran = drain()

    assert ran.count("mediaid.link") == 3
    assert over_http.counts() == {"calls": {"link": 3}, "effects": {"link": 1}}
