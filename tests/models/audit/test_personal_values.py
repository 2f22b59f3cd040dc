"""Tests of personal values of audit entries: a value can be erased, and a changed value is reported."""

import json
from dataclasses import replace

import pytest

from models.audit import chain, trail
from models.audit.chain import changed_values, erased_values, verify
from models.core import context
from models.core.database import new_id, row, rows, transaction, value
from models.identity import accounts
from scripts.commands.audit import commands
from settings import settings
from tests.fixtures.audit import seal, writer

BRAND_ID = new_id()
REQUEST = context.RequestInfo("request-1", "", "", "192.0.2.7", "Phone/1")
EMAIL = accounts.protect("email", "ana@fans.example")
PATHS = ["address", "after.email", "reason", "user_agent"]


@pytest.fixture
def person(db_clean):
    """Record an act of a person on their own account with each kind of personal value. Return the person's id."""
    user_id = new_id()
    member = writer(BRAND_ID)
    context.set_request_info(REQUEST)
    with transaction(replace(member, claims={**member.claims, "sub": str(user_id)})):
        trail.record(
            "account.update",
            table="users",
            record_id=user_id,
            before={"email": None, "locale": "en"},
            after={"email": EMAIL, "locale": "es"},
            reason="moved to Madrid",
        )
    context.set_request_info(context.RequestInfo())
    return user_id


def read_trail():
    with transaction(context.for_system_job()):
        return chain.sealed_entries(BRAND_ID, personal=True)


def read(user_id):
    with transaction(context.for_system_job()):
        (found,) = trail.find(trail.Filter(user_id=user_id), 5)
        return found


def erase(superuser, user_id, *record_ids):
    with superuser.cursor() as cursor:
        cursor.execute("select app.erase_audit_values(%s, %s::uuid[])", (user_id, list(record_ids)))
        return cursor.fetchone()[0]


def test_entry_keeps_hashes_and_readers_see_the_values(person):
    found = read(person)

    assert (found.address, found.user_agent, found.reason) == ("192.0.2.7", "Phone/1", "moved to Madrid")
    assert found.details == {"before": {"email": None, "locale": "en"}, "after": {"email": EMAIL, "locale": "es"}}
    assert found.erased == ()
    with transaction(context.for_system_job()):
        stored = row("SELECT to_jsonb(l)::text AS entry, personal_hashes FROM public.audit_logs l")
    assert sorted(stored["personal_hashes"]) == PATHS
    assert not any(text in stored["entry"] for text in ("192.0.2.7", "Phone/1", EMAIL, "Madrid"))


def test_personal_members_of_details_are_hashed_and_others_stay(db_clean):
    name = accounts.protect("name", "Ana")
    details = {
        "before": {"phone": "+34600000000", "address": 7, "title": "hmac"},
        "after": {"name": name, "email": "plain@fans.example", "note": "x"},
        "filter": {"email": "kept@fans.example", "address": name},
    }
    with transaction(writer(BRAND_ID)):
        value(
            "SELECT app.record_audit(%s, 'x.y', null, null, null, %s, 'ok', null, null, '', '', '')",
            (new_id(), json.dumps(details)),
        )

    with transaction(context.for_system_job()):
        stored = row("SELECT details, personal_hashes FROM public.audit_logs")
    assert sorted(stored["personal_hashes"]) == ["after.email", "after.name", "before.phone"]
    assert stored["details"] == {
        "before": {"phone": None, "address": 7, "title": "hmac"},
        "after": {"name": None, "email": None, "note": "x"},
        "filter": {"email": "kept@fans.example", "address": name},
    }


def test_plain_email_without_any_hash_is_hashed(db_clean):
    with transaction(writer(BRAND_ID)):
        trail.record("x.y", after={"email": "plain@fans.example"})

    with transaction(context.for_system_job()):
        assert value("SELECT personal_hashes ? 'after.email' FROM public.audit_logs")


def test_code_of_a_refusal_is_no_personal_value(db_clean):
    with transaction(writer(BRAND_ID)):
        trail.record("x.y", outcome="refused", reason="forbidden")

    with transaction(context.for_system_job()):
        stored = row("SELECT reason, personal_hashes FROM public.audit_logs")
        assert value("SELECT count(*) FROM app.audit_personal_values") == 0
    assert stored == {"reason": "forbidden", "personal_hashes": {}}


