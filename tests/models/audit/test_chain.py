"""Tests of the audit chain: without the key, no change of sealed entries goes unnoticed."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.audit import chain, trail
from models.audit.chain import Head, canonical, link, sealed_entries, verify
from models.core import context
from models.core.database import execute, new_id, transaction, value
from tests.fixtures.audit import writer

AT = datetime(2026, 11, 22, 12, 0, 0, 5, tzinfo=UTC)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
numbers = st.integers() | st.decimals(allow_nan=False, allow_infinity=False, places=4)
documents = st.recursive(
    st.none() | st.booleans() | texts | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
entries = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.uuids(),
            "action": texts,
            "user_id": st.none() | st.uuids(),
            "timestamp": st.datetimes(timezones=st.just(UTC)),
            "details": st.dictionaries(texts, documents, max_size=3),
            "reason": st.none() | texts,
        }
    ),
    min_size=1,
    max_size=5,
)


def chain_of(found):
    return link(found, Head(), AT)


@given(entries)
def test_sealed_chain_verifies(found):
    chain = chain_of(found)

    assert [entry["seq"] for entry in chain] == list(range(1, len(found) + 1))
    assert verify(chain) is None
    assert verify(chain[1:], after=Head(1, chain[0]["mac"])) is None


@settings(max_examples=40)
@given(entries, st.data())
def test_changed_column_breaks_the_chain_at_its_entry(found, data):
    chain = chain_of(found)
    broken = data.draw(st.integers(0, len(chain) - 1))
    column = data.draw(st.sampled_from(sorted(chain[broken])))
    tampered = [dict(entry) for entry in chain]
    tampered[broken][column] = {
        "seq": chain[broken]["seq"] + 7,
        "key_version": 77,
        "mac": bytes(32),
        "sealed_at": AT + timedelta(microseconds=1),
        "timestamp": chain[broken]["timestamp"].replace(microsecond=999_999)
        if chain[broken]["timestamp"].microsecond != 999_999
        else AT,
    }.get(column, "something else entirely")

    assert verify(tampered) == broken + 1


@settings(max_examples=40)
@given(entries.filter(lambda found: len(found) > 1), st.data())
def test_removed_entry_breaks_the_chain(found, data):
    chain = chain_of(found)
    gone = data.draw(st.integers(0, len(chain) - 1))
    head = Head(len(chain), chain[-1]["mac"])

    assert verify(chain[:gone] + chain[gone + 1 :], head=head) == gone + 1


@settings(max_examples=40)
@given(entries.filter(lambda found: len(found) > 1), st.randoms(use_true_random=False))
def test_reordered_entries_break_the_chain(found, shuffler: random.Random):
    chain = chain_of(found)
    other = list(chain)
    shuffler.shuffle(other)
    if other == chain:
        other.reverse()

    first = next(n for n, (here, there) in enumerate(zip(chain, other, strict=True), 1) if here != there)
    assert verify(other) == first


@settings(max_examples=40)
@given(entries)
def test_entries_of_another_chain_break_the_chain(found):
    ours = chain_of([{"id": UUID(int=1), "details": {}}])
    theirs = link(found, Head(1, b"another chain's mac"), AT)

    assert verify([*ours, *theirs]) == 2


def test_chain_with_an_older_key_verifies(monkeypatch):
    monkeypatch.setattr("models.core.keys._roots", lambda: {1: b"1" * 32})
    first = chain_of([{"id": UUID(int=1)}])
    monkeypatch.setattr("models.core.keys._roots", lambda: {2: b"2" * 32, 1: b"1" * 32})
    second = link([{"id": UUID(int=2)}], Head(1, first[0]["mac"]), AT)

    assert (first[0]["key_version"], second[0]["key_version"]) == (1, 2)
    assert verify([*first, *second]) is None


@given(documents)
def test_canonical_form_does_not_depend_on_the_order_of_keys(document):
    text = canonical(document)

    assert json.loads(text, parse_float=Decimal, parse_int=Decimal) == document
    assert canonical(json.loads(text, parse_float=Decimal, parse_int=Decimal)) == text


def test_canonical_form_is_that_of_rfc_8785():
    # The strings and the order of keys are those of the RFC's examples in sections 3.2.2 and 3.2.3.
    names = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}

    assert canonical({"string": '\u20ac$\x0f\nA\'B"\\\\"/'}) == '{"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    assert [pair[1] for pair in json.loads(canonical(names), object_pairs_hook=list)] == [2, 4, 6, 7, 1, 5, 3]


def test_canonical_form_of_numbers_keeps_every_digit():
    assert canonical(Decimal("0.1000000000000000055511151231257827")) == "0.1000000000000000055511151231257827"
    assert canonical(Decimal("1E+30")) == "1" + "0" * 30
    with pytest.raises(TypeError):
        canonical({"lat": 40.4})


def test_canonical_form_of_a_time_does_not_depend_on_its_zone():
    elsewhere = AT.astimezone(timezone(timedelta(hours=-5)))

    assert canonical(elsewhere) == canonical(AT) == '"2026-11-22T12:00:00.000005+00:00"'


def record(brand_id, action="test.act", **details):
    with transaction(writer(brand_id)):
        trail.record(action, after=details)


def seal(brand_id, **options):
    with transaction(context.for_sealer()):
        return chain.seal(brand_id, **options)


def read_trail(brand_id):
    with transaction(context.for_system_job()):
        return sealed_entries(brand_id)


def head_of(brand_id):
    with transaction(context.for_sealer()):
        return chain.get_head_for_update(brand_id or chain.PLATFORM)


@pytest.mark.parametrize("tenant", [new_id(), None], ids=["a brand", "the platform"])
def test_recorded_entries_are_sealed_in_order_and_verify(db_clean, tenant):
    for number in range(5):
        record(tenant, number=number, share=0.1, text='ñ€\u2028"')

    assert seal(tenant, limit=3) == 3
    assert seal(tenant, limit=3) == 2
    assert seal(tenant) == 0

    entries = read_trail(tenant)
    assert [entry["details"]["after"]["number"] for entry in entries] == list(range(5))
    assert verify(entries, head=head_of(tenant)) is None


@pytest.mark.parametrize("tenant", [new_id(), None], ids=["a brand", "the platform"])
def test_entries_with_random_ids_are_sealed_in_order_of_time(db_clean, superuser, tenant):
    ids = [UUID(int=number << 64, version=4) for number in (5, 2, 9, 1)]
    with superuser.cursor() as cursor:
        for minute, id in enumerate(ids):
            cursor.execute(
                "insert into public.audit_logs (id, action, brand_id, timestamp)"
                " values (%s, 'test.act', %s, now() - interval '1 hour' + make_interval(mins => %s))",
                (id, tenant, minute),
            )

    assert seal(tenant) == 4

    assert [entry["id"] for entry in read_trail(tenant)] == ids


def test_each_tenant_has_its_own_chain(db_clean):
    here, there = new_id(), new_id()
    for tenant in (here, there, here, None):
        record(tenant)

    for tenant in (here, there, None):
        seal(tenant)

    assert [len(read_trail(tenant)) for tenant in (here, there, None)] == [2, 1, 1]
    assert verify(read_trail(there), head=head_of(here)) == 2


def test_entry_that_commits_late_is_sealed_next(db_clean, monkeypatch):
    brand_id = new_id()
    with transaction(writer(brand_id)):
        with monkeypatch.context() as patched:
            patched.setattr(trail, "execute_deferred", execute)  # before the COMMIT
            trail.record("late.act")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(record, brand_id, "early.act").result()
            pool.submit(seal, brand_id).result()

    assert seal(brand_id) == 1

    entries = read_trail(brand_id)
    assert [entry["action"] for entry in entries] == ["early.act", "late.act"]
    assert entries[0]["timestamp"] > entries[1]["timestamp"]
    assert verify(entries, head=head_of(brand_id)) is None


def test_concurrent_sealers_make_one_chain_without_gaps(db_clean):
    brand_id = new_id()

    def record_and_seal(number):
        record(brand_id, number=number)
        return seal(brand_id)

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(record_and_seal, range(60)))
    counts.append(seal(brand_id))  # A sealer that finds the chain locked seals nothing.

    entries = read_trail(brand_id)
    assert sum(counts) == len(entries) == 60
    assert verify(entries, head=head_of(brand_id)) is None


def test_rolled_back_seal_leaves_no_gap(db_clean):
    brand_id = new_id()
    record(brand_id)

    def seal_and_break():
        with transaction(context.for_sealer()):
            chain.seal(brand_id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        seal_and_break()
    seal(brand_id)

    assert [entry["seq"] for entry in read_trail(brand_id)] == [1]
    assert verify(read_trail(brand_id), head=head_of(brand_id)) is None


TAMPERED = {
    "id": "gen_random_uuid()",
    "user_id": "gen_random_uuid()",
    "action": "'other'",
    "table_name": "'other'",
    "record_id": "gen_random_uuid()",
    "record_key": "'other'",
    "timestamp": "timestamp + interval '1 microsecond'",
    "details": """details || '{"after": {"share": 0.10000000000000000001}}'""",
    "actor_role": "'other'",
    "session_id": "gen_random_uuid()",
    "job_id": "gen_random_uuid()",
    "outcome": "'failed'",
    "reason": "'other'",
    "request_id": "'other'",
    "personal_hashes": '\'{"address": "other"}\'',
    "key_version": "key_version + 1",
    "mac": "'\\x00'",
    "sealed_at": "sealed_at + interval '1 microsecond'",
}


def test_mac_covers_every_column(query):
    columns = "select attname from pg_attribute where attrelid = 'public.audit_logs'::regclass and attnum > 0"

    # seq and brand_id decide which entries are read, and in which order.
    assert {*TAMPERED, "seq", "brand_id"} == {name for (name,) in query(columns)}


@pytest.mark.parametrize("column", TAMPERED)
def test_column_changed_in_the_database_breaks_the_chain(db_clean, superuser, column):
    brand_id = new_id()
    for _ in range(3):
        record(brand_id, share=0.1)
    seal(brand_id)

    with superuser.cursor() as cursor:
        cursor.execute("alter table public.audit_logs disable trigger append_only_update")
        cursor.execute(
            f"update public.audit_logs set {column} = {TAMPERED[column]} where brand_id = %s and seq = 2", (brand_id,)
        )
        cursor.execute("alter table public.audit_logs enable always trigger append_only_update")

    assert verify(read_trail(brand_id), head=head_of(brand_id)) == 2


def test_tenant_with_overdue_entries_is_reported(db_clean):
    brand_id = new_id()
    record(brand_id)
    record(None)
    seal(None)

    with transaction(context.for_system_job()):
        ((waiting, seconds),) = chain.overdue_tenants(0)
        assert (waiting, seconds > 0) == (brand_id, True)
        assert chain.overdue_tenants(60) == []
        assert value("SELECT count(*) FROM public.audit_logs WHERE seq IS NULL") == 1
