"""The audience of a campaign: the contacts of its segments at the launch."""

from msgspec import convert

from models.audiences import segments
from models.audiences.dsl import Condition
from models.campaigns import launch
from models.core import context
from models.core.database import transaction
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
