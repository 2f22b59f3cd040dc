"""Saved segments: versions, dependencies, contradictions, and previews that tell about no single person."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import convert

from models.audiences import dsl, preview, segments
from models.audiences.dsl import Condition
from models.audiences.preview import PreviewReplaced
from models.audiences.segments import SegmentInUse, SegmentNameTaken
from models.core.database import close_thread_connections, execute
from models.core.errors import Invalid
from scripts.devstack.environment import ROOT
from tests.models.audiences import population
from tests.models.audiences.population import Person
from tests.support.brokers import until

SPAIN = {"profile": {"field": "country", "op": "eq", "value": "ES"}}
SCANNED = {"event": {"kind": "scan"}}
SLEEPERS = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"


def made(name, definition):
    return segments.create(name=name, definition=convert(definition, Condition))


def changed(segment_id, definition):
    found = segments.get_for_update(segment_id)
    return segments.replace(found, name=found.name, description=None, definition=convert(definition, Condition))


def paths(refused):
    return [error.field for error in refused.value.values.errors]


def test_versions_of_a_segment_are_kept_and_compared(member):
    with member().acting():
        segment = made("A", {"all": [SPAIN, SCANNED]})
        same = changed(segment.id, {"all": [SPAIN, SCANNED]})
        newer = changed(segment.id, {"all": [SPAIN, {"not": SCANNED}, {"consent": {"tier": "marketing"}}]})
        old, new = (dsl.load(segments.get_version(segment.id, number).definition) for number in (1, 2))

    assert (segment.version, same.version, newer.version) == (1, 1, 2)
    assert [(one.path, one.before) for one in segments.diff(old, new)] == [
        ("definition.all[1]", dsl.dump(convert(SCANNED, Condition))),
        ("definition.all[2]", None),
    ]


def test_segment_that_leads_back_to_itself_is_refused_with_path(member):
    with member().acting():
        inner = made("Inner", SPAIN)
        outer = made("Outer", {"not": {"segment": {"segment_id": str(inner.id)}}})

        with pytest.raises(Invalid) as itself:
            changed(inner.id, {"any": [SPAIN, {"segment": {"segment_id": str(inner.id)}}]})
        with pytest.raises(Invalid) as through_another:
            changed(inner.id, {"any": [SPAIN, {"segment": {"segment_id": str(outer.id)}}]})

    assert paths(itself) == paths(through_another) == ["definition.any[1].segment.segment_id"]


def test_segment_in_use_is_not_archived_and_its_name_is_taken(member):
    with member().acting():
        inner = made("Inner", SPAIN)
        outer = made("Outer", {"segment": {"segment_id": str(inner.id)}})

        with pytest.raises(SegmentNameTaken):
            made("Inner", SCANNED)
        with pytest.raises(SegmentInUse) as refused:
            segments.archive(segments.get_for_update(inner.id))
        segments.archive(segments.get_for_update(outer.id))
        archived = segments.archive(segments.get_for_update(inner.id))

    assert refused.value.values.segment_ids == [outer.id]
    assert archived.archived_at is not None


@pytest.mark.parametrize(
    ("conditions", "operator"),
    [
        ([SPAIN, {"profile": {"field": "country", "op": "eq", "value": "PT"}}], "all"),
        ([SPAIN, {"profile": {"field": "country", "op": "is_not_set"}}], "all"),
        ([SPAIN, {"not": SPAIN}], "all"),
        ([SPAIN, {"not": SPAIN}], "any"),
        (
            [
                {"profile": {"field": "birth_date", "op": "gt", "value": "2000-01-01"}},
                {"profile": {"field": "birth_date", "op": "lte", "value": "2000-01-01"}},
            ],
            "all",
        ),
        ([SCANNED, {"event": {"kind": "scan", "count": {"op": "eq", "n": 0}}}], "all"),
        ([{"consent": {"tier": "marketing"}}, {"consent": {"tier": "marketing", "state": "never"}}], "all"),
    ],
)
def test_contradiction_is_refused_with_path_of_second_condition(member, conditions, operator):
    with member().acting(), pytest.raises(Invalid) as refused:
        made("A", {operator: conditions})

    assert paths(refused) == [f"definition.{operator}[1]"]


def test_definition_too_deep_or_too_large_is_refused(member):
    deep = SPAIN
    for _ in range(2_000):
        deep = {"not": deep}
    with member().acting():
        for definition in ({"not": {"not": {"not": {"not": {"not": {"not": SPAIN}}}}}}, {}, {**SPAIN, **SCANNED}):
            with pytest.raises(Invalid):
                made("A", definition)
        with pytest.raises(Invalid) as large:
            made("A", {"any": [{"any": [SCANNED] * 30}, {"all": [SPAIN] * 30}]})

    assert paths(large) == ["definition"]


@pytest.fixture
def audience(brand, superuser):
    """40 contacts: 20 in Spain, of whom 12 have scanned; 15 in Portugal; 5 in France."""
    people = [
        Person(
            UUID(int=7_000_000 + 977 * number),
            columns={"country": "ES" if number < 20 else "PT" if number < 35 else "FR"},
        )
        for number in range(40)
    ]
    for person in people[:12]:
        person.activity = [("scan", population.CAMPAIGNS[0], population.TODAY, 1)]
    population.store(superuser, brand["id"], people)
    return people


def test_preview_counts_exactly_and_withholds_small_counts(member, audience):
    country = lambda code: {"profile": {"field": "country", "op": "eq", "value": code}}  # noqa: E731
    with member().acting():
        segment = made("Scanned in Spain", {"all": [SPAIN, SCANNED]})
        both = preview.of_segment(segment)
        france = preview.of_definition(convert(country("FR"), Condition))
        stored = segments.get(segment.id).preview

    assert (both.contacts, both.total, both.exact, both.half_width) == (40, 12, True, 0)
    # 20 contacts in Spain, less the 12 who have scanned: 8.
    assert both.leaves == [("definition.all[0].profile", None), ("definition.all[1].event", 12)]
    assert (both.reachable, both.blocked["never"]) == (0, 12)
    assert france.total is None
    assert stored["total"] == 12


def test_preview_that_differs_from_another_by_one_contact_is_withheld(member, audience, brand, superuser):
    with superuser.cursor() as cursor:
        cursor.execute("update contacts set city = 'Soria' where id = %s", (audience[3].id,))
    without_one = {"all": [SPAIN, {"profile": {"field": "city", "op": "neq", "value": "Soria"}}]}
    account = member()

    with account.acting():
        spain = preview.of_definition(convert(SPAIN, Condition))
    with account.acting():
        others = preview.of_definition(convert(without_one, Condition))
    with account.acting():
        again = preview.of_definition(convert(SPAIN, Condition))

    assert (spain.total, others.total, again.total) == (20, None, 20)


@pytest.fixture
def run_until_replaced(monkeypatch, superuser):
    """`run_until_replaced(account, ask, act)`: run a preview that takes long, act meanwhile, and return its error."""
    count = preview.count

    def sleeping(definition, brand_id, **given):
        if threading.current_thread() is not threading.main_thread():
            execute("SELECT pg_sleep(60)")
        return count(definition, brand_id, **given)

    monkeypatch.setattr(preview, "count", sleeping)

    def run(account, ask, act):
        def work():
            try:
                with account.acting():
                    ask()
            finally:
                close_thread_connections()

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(work)
            sleeps = (
                "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()"
            )
            with superuser.cursor() as cursor:
                until(lambda: cursor.execute(sleeps) or cursor.fetchone() == (1,))
            with account.acting():
                act()
            return running.exception()

    return run


def test_newer_preview_of_a_member_cancels_the_older_one(member, run_until_replaced):
    spain, scanned = convert(SPAIN, Condition), convert(SCANNED, Condition)

    replaced = run_until_replaced(
        member(), lambda: preview.of_definition(spain), lambda: preview.of_definition(scanned)
    )

    assert isinstance(replaced, PreviewReplaced)


def test_new_definition_cancels_the_preview_of_its_segment(member, run_until_replaced):
    account = member()
    with account.acting():
        segment = made("A", SPAIN)

    replaced = run_until_replaced(
        account, lambda: preview.of_segment(segments.get(segment.id)), lambda: changed(segment.id, SCANNED)
    )

    assert isinstance(replaced, PreviewReplaced)


def test_published_schema_is_the_grammar():
    published = Path(ROOT / "docs" / "audience-definition.schema.json")

    assert json.loads(published.read_text()) == dsl.schema()
