"""Readers of scans: each leaves out the scans of a test mode, or is named here with its reason."""

import re
from datetime import UTC, date, timedelta
from uuid import UUID

import pytest

from models.audiences import contacts
from models.audiences.contacts import Contact
from models.core import context
from models.core.database import transaction, value
from models.core.errors import NotFound
from models.insights import overview
from models.insights.overview import Window
from models.scans import scoring, standings
from models.scans.fraud import BURST_DEVICES
from scripts.commands.demo import report
from scripts.devstack.environment import ROOT
from settings import settings
from tests.fixtures.campaigns import NOON
from tests.fixtures.scans import StoredScan

HOUR = timedelta(hours=1)

FUNCTIONS = {
    "app.find_earlier_scan": "a repeated request has its first answer, also from a test",
    "app.decide_scans": "returns the scan that app.find_earlier_scan has found",
    "app.insert_scans": "writes them",
    "app.count_test_scans": "shows members that tests have arrived",
    "app.delete_anonymous_people": "a person with a test scan is kept like all people with scans",
}
"""Functions that read or write all scans, tests included."""

FILES = {
    "models/scans/tables.py": "describes the table; no query uses it",
    "models/scans/personal_data.py": "a person's own data has the tests, too",
    "models/scans/__init__.py": "names the table",
    "scripts/commands/bench/scan.py": "reads scans of its own campaigns, which are in no test mode",
}
"""Python modules that name the table of all scans."""

TABLE = re.compile(r"\bqr_scans\b|\bQrScan\b")


def test_only_named_functions_and_views_read_all_scans(query):
    functions = query(
        "select p.oid::regproc::text, pg_get_functiondef(p.oid) from pg_proc p"
        " where p.pronamespace::regnamespace::text in ('app', 'public') and p.prokind in ('f', 'p')"
    )
    views = query("select oid::regclass::text, pg_get_viewdef(oid) from pg_class where relkind in ('v', 'm')")

    assert {name for name, text in functions if TABLE.search(text)} == set(FUNCTIONS)
    assert {name for name, text in views if TABLE.search(text)} == {"app.real_scans"}


def test_only_named_modules_name_the_table_of_all_scans():
    found = {
        str(path.relative_to(ROOT))
        for layer in ("models", "jobs", "web", "schedules", "scripts")
        for path in (ROOT / layer).rglob("*.py")
        if TABLE.search(path.read_text())
    }

    assert found == set(FILES), "read app.real_scans, which leaves out tests"


def refresh(campaign):
    with transaction(context.for_brand_job(campaign.brand_id)):
        overview.refresh(campaign.id, None)


def test_overview_reach_and_pending_leave_out_tests(campaign, put_scan, fan, manager):
    summer, user = campaign(), fan().user_id
    put_scan(summer, user)
    for columns in (
        {},
        {"decision": "rejected", "reason": "geofence_outside"},
        {"rules": ("device.shared",), "band": "review"},
        {"band": None, "scored_at": None},
    ):
        put_scan(summer, fan().user_id, is_test=True, **columns)
    refresh(summer)

    with manager.acting():
        found = overview.overview(summer.id, Window(NOON, NOON + HOUR))

    assert (found.totals.accepted, found.totals.rejected, found.totals.flagged) == (1, 0, 0)
    assert (found.totals.reach, found.pending, found.settled) == (1, 0, True)


def test_contact_is_made_of_scans_that_count(campaign, put_scan, fan, manager):
    summer, tester, both = campaign(), fan().user_id, fan().user_id
    put_scan(summer, tester, is_test=True)
    put_scan(summer, both, is_test=True, scan_time=NOON - HOUR)
    put_scan(summer, both)

    with transaction(context.for_brand_job(summer.brand_id)):
        contacts.upsert(tester)
        contacts.upsert(both)

    with manager.acting():
        (contact,) = Contact.select()
    assert (contact.user_id, contact.first_seen_at) == (both, NOON)


def test_test_scan_earns_no_reward(campaign, put_scan, fan):
    drop = campaign(kind="Locker", rewards=[{"key": "churros", "name": "Six churros", "quantity": 9}])
    test, real = put_scan(drop, fan().user_id, is_test=True), put_scan(drop, fan().user_id)

    with transaction(context.for_brand_job(drop.brand_id)):
        assert standings.find(test) is None
        assert standings.find(real).earned == "reward"


def test_test_scan_is_never_scored(scan_store):
    test = scan_store.put(StoredScan(1, is_test=True))

    with transaction(context.for_brand_job(scan_store.campaign.brand_id)):
        assert scoring.load_with_history([test]) == []
        assert scoring.begin_rescoring("person", scan_store.people[0], date(2026, 11, 22)) == []
        with pytest.raises(NotFound):
            scoring.begin_scoring(test)


def facts(store, id):
    """Return the evidence about a scan, and the scans that it affects."""
    with transaction(context.for_brand_job(store.campaign.brand_id)):
        (found,) = scoring.load_with_history([UUID(int=id)])
        return found.case, scoring.find_affected(found)


def test_tests_are_no_evidence_about_other_scans(scan_store):
    own, late = {"device": 1, "place": "Madrid", "new_device": True}, {"delay": 60}
    scan_store.put(StoredScan(100, **own, **late))
    alone = facts(scan_store, 100)
    away = own | late | {"place": "Tokyo"}
    tests = [StoredScan(n, at=n - 101, person=who, **away) for n, who in ((99, 1), (101, 0), (102, 2))]
    bursts = [StoredScan(n, at=-n / 100, device=n, new_device=True, **late) for n in range(1, BURST_DEVICES)]

    scan_store.put(*(StoredScan(**vars_of(scan) | {"is_test": True}) for scan in (*tests, *bursts)))
    assert facts(scan_store, 100) == alone

    scan_store.cursor.execute("update public.qr_scans set is_test = false")
    case, affected = facts(scan_store, 100)
    changed = {name for name in vars_of(case) if getattr(case, name) != getattr(alone[0], name)}
    assert changed == {"person", "device", "device_scans", "device_people", "late_batch", "new_devices"}
    assert affected != alone[1]


def vars_of(struct):
    return {name: getattr(struct, name) for name in struct.__dataclass_fields__}


def test_rescoring_finds_no_tests_around_a_day(scan_store):
    day = NOON.astimezone(UTC).date()
    scored = "update public.qr_scans set scored_at = now(), score = 0, band = 'accept', evidence = '[]'"
    scan_store.put(
        StoredScan(1, device=1, place="Madrid", at=-9999, is_test=True),
        StoredScan(2, device=1, place="Madrid", is_test=True),
        StoredScan(3, device=1, place="Madrid", at=9999, is_test=True),
        StoredScan(4, device=1, place="Madrid"),
    )
    scan_store.cursor.execute(scored)

    with transaction(context.for_brand_job(scan_store.campaign.brand_id)):
        of_device = scoring.begin_rescoring("device", UUID(int=1), day)
        of_person = scoring.begin_rescoring("person", scan_store.people[0], day)

    assert of_device == of_person == [UUID(int=4)]


def test_demonstration_times_no_tests(scan_store):
    scan_store.put(StoredScan(1, is_test=True))
    scan_store.cursor.execute("update public.qr_scans set scored_at = now()")

    assert report.scoring(settings.database_direct_url, str(scan_store.campaign.brand_id)) == "none scored"


def test_fan_may_read_the_own_test_scans(scan_store):
    scan_store.put(StoredScan(1, is_test=True))
    person = scan_store.people[0]

    with transaction(context.for_fan_job(person)):
        assert value("SELECT count(*) FROM public.qr_scans WHERE is_test") == 1
