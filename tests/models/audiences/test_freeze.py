"""The audience of a campaign: the contacts of its segments at the launch."""

import pytest
from msgspec import convert

from models.audiences import segments
from models.audiences.dsl import Condition
from models.campaigns import campaigns, launch
from models.core import context
from models.core.database import now, transaction
from models.core.errors import Invalid
from tests.models.audiences import population

SPAIN = {"profile": {"field": "country", "op": "eq", "value": "ES"}}


def test_launch_stores_the_contacts_of_all_segments_once(campaign, manager, brand, superuser, query):
    people = population.generate(40, seed=3)
    population.store(superuser, brand["id"], people)
    expected = {p.id for p in people if p.merged_into is None and p.columns["country"] in ("ES", "PT")}
    with manager.acting():
        made = [
            segments.create(name=str(number), definition=convert(definition, Condition)).id
            for number, definition in enumerate(
                (SPAIN, {"profile": {"field": "country", "op": "in", "value": ["ES", "PT"]}})
            )
        ]
    summer = campaign(launched=False, segment_ids=made)

    for _ in range(2):
        with transaction(context.for_brand_job(summer.brand_id)):
            launch.freeze_audience(summer.id)
    query("update contacts set country = 'FR' where brand_id = %s", brand["id"])
    with transaction(context.for_brand_job(summer.brand_id)):
        launch.activate(summer.id)
    with transaction(context.for_brand_job(summer.brand_id)):
        launch.freeze_audience(summer.id)

    found = query("select contact_id from campaign_members where campaign_id = %s", summer.id)
    assert {one for (one,) in found} == expected
    assert expected


def test_launch_names_a_segment_that_can_not_be_evaluated(campaign, manager, query):
    query(
        "insert into contact_properties (brand_id, key, type, label) values (%s, 'vip', 'boolean', 'VIP')",
        manager.brand_id,
    )
    vip = {"profile": {"field": "properties.vip", "op": "eq", "value": True}}
    with manager.acting():
        made = [
            segments.create(name=str(n), definition=convert(one, Condition)).id for n, one in enumerate((SPAIN, vip))
        ]
    summer = campaign(launched=False, segment_ids=made)
    with manager.acting():
        launch.require_ready(campaigns.get(summer.id), at=now())
    query("update contact_properties set archived_at = now()")

    with manager.acting(), pytest.raises(launch.NotReady) as refused:
        launch.require_ready(campaigns.get(summer.id), at=now())

    assert [one.field for one in refused.value.values.errors] == ["config.segment_ids[1]"]


def test_launch_names_a_segment_that_was_archived_meanwhile(campaign, manager, query):
    with manager.acting():
        made = segments.create(name="Spain", definition=convert(SPAIN, Condition))
    summer = campaign(launched=False, segment_ids=[made.id])
    query("update campaigns set archived_at = now()")
    with manager.acting():
        segments.archive(segments.get_for_update(made.id))
    query("update campaigns set archived_at = null")

    with manager.acting(), pytest.raises(launch.NotReady) as refused:
        launch.require_ready(campaigns.get(summer.id), at=now())

    assert [one.field for one in refused.value.values.errors] == ["config.segment_ids[0]"]


def test_archived_segment_is_no_segment_of_a_campaign(campaign, manager):
    with manager.acting():
        made = segments.create(name="Spain", definition=convert(SPAIN, Condition))
        segments.archive(segments.get_for_update(made.id))

    with pytest.raises(Invalid) as refused:
        campaign(launched=False, segment_ids=[made.id])

    assert [one.field for one in refused.value.values.errors] == ["config.segment_ids[0]"]
