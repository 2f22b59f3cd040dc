"""Reasons for which a scan doesn't count: every condition of `app.scan_reason`, at its exact bound, and their order."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg2.extras import Json

MINUTE, DAY = 60.0, 86_400.0
MICROSECOND = 1e-6
"""In seconds: the resolution of PostgreSQL's timestamps."""

COUNTS: dict[str, Any] = {
    "at": 0.0,
    "status": "Active",
    "launched": -DAY,
    "starts": None,
    "code_created": -DAY,
    "ends": None,
    "completed": None,
    "max_lateness_s": 3600,
    "account": False,
    "consents": False,
    "geofence_status": "inside",
    "when_uncertain": "reject",
    "captured": 0.0,
    "max_location_age_s": 120,
    "accuracy_m": 10.0,
    "max_accuracy_m": 50,
    "archived": False,
    "scan_windows": [],
    "timezone": "UTC",
}
"""A scan that counts. Times are in seconds from now, which is one instant for the whole statement."""

REASON = """
    with at as (
        select now() + make_interval(secs => %(at)s) as scanned,
            now() + make_interval(secs => %(launched)s) as launched,
            now() + make_interval(secs => %(starts)s) as starts, now() + make_interval(secs => %(ends)s) as ends,
            now() + make_interval(secs => %(code_created)s) as code_created,
            now() + make_interval(secs => %(completed)s) as completed,
            now() + make_interval(secs => %(captured)s) as captured
    )
    select app.scan_reason(
        jsonb_populate_record(null::app.scan_request, jsonb_build_object('brand_id', %(brand_id)s::uuid,
            'scanned_at', at.scanned, 'captured_at', at.captured, 'accuracy_m', %(accuracy_m)s::float8)),
        jsonb_populate_record(null::app.scan_rules, %(rules)s
            || jsonb_build_object('starts_at', at.starts, 'ends_at', at.ends)),
        %(status)s, (at.launched, at.code_created, at.completed)::app.scan_period,
        (%(account)s, %(consents)s)::app.missing_requirements, %(geofence_status)s)
    from at
"""
RULES = ("max_lateness_s", "max_location_age_s", "max_accuracy_m", "scan_windows", "timezone")
IN_THREE_DAYS = f"{datetime.now(UTC) + timedelta(days=3):%a}".lower()
CLOSED = [{"days": [IN_THREE_DAYS], "opens": "00:00", "closes": "00:00"}]

ReasonOf = Callable[..., str | None]


@pytest.fixture
def reason_of(superuser, make_brand) -> ReasonOf:
    """`reason_of(**changes)`: the reason for which a scan that differs from `COUNTS` doesn't count."""
    brand, other = make_brand("Scanned"), make_brand("Other")
    with superuser.cursor() as cursor:
        cursor.execute("update public.brands set archived_at = now() where id = %s", (other["id"],))

    def ask(**changes: Any) -> str | None:
        scan = COUNTS | changes
        rules = {name: scan[name] for name in RULES} | {"geofence": {"when_uncertain": scan["when_uncertain"]}}
        with superuser.cursor() as cursor:
            cursor.execute(
                "update public.brands set archived_at = case when %s then now() end where id = %s",
                (scan["archived"], brand["id"]),
            )
            cursor.execute(REASON, scan | {"brand_id": brand["id"], "rules": Json(rules)})
            (reason,) = cursor.fetchone()
        return reason

    return ask


