"""Jobs that call MediaID while answers are lost and people change their profiles."""

import pytest

from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue

pytestmark = pytest.mark.xdist_group("services")


def test_profile_that_changes_after_a_lost_answer_is_stored(outside, fan, campaign, drain, query):
    outside.use("mediaid")
    nora = fan("essential", "marketing")
    query("insert into contacts (brand_id, user_id) values (%s, %s)", campaign().brand_id, nora.user_id)
    query("delete from app.jobs")
    with transaction(context.for_system_job()):
        enqueue("mediaid.refresh", nora.user_id, user_id=nora.user_id)
    outside.fail("mediaid", "put_traits", "drop_after")
    drain(rounds=1)

    query("update users set locale = 'es' where id = %s", nora.user_id)
    drain()

    assert query("select name, value from fan_traits") == [("language", "es")]
