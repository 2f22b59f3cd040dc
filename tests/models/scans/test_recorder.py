"""Batches of scans: exact limits under concurrency, errors of single scans, and lost connections."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import pairwise

import psycopg2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.core import context, database
from models.core.database import transaction
from models.core.errors import Unavailable
from models.scans import limit_counters
from models.scans.outcomes import Accepted, Refused
from models.scans.recorder import MAX_BATCH, Recorder
from tests.fixtures.scans import scan_request


def verdicts(outcomes) -> list[str]:
    return ["accepted" if isinstance(outcome, Accepted) else outcome.reason for outcome in outcomes]


def limit_counts_by_subject(superuser) -> Counter[tuple[str, str]]:
    with superuser.cursor() as cursor:
        cursor.execute("select scope, subject::text, used from app.limit_counters")
        taken: Counter[tuple[str, str]] = Counter()
        for scope, subject, used in cursor.fetchall():
            taken[scope, subject] += used
        return taken


def test_outcomes_are_in_the_order_of_the_batch(campaign, code_of, fan, recorder):
    code = code_of(campaign())
    people = [fan("essential") if n % 3 else fan() for n in range(12)]

    outcomes = recorder.record([scan_request(person, code) for person in people])

    assert verdicts(outcomes) == ["accepted" if n % 3 else "consent_required" for n in range(12)]


def test_batch_with_the_same_scan_twice_stores_it_once(campaign, code_of, fan, recorder, stored):
    scan = scan_request(fan("essential"), code_of(campaign()))

    first, again, other = recorder.record([scan, scan, with_other_content(scan)])

    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.id == again.id
    assert other == Refused("client_scan_id_reused", {})
    (scan,) = stored("score, flagged")
    assert (scan["score"], scan["flagged"]) == (None, False)


@pytest.mark.parametrize(
    "change",
    [
        "accuracy_m = -1",
        "geofence_status = 'near'",
        "decision = 'maybe'",
        "score = 1.01",
        "score = -0.01",
        "band = 'unsure'",
        "reason = 'cap_exhausted'",
        "decision = 'rejected'",
    ],
)
def test_stored_scan_refuses_a_value_outside_its_range(campaign, code_of, fan, recorder, superuser, change):
    recorder.record([scan_request(fan("essential"), code_of(campaign()))])

    with superuser.cursor() as cursor, pytest.raises(psycopg2.errors.CheckViolation):
        cursor.execute(f"update public.qr_scans set {change}")


def with_other_content(scan):
    return type(scan)(**{name: getattr(scan, name) for name in scan.__struct_fields__} | {"request_digest": "ff" * 32})


def test_limits_are_exact_over_several_connections(campaign, code_of, fan, superuser, stored):
    limits = {"per_device": {"count": 10, "window": "day"}, "per_user": {"count": 3, "window": "hour"}}
    code = code_of(campaign(scan_limit=limits))
    people = [fan("essential") for _ in range(16)]
    at = database.now()  # all of them in one hour
    same_device = [scan_request(person, code, fingerprint="the one device", scanned_at=at) for person in people * 4]
    other_devices = [
        scan_request(person, code, fingerprint=f"device {n % 7}", scanned_at=at) for n, person in enumerate(people * 4)
    ]

    outcomes = at_once(same_device + other_devices, connections=8)

    taken = limit_counts_by_subject(superuser)
    device = next(scan["device_fp_id"] for scan in stored() if scan["id"] == accepted_on(outcomes, same_device)[0])
    assert len(accepted_on(outcomes, same_device)) == 10
    assert taken["device", str(device)] == 10
    assert all(used <= 3 for (scope, _), used in taken.items() if scope == "user")
    assert all(used <= 10 for (scope, _), used in taken.items() if scope == "device")
    assert sum(taken[key] for key in taken if key[0] == "user") == len(
        accepted_on(outcomes, same_device + other_devices)
    )
    assert {outcome.reason for outcome in outcomes.values() if isinstance(outcome, Refused)} == {"limit_reached"}


def accepted_on(outcomes, scans):
    found = [outcomes[scan.client_scan_id] for scan in scans]
    return [outcome.id for outcome in found if isinstance(outcome, Accepted)]


def at_once(scans, *, connections: int):
    """Record scans in batches of random size and order, from connections that start at the same time.

    Repeat scans that are refused as `busy`, as a phone does.
    """
    chance = random.Random(7)
    chance.shuffle(scans)
    lots = [scans[n::connections] for n in range(connections)]
    together = threading.Barrier(connections)

    def record(lot):
        recorder = Recorder()
        recorder.record([])
        together.wait()
        outcomes = {}
        while lot:
            size = chance.randint(1, 6)
            batch, lot = lot[:size], lot[size:]
            for scan, outcome in zip(batch, recorder.record(batch), strict=True):
                if outcome == Refused("busy", {}):
                    lot.append(scan)
                outcomes[scan.client_scan_id] = outcome
        recorder.close()
        return outcomes

    with ThreadPoolExecutor(connections) as pool:
        return {id: outcome for outcomes in pool.map(record, lots) for id, outcome in outcomes.items()}


def test_batches_with_keys_in_opposite_order_do_not_deadlock(campaign, code_of, fan, stored):
    code = code_of(campaign(scan_limit={"total": {"count": 100_000, "window": "lifetime"}}))
    people = [fan("essential") for _ in range(8)]
    forwards = [[scan_request(person, code) for person in people] for _ in range(10)]
    backwards = [[scan_request(person, code) for person in reversed(people)] for _ in range(10)]

    with ThreadPoolExecutor(2) as pool:
        outcomes = [one for lot in pool.map(record_all, [forwards, backwards]) for one in lot]

    assert verdicts(outcomes) == ["accepted"] * 160
    assert len(stored("id")) == 160


def record_all(batches):
    recorder = Recorder()
    outcomes = []
    for batch in batches:
        while Refused("busy", {}) in (decided := recorder.record(batch)):
            continue  # Decided scans are replays.
        outcomes += decided
    recorder.close()
    return outcomes


limit = st.none() | st.fixed_dictionaries(
    {"count": st.integers(1, 4), "window": st.sampled_from(["lifetime", "day", "hour"])}
)
limits = st.fixed_dictionaries({"per_user": limit, "per_device": limit, "total": limit})
drawn = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 22 * 60), st.booleans())
batches = st.lists(st.lists(drawn, min_size=1, max_size=8), min_size=1, max_size=6)


class Expectation:
    """Expected outcomes of scans decided one after the other. All are received in one hour."""

    def __init__(self, scan_limit):
        self.limits = scan_limit
        self.used: Counter[tuple[str, object]] = Counter()
        self.decided: dict[object, str] = {}

    def of(self, scan) -> str:
        if scan.client_scan_id in self.decided:
            return self.decided[scan.client_scan_id]
        keys = [
            (name, subject)
            for name, subject in (("per_user", scan.user_id), ("per_device", scan.fingerprint), ("total", None))
            if self.limits[name] is not None
        ]
        full = next((key for key in keys if self.used[key] >= self.limits[key[0]]["count"]), None)
        verdict = "accepted"
        if full is not None:
            verdict = "cap_exhausted" if self.limits[full[0]]["window"] == "lifetime" else "limit_reached"
        else:
            self.used.update(keys)
        self.decided[scan.client_scan_id] = verdict
        return verdict


@settings(max_examples=25)
@given(scan_limit=limits, batches=batches)
def test_limits_of_batches_equal_those_of_single_scans(campaign, code_of, fan, recorder, scan_limit, batches):
    code = code_of(campaign(scan_limit=scan_limit, timezone="Europe/Madrid", age=timedelta(days=2)))
    people = [fan("essential") for _ in range(3)]
    expectation, seen, begun = Expectation(scan_limit), [], database.now()

    for batch in batches:
        scans = []
        for person, device, minutes_ago, again in batch:
            at = begun - timedelta(minutes=minutes_ago)
            new = scan_request(people[person], code, fingerprint=f"device {device}", scanned_at=at)
            scans.append(seen[minutes_ago % len(seen)] if again and seen else new)
            seen.append(scans[-1])

        outcomes = recorder.record(scans)

        assert verdicts(outcomes) == [expectation.of(one) for one in scans]


DAY = "select app.limit_window('day', %s, %s), app.describe_limit('user', row (1, 'day')::app.scan_limit, %s, %s)"


def test_counters_of_past_windows_expire_and_others_stay(campaign, superuser):
    made = campaign()
    with superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.limit_counters (campaign_id, brand_id, scope, subject, bucket, used)"
            " select %s, %s, 'user', gen_random_uuid(), bucket, 1"
            " from (select 'YYYY-MM-DD' as day, 'YYYY-MM-DD\"T\"HH24:00Z' as hour) as formats, unnest(array['lifetime',"
            " to_char(now() - interval '4 days', day), to_char(now() - interval '4 days', hour),"
            " to_char(now() - interval '2 days', day), to_char(now(), hour)]) bucket",
            (made.id, made.brand_id),
        )

    with transaction(context.for_system_job()):
        expired = limit_counters.expire()

    assert expired == 2
    with superuser.cursor() as cursor:
        cursor.execute("select count(*), count(*) filter (where bucket = 'lifetime') from app.limit_counters")
        assert cursor.fetchone() == (3, 1)


@pytest.mark.parametrize(
    ("timezone", "moments", "until"),
    [
        ("Europe/Madrid", ["2026-10-25T00:30+02:00", "2026-10-25T23:30+01:00"], "2026-10-25T23:00:00+00:00"),
        ("Europe/Madrid", ["2027-03-28T00:30+01:00", "2027-03-28T23:30+02:00"], "2027-03-28T22:00:00+00:00"),
        # Midnight of the 24th is skipped: the day begins at one o'clock.
        ("Africa/Cairo", ["2026-04-23T00:00+02:00", "2026-04-23T23:59+02:00"], "2026-04-23T22:00:00+00:00"),
        ("Asia/Kolkata", ["2026-11-22T00:00+05:30", "2026-11-22T23:59+05:30"], "2026-11-22T18:30:00+00:00"),
    ],
    ids=["25 hours", "23 hours", "midnight skipped", "half-hour zone"],
)
def test_day_of_limit_ends_at_next_midnight_of_zone(superuser, timezone, moments, until):
    with superuser.cursor() as cursor:
        found = []
        for moment in moments:
            cursor.execute(DAY, (moment, timezone, moment, timezone))
            found.append(cursor.fetchone())

    assert len({window for window, _ in found}) == 1
    assert {datetime.fromisoformat(full["until"]) for _, full in found} == {datetime.fromisoformat(until)}


@pytest.mark.parametrize(("window", "windows"), [("hour", 2), ("day", 1), ("lifetime", 1)])
def test_hour_that_a_clock_repeats_in_autumn_is_two_windows(superuser, window, windows):
    at_half_past_two_in_madrid = ["2026-10-25 00:30Z", "2026-10-25 01:30Z"]

    with superuser.cursor() as cursor:
        cursor.execute(
            "select count(distinct app.limit_window(%s, at, 'Europe/Madrid')) from unnest(%s::timestamptz[]) at",
            (window, at_half_past_two_in_madrid),
        )
        assert cursor.fetchone() == (windows,)


@contextmanager
def held_by_another_session(superuser_dsn: str, key_sql: str) -> Iterator[None]:
    other = psycopg2.connect(superuser_dsn)
    try:
        with other.cursor() as cursor:
            cursor.execute(f"select pg_advisory_xact_lock({key_sql})")
        yield
    finally:
        other.rollback()
        other.close()


def test_key_held_by_another_session_fails_only_its_scans(campaign, code_of, fan, recorder, stored, superuser):
    made = campaign()
    blocked, free = fan("essential"), fan("essential")
    batch = [scan_request(blocked, code_of(made)), scan_request(free, code_of(made))]
    key = f"(app.scan_keys('{made.id}', '{blocked.user_id}', ''))[1]"

    with held_by_another_session(superuser.dsn, key):
        assert verdicts(recorder.record(batch)) == ["busy", "accepted"]

    assert verdicts(recorder.record(batch)) == ["accepted", "accepted"]
    assert len(stored()) == 2


def test_error_fails_only_the_scan_that_causes_it(campaign, code_of, fan, recorder, stored, superuser):
    broken, whole = campaign("Broken", scan_limit={"per_user": {"count": 1, "window": "day"}}), campaign("Whole")
    with superuser.cursor() as cursor:
        cursor.execute(
            "update public.campaigns set config = jsonb_set(config, '{timezone}', '\"Nowhere\"') where id = %s",
            (broken.id,),
        )
    person = fan("essential")

    outcomes = recorder.record([scan_request(person, code_of(made)) for made in (whole, broken, whole)])

    assert verdicts(outcomes) == ["accepted", "failed", "accepted"]
    assert {scan["campaign_id"] for scan in stored()} == {whole.id}


def test_limit_set_after_the_locking_is_not_exceeded(campaign, code_of, fan, superuser):
    made = campaign(scan_limit={"total": {"count": 1, "window": "lifetime"}})
    scan = scan_request(fan("essential"), code_of(made))
    row = {"code_id": str(scan.code_id), "campaign_id": str(made.id), "brand_id": str(made.brand_id)}
    row |= {"key_version": made.fingerprint_key_version, "user_id": str(scan.user_id)}
    row |= {"session_id": str(scan.session_id), "user_role": "Fan"}

    with superuser.cursor() as cursor:
        cursor.execute(
            "select reason from app.decide_scans(array[jsonb_populate_record(null::app.scan_request, %s)], '{}')",
            (psycopg2.extras.Json(row),),
        )
        (reason,) = cursor.fetchone()

    assert reason == "changed_meanwhile"


def test_login_of_recorder_may_call_nothing_else(recorder):
    for statement in ("SELECT * FROM public.qr_scans", "SELECT app.add_job(null, '', '[]')", "SET ROLE app_definer"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            recorder._fetch(statement, ())


class Breaking:
    """A connection that breaks after the commit of a batch and before its result arrives."""

    def __init__(self, real, error: type[Exception]) -> None:
        self._real, self._error = real, error

    @property
    def closed(self):
        return self._real.closed

    def cursor(self):
        return BreakingCursor(self._real, self._error)

    def close(self):
        self._real.close()


class BreakingCursor:
    """A cursor of a breaking connection."""

    def __init__(self, real, error: type[Exception]) -> None:
        self._real, self._error, self._cursor = real, error, real.cursor()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._cursor.close()

    def execute(self, sql, params):
        self._cursor.execute(sql, params)
        if "record_scans" in sql:
            self._real.close()
            raise self._error("server closed the connection unexpectedly")

    def fetchall(self):
        return self._cursor.fetchall()


@pytest.mark.parametrize("error", [psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError])
def test_batch_with_lost_result_is_not_counted_twice(campaign, code_of, fan, stored, superuser, error):
    code = code_of(campaign(scan_limit={"per_user": {"count": 1, "window": "lifetime"}}))
    person = fan("essential")
    connections = iter([Breaking(database.connect("scan"), error), database.connect("scan")])
    recorder = Recorder(lambda: next(connections))
    batch = [scan_request(person, code), scan_request(person, code)]

    outcomes = recorder.record(batch)

    assert verdicts(outcomes) == ["accepted", "cap_exhausted"]
    assert outcomes[0].replayed is False
    assert len(stored()) == 2
    assert list(limit_counts_by_subject(superuser).values()) == [1]


def test_unreachable_database_is_tried_with_backoff(monkeypatch):
    tried = []
    clock = [100.0]
    monkeypatch.setattr("models.scans.recorder.time.monotonic", lambda: clock[0])

    def connect():
        tried.append(clock[0])
        raise psycopg2.OperationalError("no server")

    recorder = Recorder(connect)
    for _ in range(200):
        with pytest.raises(Unavailable) as refused:
            recorder.record([])
        clock[0] += 0.05

    assert refused.value.headers["Retry-After"] == "1"
    assert 5 < len(tried) < 15
    assert all(later - earlier < 2.2 for earlier, later in pairwise(tried))


def test_statement_that_takes_too_long_is_not_repeated(recorder):
    recorder.record([])
    with recorder._connection.cursor() as cursor:
        cursor.execute("set statement_timeout = '20ms'")

    with pytest.raises(Unavailable, match="too long"):
        recorder._query("SELECT pg_sleep(%s)", (5,))

    assert recorder._connection.closed == 0


def test_wrong_statement_raises_its_error(recorder):
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation):
        recorder._query("SELECT %s::uuid", ("not one",))

    assert recorder._query("SELECT 1", ()) == [(1,)]


def test_batch_of_the_largest_size_is_accepted(campaign, code_of, fan, recorder):
    code = code_of(campaign())
    people = [fan("essential") for _ in range(4)]

    outcomes = recorder.record([scan_request(people[n % 4], code) for n in range(MAX_BATCH)])

    assert verdicts(outcomes) == ["accepted"] * MAX_BATCH


def test_locked_campaigns_are_those_with_a_total_limit(campaign, superuser):
    limited, other = campaign("Limited", scan_limit={"total": {"count": 1, "window": "day"}}), campaign("Other")
    requests = [
        {"campaign_id": str(made.id), "user_id": str(made.id), "fingerprint_hash": "ab"} for made in (limited, other)
    ]

    with superuser.cursor() as cursor:
        cursor.execute(
            "select k.limited = array[%s::uuid], k.busy = '{}' from app.lock_scan_keys("
            "array(select r from jsonb_populate_recordset(null::app.scan_request, %s) r)) k",
            (str(limited.id), psycopg2.extras.Json(requests)),
        )
        assert cursor.fetchone() == (True, True)