def test_equal_values_have_different_hashes(db_clean):
    context.set_request_info(REQUEST)
    for _ in range(2):
        with transaction(writer(BRAND_ID)):
            trail.record("test.act")
    context.set_request_info(context.RequestInfo())

    with transaction(context.for_system_job()):
        assert value("SELECT count(DISTINCT personal_hashes ->> 'address') FROM public.audit_logs") == 2


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "unsealed"])
def test_chain_with_erased_values_verifies_as_erased(person, superuser, is_sealed):
    if is_sealed:
        seal(BRAND_ID)

    assert erase(superuser, person) == 1

    seal(BRAND_ID)
    (entry,) = read_trail()
    assert verify([entry]) is None
    assert (changed_values(entry), erased_values(entry)) == ([], PATHS)
    found = read(person)
    assert (found.address, found.user_agent, found.reason) == (None, None, None)
    assert found.details["after"] == {"email": None, "locale": "es"}
    assert list(found.erased) == PATHS
    assert erase(superuser, person) == 0


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "unsealed"])
def test_erasure_of_a_person_keeps_values_of_others(db_clean, superuser, is_sealed):
    admin, fan, invitation = new_id(), new_id(), new_id()
    member = writer(BRAND_ID)
    context.set_request_info(REQUEST)
    with transaction(replace(member, claims={**member.claims, "sub": str(admin)})):
        trail.record("user.suspend", table="users", record_id=fan, reason="called in")
        trail.record("invitation.create", table="invitations", record_id=invitation, after={"email": EMAIL})
        trail.record("invitation.create", table="invitations", record_id=new_id(), after={"email": EMAIL})
    context.set_request_info(context.RequestInfo())

    if is_sealed:
        seal(BRAND_ID)

    assert erase(superuser, fan, invitation) == 2
    assert erase(superuser, new_id()) == 0

    with transaction(context.for_system_job()):
        left = rows(
            "SELECT action, contents FROM app.audit_personal_values JOIN public.audit_logs USING (id) ORDER BY 1"
        )
    assert sorted((entry["action"], sorted(entry["contents"])) for entry in left) == [
        ("invitation.create", ["address", "after.email", "user_agent"]),
        ("invitation.create", ["address", "user_agent"]),
        ("user.suspend", ["address", "user_agent"]),
    ]


def test_erasure_of_an_actor_keeps_values_of_the_records(db_clean, superuser):
    person, fan = new_id(), new_id()
    member = writer(BRAND_ID)
    context.set_request_info(REQUEST)
    with transaction(replace(member, claims={**member.claims, "sub": str(person)})):
        trail.record("user.search", after={"email": EMAIL})
        trail.record("user.suspend", table="users", record_id=fan, after={"email": EMAIL})
    context.set_request_info(context.RequestInfo())
    seal(BRAND_ID)

    assert erase(superuser, person) == 2

    with transaction(context.for_system_job()):
        left = rows("SELECT action, contents FROM app.audit_personal_values JOIN public.audit_logs USING (id)")
    assert {entry["action"]: sorted(entry["contents"]) for entry in left} == {
        "user.search": [],
        "user.suspend": ["after.email"],
    }


CHANGES = {
    "a value": """jsonb_set(contents, '{address,value}', '"192.0.2.8"')""",
    "a salt": """jsonb_set(contents, '{address,salt}', '"0"')""",
    "another path": """contents || '{"phone": {"salt": "1", "value": "2"}}'""",
    "two exchanged": "contents || jsonb_build_object('address', contents -> 'user_agent')",
}


@pytest.mark.parametrize("how", CHANGES)
def test_changed_value_is_found_by_verification(person, superuser, monkeypatch, tmp_path, how):
    seal(BRAND_ID)
    with superuser.cursor() as cursor:
        cursor.execute(f"update app.audit_personal_values set contents = {CHANGES[how]}")

    (entry,) = read_trail()
    assert changed_values(entry) == ["phone" if how == "another path" else "address"]
    said = []
    monkeypatch.setattr(commands, "say", said.append)
    monkeypatch.setattr(commands, "settings", replace(settings, audit_checkpoint_url=f"file://{tmp_path}"))
    assert commands.main(["verify", "--json"]) == 1
    assert [fault["seq"] for fault in json.loads(said.pop())["faults"]] == [1]


def test_export_has_personal_values_and_counts_erased_ones(person, superuser, monkeypatch, tmp_path):
    monkeypatch.setattr(
        commands, "settings", replace(settings, audit_checkpoint_url=f"file://{tmp_path / 'checkpoints'}")
    )
    said = []
    monkeypatch.setattr(commands, "say", said.append)
    seal(BRAND_ID)
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"

    assert commands.main(["export", str(before)]) == 0
    erase(superuser, person)
    assert commands.main(["export", str(after)]) == 0

    assert "192.0.2.7" in before.read_text()
    assert "192.0.2.7" not in after.read_text()
    said.clear()
    assert [commands.main(["verify", "--json", str(path)]) for path in (before, after)] == [0, 0]
    assert [json.loads(text)["erased"] for text in said] == [0, len(PATHS)]
    before.write_text(before.read_text().replace("192.0.2.7", "192.0.2.8"))
    assert commands.main(["verify", str(before)]) == 1