BOUNDS: dict[str, list[tuple[dict[str, Any], str | None]]] = {
    "status": [
        ({}, None),
        ({"status": "Draft"}, "campaign_not_active"),
        ({"status": "Paused"}, "campaign_not_active"),
        ({"status": "Completed"}, None),
        ({"status": "Completed", "archived": True}, "campaign_not_active"),
        ({"archived": True}, None),  # does not occur: archiving pauses active campaigns
    ],
    "end": [
        ({"ends": 0}, None),
        ({"ends": -MICROSECOND}, "campaign_ended"),
        ({"completed": 0}, None),
        ({"completed": -MICROSECOND}, "campaign_ended"),
        ({"ends": MINUTE, "completed": -MICROSECOND}, "campaign_ended"),
        ({"ends": -MICROSECOND, "completed": MINUTE}, "campaign_ended"),
    ],
    "begin": [
        *(({later: 5 * MINUTE}, None) for later in ("launched", "starts", "code_created")),
        *(
            ({later: 5 * MINUTE + MICROSECOND}, "campaign_not_active")
            for later in ("launched", "starts", "code_created")
        ),
    ],
    "future": [
        ({"at": 5 * MINUTE, "captured": 5 * MINUTE}, None),
        ({"at": 5 * MINUTE + MICROSECOND, "captured": 5 * MINUTE}, "scan_time_invalid"),
    ],
    "lateness": [
        ({"at": -3600 - 5 * MINUTE, "captured": -3600 - 5 * MINUTE}, None),
        ({"at": -3600 - 5 * MINUTE - MICROSECOND}, "scan_too_old"),
        ({"at": -5 * MINUTE, "captured": -5 * MINUTE, "max_lateness_s": 0}, None),
        ({"at": -5 * MINUTE - MICROSECOND, "max_lateness_s": 0}, "scan_too_old"),
    ],
    "requirements": [
        ({"account": True}, "account_required"),
        ({"account": None}, None),
        ({"consents": True}, "consent_required"),
        ({"geofence_status": "unknown"}, "location_required"),
    ],
    "position": [
        ({"captured": -120}, None),
        ({"captured": 120}, None),
        ({"captured": -120 - MICROSECOND}, "location_stale"),
        ({"captured": 120 + MICROSECOND}, "location_stale"),
        ({"accuracy_m": 50}, None),
        ({"accuracy_m": 50.001}, "location_inaccurate"),
        ({"geofence_status": "none", "captured": -DAY, "accuracy_m": 999}, None),
    ],
    "fence": [
        ({"geofence_status": "outside"}, "geofence_outside"),
        ({"geofence_status": "outside", "when_uncertain": "accept"}, "geofence_outside"),
        ({"geofence_status": "uncertain"}, "geofence_uncertain"),
        ({"geofence_status": "uncertain", "when_uncertain": "flag"}, None),
        ({"geofence_status": "uncertain", "when_uncertain": "accept"}, None),
    ],
}


@pytest.mark.parametrize("rule", BOUNDS)
def test_scan_at_bound_of_rule_counts_and_beyond_it_does_not(reason_of, rule):
    found = [(changes, reason_of(**changes)) for changes, _ in BOUNDS[rule]]

    assert found == BOUNDS[rule]


IN_ORDER: list[tuple[dict[str, Any], str]] = [
    ({"status": "Paused"}, "campaign_not_active"),
    ({"ends": -2 * DAY}, "campaign_ended"),
    ({"launched": 2 * DAY}, "campaign_not_active"),
    ({"scan_windows": CLOSED}, "scan_window_closed"),
    ({"at": -DAY}, "scan_too_old"),
    ({"account": True}, "account_required"),
    ({"consents": True}, "consent_required"),
    ({"geofence_status": "outside", "captured": DAY}, "location_stale"),
    ({"geofence_status": "outside", "accuracy_m": 999}, "location_inaccurate"),
    ({"geofence_status": "outside"}, "geofence_outside"),
]
"""Violations, each with its reason, in the order in which they are reported."""


def test_scan_that_violates_several_rules_has_the_first_reason(reason_of):
    found = [
        reason_of(**{name: value for changes, _ in reversed(IN_ORDER[first:]) for name, value in changes.items()})
        for first in range(len(IN_ORDER))
    ]

    assert found == [reason for _, reason in IN_ORDER]


@pytest.mark.parametrize(("seconds", "late"), [(120, False), (120 + MICROSECOND, True), (0, False), (-60, False)])
def test_scan_is_late_after_two_minutes(superuser, seconds, late):
    with superuser.cursor() as cursor:
        cursor.execute("select app.is_late(now() - make_interval(secs => %s))", (seconds,))

        assert cursor.fetchone() == (late,)


LOCATED = """
    with fence as (select 40.4 as lat, -3.7 as lon),
    scan as (select 40.401 as lat, -3.7 as lon, 20::float8 as accuracy_m),
    distance as (
        select extensions.st_distance(app.place(scan.lat, scan.lon), app.place(fence.lat, fence.lon)) as metres
        from scan, fence
    )
    select located.status, abs(located.distance_m - distance.metres) < 1e-9
    from distance, fence, scan, app.locate_scan(
        jsonb_populate_record(null::app.scan_request, to_jsonb(scan)),
        (fence.lat, fence.lon, {radius}, 'accept')::app.scan_fence, null, null) as located
"""


@pytest.mark.parametrize(
    ("radius", "status"),
    [
        ("metres + accuracy_m", "inside"),
        ("metres + accuracy_m - 0.001", "uncertain"),
        ("metres - accuracy_m", "uncertain"),
        ("metres - accuracy_m - 0.001", "outside"),
    ],
)
def test_geofence_status_changes_at_radius_with_accuracy(superuser, radius, status):
    with superuser.cursor() as cursor:
        cursor.execute(LOCATED.format(radius=radius))

        assert cursor.fetchone() == (status, True)


FRIDAY_EVENING = [{"days": ["fri"], "opens": "18:00", "closes": "02:00"}]
SUNDAY_NIGHT = [{"days": ["sun"], "opens": "00:00", "closes": "03:00"}]
HALF_PAST_TWO = [{"days": ["sun"], "opens": "02:30", "closes": "03:30"}]
UNTIL_HALF_PAST_TWO = [{"days": ["sat"], "opens": "22:00", "closes": "02:30"}]
ALL_DAY = [{"days": ["sat"], "opens": "06:00", "closes": "06:00"}]


