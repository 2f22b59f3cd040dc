"""Rules of scans that SQL and Python both name are the same on both sides, in the OpenAPI document and in the page."""

import re
from datetime import timedelta

import pytest
from msgspec.inspect import type_info

from models.campaigns.config import Config, Geofence, LimitWindow, ScanLimit, Share, WhenUncertain
from models.core.enumerations import values_of
from models.core.errors import TooMany
from models.scans.description import CodeStatus
from models.scans.fraud import Band
from models.scans.outcomes import REFUSALS
from models.scans.scoring import MAX_LATENESS
from scripts.devstack.environment import ROOT
from web.app import application
from web.openapi.document import document

REASONS = r"(?:then|else) '([a-z_]+)'|'refused', '([a-z_]+)'"
"""Reasons in the functions that set them. Both names of a window end (`day`, `hour`) are no reasons."""

DECIDING = ("scan_reason", "load_scan_facts", "decide_scans", "decide_single_scan")


@pytest.fixture
def source_of(superuser):
    """`source_of(function)`: the text of a function in the schema `app`."""

    def read(function: str) -> str:
        with superuser.cursor() as cursor:
            cursor.execute(
                "select prosrc from pg_proc where pronamespace = 'app'::regnamespace and proname = %s", (function,)
            )
            ((source,),) = cursor.fetchall()
        return source

    return read


@pytest.fixture
def allowed(superuser):
    """`allowed(constraint)`: the texts that a CHECK allows."""

    def read(constraint: str) -> set[str]:
        with superuser.cursor() as cursor:
            cursor.execute("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", (constraint,))
            ((definition,),) = cursor.fetchall()
        return set(re.findall(r"'(\w+)'", definition))

    return read


def test_reasons_of_sql_are_the_error_classes(source_of):
    found = {
        name for function in DECIDING for groups in re.findall(REASONS, source_of(function)) for name in groups if name
    }

    assert found - {"accepted", "rejected"} == set(REFUSALS)


def test_reasons_are_documented_with_their_status():
    operation = document(application)["paths"]["/api/v1/qr/scan"]["post"]
    documented = {(code, int(status)) for code, status in re.findall(r"`(\w+)` \((\d+)\)", operation["description"])}
    reasons = {(code, refusal.status) for code, refusal in REFUSALS.items()}

    assert documented == reasons | {(TooMany.code, TooMany.status)}
    assert {str(status) for _, status in documented} <= set(operation["responses"])


def test_bands_are_those_of_the_fraud_rules_and_all_but_reject_count(superuser, allowed):
    assert allowed("qr_scans_band_check") == {band.value for band in Band}
    with superuser.cursor() as cursor:
        for band in Band:
            cursor.execute("select app.is_counted_band(%s)", (band.value,))
            assert cursor.fetchone() == (band is not Band.REJECT,)


def test_windows_and_scopes_of_limits_are_those_of_the_configuration(superuser, allowed, source_of):
    windows = values_of(LimitWindow)
    with superuser.cursor() as cursor:
        for window in (*windows, "month"):
            cursor.execute("select app.limit_window(%s, now(), 'UTC') is not null", (window,))
            assert cursor.fetchone() == (window in windows,)
    scopes = {"per_user": "user", "per_device": "device", "total": "campaign"}
    assert set(scopes) == set(ScanLimit.__struct_fields__)
    assert allowed("limit_counters_scope_check") == set(scopes.values())
    assert set(re.findall(r"describe_limit\('(\w+)'", source_of("find_full_limit"))) == set(scopes.values())


def test_policies_of_a_fence_are_those_that_sql_and_scoring_compare(source_of):
    policies = set(values_of(WhenUncertain))

    assert set(re.findall(r"when_uncertain = '(\w+)'", source_of("scan_reason"))) <= policies
    assert policies == {"accept", "flag", "reject"}


def test_geofence_statuses_are_those_that_sql_sets(allowed, source_of):
    status = r"(?:then|else|:=) '(\w+)'"

    assert set(re.findall(status, source_of("locate_scan"))) == allowed("qr_scans_geofence_status_check")


def test_statuses_of_a_described_code_are_those_that_sql_returns(source_of):
    assert set(re.findall(r"(?:then|else) '(\w+)'", source_of("describe_code"))) == set(values_of(CodeStatus))


NOT_READ_BY_SQL = {"venue", "survey", "budget", "goals", "segment_ids", "polygon"}
"""Members of a configuration that decide no scan. SQL reads the polygon from the column `campaigns.area`."""


def test_rules_of_sql_are_fields_of_the_configuration(superuser):
    with superuser.cursor() as cursor:
        for name, struct in {
            "scan_rules": Config,
            "scan_limits": ScanLimit,
            "scan_limit": Share,
            "scan_fence": Geofence,
        }.items():
            cursor.execute(
                "select array_agg(attname::text) from pg_attribute"
                " where attrelid = ('app.' || %s)::regclass and attnum > 0",
                (name,),
            )
            ((columns,),) = cursor.fetchall()
            assert set(columns) == set(struct.__struct_fields__) - NOT_READ_BY_SQL, name


def test_no_stored_scan_is_later_than_scoring_expects(source_of):
    (minutes,) = re.findall(r"tolerance constant interval := '(\d+) minutes'", source_of("scan_reason"))
    most = timedelta(seconds=type_info(Config).fields[Config.__struct_fields__.index("max_lateness_s")].type.type.le)

    assert most + timedelta(minutes=int(minutes)) <= MAX_LATENESS


def test_page_treats_a_scan_as_late_when_the_database_does(superuser):
    script = (ROOT / "web" / "static" / "scan.js").read_text()
    (milliseconds,) = re.findall(r"const LATE = ([\d_]+);", script)
    seconds = int(milliseconds) / 1000

    with superuser.cursor() as cursor:
        cursor.execute(
            "select app.is_late(now() - make_interval(secs => at)) from unnest(%s::float8[]) at",
            ([seconds, seconds + 0.001],),
        )
        assert cursor.fetchall() == [(False,), (True,)]