OPENINGS = [
    (FRIDAY_EVENING, "2026-11-27T16:00:00+00:00", "2026-11-27T17:00:00+00:00"),
    (FRIDAY_EVENING, "2026-11-27T20:00:00+00:00", "2026-11-27T20:00:00+00:00"),  # open
    (FRIDAY_EVENING, "2026-11-28T01:00:00+00:00", "2026-12-04T17:00:00+00:00"),
    (FRIDAY_EVENING, "2026-12-05T01:00:00+00:00", None),  # the next one is at the end
    (FRIDAY_EVENING, "2026-12-11T18:00:00+00:00", None),  # after the end
    ([*FRIDAY_EVENING, *ALL_DAY], "2026-11-28T03:00:00+00:00", "2026-11-28T05:00:00+00:00"),
    (HALF_PAST_TWO, "2026-03-28T12:00:00+00:00", "2026-03-29T01:00:00+00:00"),
    (HALF_PAST_TWO, "2026-10-24T12:00:00+00:00", "2026-10-25T00:30:00+00:00"),
    (HALF_PAST_TWO, "2026-10-25T01:05:00+00:00", "2026-10-25T01:30:00+00:00"),
]
"""Windows of Madrid, an instant, and the first instant from it on at which they are open before 11 December, 18:00."""


def test_next_opening_is_the_first_instant_within_a_window(superuser):
    ask = "select app.next_opening(%s, %s, 'Europe/Madrid', '2026-12-11T18:00:00+01:00')"
    with superuser.cursor() as cursor:
        for windows, at, opens_at in OPENINGS:
            cursor.execute(ask, (at, Json(windows)))
            (found,) = cursor.fetchone()
            assert found == (opens_at and datetime.fromisoformat(opens_at)), (windows, at)


@pytest.mark.parametrize(
    ("windows", "at", "inside"),
    [
        (FRIDAY_EVENING, "2026-11-27T17:59:59.999999", False),
        (FRIDAY_EVENING, "2026-11-27T18:00:00", True),
        (FRIDAY_EVENING, "2026-11-28T01:59:59.999999", True),
        (FRIDAY_EVENING, "2026-11-28T02:00:00", False),
        (FRIDAY_EVENING, "2026-11-28T18:00:00", False),  # a Saturday
        (FRIDAY_EVENING, "2026-11-27T01:00:00", False),  # a Friday, before its window
        (ALL_DAY, "2026-11-29T05:59:59", True),
        (ALL_DAY, "2026-11-28T05:59:59", False),
        ([*FRIDAY_EVENING, *ALL_DAY], "2026-11-28T06:00:00", True),
        # Clocks of Madrid go from 02:00 to 03:00 on 29 March, and from 03:00 to 02:00 on 25 October.
        (SUNDAY_NIGHT, "2026-03-29T00:59:59+00:00", True),
        (SUNDAY_NIGHT, "2026-03-29T01:00:00+00:00", False),
        (SUNDAY_NIGHT, "2026-10-25T01:59:59+00:00", True),
        (SUNDAY_NIGHT, "2026-10-25T02:00:00+00:00", False),
        # 02:30 does not occur on 29 March, and occurs twice on 25 October.
        (HALF_PAST_TWO, "2026-03-29T00:59:59+00:00", False),
        (HALF_PAST_TWO, "2026-03-29T01:00:00+00:00", True),
        (HALF_PAST_TWO, "2026-03-29T01:30:00+00:00", False),
        (HALF_PAST_TWO, "2026-10-25T00:29:59+00:00", False),
        (HALF_PAST_TWO, "2026-10-25T00:45:00+00:00", True),
        (HALF_PAST_TWO, "2026-10-25T01:45:00+00:00", True),
        (HALF_PAST_TWO, "2026-10-25T02:30:00+00:00", False),
        # It opened before the clocks went back, and closes at the second 02:30.
        (UNTIL_HALF_PAST_TWO, "2026-10-25T01:15:00+00:00", True),
        (UNTIL_HALF_PAST_TWO, "2026-10-25T00:45:00+00:00", True),
        (UNTIL_HALF_PAST_TWO, "2026-10-25T01:30:00+00:00", False),
    ],
)
def test_weekly_window_covers_local_hours_over_midnight_and_clock_changes(superuser, windows, at, inside):
    with superuser.cursor() as cursor:
        cursor.execute(
            "select app.is_in_windows(case when %(at)s ~ '\\+' then %(at)s::timestamptz"
            " else %(at)s::timestamp at time zone 'Europe/Madrid' end, %(windows)s, 'Europe/Madrid')",
            {"at": at, "windows": Json(windows)},
        )

        assert cursor.fetchone() == (inside,)
