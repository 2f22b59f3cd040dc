"""Tests of the endpoints of the audit trail: filters, pages, exports and permissions."""

import csv
import io
from datetime import timedelta

import pytest

from models.audit import chain, trail
from models.core import context
from models.core.database import new_id, now, transaction
from web.v1 import audit as resource
from web.v1.audit import _cell

LOGS = "/api/v1/audit-logs"


def record(account, action="thing.change", **details):
    with account.acting():
        trail.record(action, **details)


def search(client, account, **conditions):
    answer = client.get(LOGS, token=account.token, params=conditions)
    assert answer.status_code == 200, answer.text
    return answer.json["items"]


def actions(entries):
    return [entry["action"] for entry in entries]


@pytest.fixture
def anna(member):
    """Return a Brand Admin."""
    return member("Brand Admin")


def test_entry_has_actor_action_record_and_address(client, anna):
    thing = new_id()
    context.set_request_info(context.RequestInfo("request-1", "", "", "192.0.2.7", "Phone/1"))
    record(anna, table="things", record_id=thing, before={"name": "a"}, after={"name": "b"}, reason="because")
    context.set_request_info(context.RequestInfo())

    (entry,) = search(client, anna, record=str(thing))

    assert (entry["action"], entry["outcome"], entry["reason"]) == ("thing.change", "ok", "because")
    assert (entry["actor"]["user_id"], entry["actor"]["role"]) == (str(anna.user_id), "Brand Admin")
    assert entry["actor"]["session_id"] == str(anna.identity.session_id)
    assert entry["target"] == {"table": "things", "record_id": str(thing), "record_key": None}
    assert entry["details"] == {"before": {"name": "a"}, "after": {"name": "b"}}
    assert (entry["request_id"], entry["address"], entry["user_agent"]) == ("request-1", "192.0.2.7", "Phone/1")


def test_each_filter_finds_its_entries_only(client, anna, member):
    other = member("Campaign Manager")
    record(anna, "thing.change", table="things", record_key="k1")
    record(other, "other.change", table="others", outcome="failed")
    begun = now()

    def found(**conditions):
        return actions(entry for entry in search(client, anna, **conditions) if entry["action"] != "audit.read")

    assert found(action="thing.change") == found(action="thing.*") == found(table="things") == ["thing.change"]
    assert found(record="k1") == ["thing.change"]
    assert found(actor=str(other.user_id), action="other.*") == found(outcome="failed") == ["other.change"]
    assert found(to=(begun - timedelta(hours=1)).isoformat()) == []
    assert found(**{"from": begun.isoformat()}) == []
    assert found(action="thing.chang") == []


def test_pages_contain_all_entries_newest_first(client, anna):
    for number in range(5):
        record(anna, record_key=str(number))

    seen, cursor = [], None
    while True:
        conditions = {"action": "thing.*", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get(LOGS, token=anna.token, params=conditions).json
        seen += [entry["target"]["record_key"] for entry in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ["4", "3", "2", "1", "0"]


def test_new_and_newly_sealed_entries_move_no_page(client, anna):
    for number in range(6):
        record(anna, record_key=str(number))

    seen, cursor = [], None
    for _ in range(3):
        conditions = {"action": "thing.*", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = client.get(LOGS, token=anna.token, params=conditions).json
        seen += [entry["target"]["record_key"] for entry in page["items"]]
        cursor = page["next_cursor"]
        record(anna, record_key="later")
        with transaction(context.for_sealer()):
            chain.seal(anna.brand_id, limit=4)

    assert seen == ["5", "4", "3", "2", "1", "0"]
    assert cursor is None
    newest = search(client, anna, action="thing.*")
    assert [entry["target"]["record_key"] for entry in newest][:4] == ["later"] * 3 + ["5"]


def test_filter_by_record_finds_lists_that_showed_it(client, anna, member):
    seen = member("Creator")
    client.get(f"/api/v1/brands/{anna.brand_id}/members", token=anna.token)
    client.get(f"/api/v1/brands/{anna.brand_id}/members/{seen.user_id}", token=anna.token)
    client.get(f"/api/v1/brands/{anna.brand_id}/members", token=anna.token, params={"role": "Brand Admin"})

    found = search(client, anna, record=str(seen.user_id).upper())

    assert [entry["action"] for entry in found if entry["action"] != "session.start"][:2] == [
        "member.read",
        "member.list",
    ]
    listed = next(entry for entry in found if entry["action"] == "member.list")
    assert str(seen.user_id) in listed["details"]["shown"]
    assert listed["actor"]["user_id"] == str(anna.user_id)
    assert [entry["action"] for entry in found].count("member.list") == 1


def test_entry_of_a_page_has_the_shown_people_only(client, anna, member):
    member("Creator")
    page = client.get(f"/api/v1/brands/{anna.brand_id}/members", token=anna.token, params={"limit": 1}).json

    (entry,) = search(client, anna, action="member.list")

    assert entry["details"]["shown"] == [page["items"][0]["id"]]


def test_filter_by_field_finds_its_changes(client, anna, campaign):
    made = campaign(launched=False)
    path, version = f"/api/v1/campaigns/{made.id}", {}
    for name, cap in (("Summer", None), ("Winter", None), ("Winter", 500)):
        limit = {"total": cap and {"count": cap, "window": "day"}}
        body = {"name": name, "type": "QR", "config": {"scan_limit": limit}}
        version = {"If-Match": client.get(path, token=anna.token).headers["etag"]}
        changed = client.put(path, json=body, token=anna.token, headers=version)
        assert changed.status_code == 200, changed.text

    found = search(client, anna, table="campaigns", record=str(made.id), field="config.scan_limit.total")

    (entry,) = found
    assert (entry["action"], entry["actor"]["user_id"]) == ("campaign.update", str(anna.user_id))
    assert entry["details"] == {"before": dict.fromkeys(CAP), "after": CAP}
    assert search(client, anna, record=str(made.id), field="config.scan_limit.tot") == []


CAP = {"config.scan_limit.total.count": 500, "config.scan_limit.total.window": "day"}


def test_filter_by_session_or_address_finds_its_entries(client, anna, sign_in_again):
    other = sign_in_again(anna)
    context.set_request_info(context.RequestInfo("request-2", "", "", "192.0.2.9", ""))
    record(other, record_key="other", outcome="refused", reason="forbidden")
    context.set_request_info(context.RequestInfo())
    record(anna, record_key="this")

    def keys(**conditions):
        return [entry["target"]["record_key"] for entry in search(client, anna, action="thing.*", **conditions)]

    assert keys(session_id=str(other.identity.session_id)) == ["other"]
    assert keys(address="192.0.2.9") == keys(reason="forbidden") == ["other"]
    assert keys(request_id="request-2") == ["other"]


def test_cursor_of_other_filters_is_refused(client, anna):
    for _ in range(2):
        record(anna)
    cursor = client.get(LOGS, token=anna.token, params={"action": "thing.*", "limit": 1}).json["next_cursor"]

    assert client.get(LOGS, token=anna.token, params={"cursor": cursor}).status_code == 422


def test_brand_admin_reads_the_own_trail_and_system_admin_all(client, anna, member, make_brand, admin):
    other = make_brand("Other")
    bob = member("Brand Admin", other)
    record(anna, "of.acme")
    record(bob, "of.other")
    with transaction(context.for_system_job()):
        trail.record("of.platform")

    assert actions(search(client, anna, action="of.*")) == ["of.acme"]
    assert actions(search(client, anna, action="of.*", brand_id=str(other["id"]))) == []
    assert actions(search(client, admin, action="of.*")) == ["of.platform", "of.other", "of.acme"]
    assert actions(search(client, admin, action="of.*", brand_id=str(other["id"]))) == ["of.other"]


def test_entry_of_another_brand_is_not_found(client, anna, member, make_brand):
    bob = member("Brand Admin", make_brand("Other"))
    record(anna)
    (entry,) = search(client, anna, action="thing.*")

    assert client.get(f"{LOGS}/{entry['id']}", token=anna.token).json == entry
    assert client.get(f"{LOGS}/{entry['id']}", token=bob.token).status_code == 404


@pytest.mark.parametrize("role", ["Campaign Manager", "Creator"])
def test_refused_reader_of_the_trail_is_recorded(client, anna, member, role):
    refused = member(role)

    assert client.get(LOGS, token=refused.token).status_code == 403

    (entry,) = search(client, anna, outcome="refused")
    assert (entry["action"], entry["actor"]["user_id"], entry["reason"]) == (
        "audit.read",
        str(refused.user_id),
        "forbidden",
    )


def test_reader_of_the_trail_is_recorded_with_the_filters(client, anna):
    search(client, anna, action="thing.*", outcome="ok")

    (entry,) = search(client, anna, action="audit.read")
    assert entry["details"]["after"] == {"action": "thing.*", "outcome": "ok", "limit": 25}


def test_export_contains_all_pages(client, anna, monkeypatch):
    monkeypatch.setattr(resource, "EXPORT_PAGE", 2)
    for number in range(5):
        record(anna, record_key=str(number), after={"text": 'ñ€"\n,'})

    listed = client.get(f"{LOGS}/export.json", token=anna.token, params={"action": "thing.*"})
    exported = client.get(f"{LOGS}/export.csv", token=anna.token, params={"action": "thing.*"})

    assert [entry["target"]["record_key"] for entry in listed.json] == ["4", "3", "2", "1", "0"]
    lines = list(read_csv(exported))
    assert [line["record_key"] for line in lines] == ["4", "3", "2", "1", "0"]
    assert [line["id"] for line in lines] == [entry["id"] for entry in listed.json]
    assert exported.headers["content-type"].startswith("text/csv")
    assert 'filename="audit-logs.csv"' in exported.headers["content-disposition"]


def read_csv(answer):
    return csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))


def test_csv_export_begins_with_one_byte_order_mark(client, anna, monkeypatch):
    monkeypatch.setattr(resource, "EXPORT_PAGE", 1)
    for _ in range(2):
        record(anna, record_key="ñ")

    exported = client.get(f"{LOGS}/export.csv", token=anna.token, params={"action": "thing.*"})

    assert exported.content.startswith(b"\xef\xbb\xbfid,")
    assert exported.content.count(b"\xef\xbb\xbf") == 1


@pytest.mark.parametrize("form", ["csv", "json"])
def test_head_of_an_export_records_no_export(client, anna, form):
    answer = client.request("HEAD", f"{LOGS}/export.{form}", token=anna.token)

    assert (answer.status_code, answer.content) == (200, b"")
    assert search(client, anna, action="audit.export") == []


def test_export_without_entries_is_valid(client, anna):
    assert client.get(f"{LOGS}/export.json", token=anna.token, params={"action": "no.such"}).json == []
    assert client.get(f"{LOGS}/export.csv", token=anna.token, params={"action": "no.such"}).text.count("\n") == 1


def test_export_is_recorded_and_needs_recent_authentication(client, anna, superuser):
    assert client.get(f"{LOGS}/export.csv", token=anna.token).status_code == 200
    with superuser.cursor() as cursor:
        cursor.execute("update app.sessions set created_at = created_at - interval '1 hour'")
        cursor.execute("select column_name from information_schema.columns where table_name = 'sessions'")
        for (name,) in cursor.fetchall():
            if name == "authenticated_at":
                cursor.execute("update app.sessions set authenticated_at = authenticated_at - interval '1 hour'")

    refused = client.get(f"{LOGS}/export.csv", token=anna.token)

    assert (refused.status_code, refused.json["code"]) == (403, "recent_authentication_required")
    assert [(entry["outcome"], entry["reason"]) for entry in search(client, anna, action="audit.export")] == [
        ("refused", "recent_authentication_required"),
        ("ok", None),
    ]


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1", "＋1", "－1", "＠SUM(1)", "﹦1", " =1", "\u00a0=1"]
FORMULAS += ["\u200b=1", "\ufeff=1", "\u3000\u2060＝1", "\u3164@SUM(1)", "\ufe0f-1"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formula_in_a_cell_is_only_text(client, anna, text):
    record(anna, record_key=text, reason=text)

    exported = client.get(f"{LOGS}/export.csv", token=anna.token, params={"action": "thing.*"})

    (line,) = read_csv(exported)
    assert (line["record_key"], line["reason"]) == (f"'{text}", f"'{text}")
    assert _cell(-1) == "-1"


def test_export_ends_with_its_session(client, anna, monkeypatch, superuser):
    monkeypatch.setattr(resource, "EXPORT_PAGE", 1)
    for _ in range(3):
        record(anna)
    read = resource._read

    def end_then_read(*args):
        found = read(*args)
        with superuser.cursor() as cursor:
            cursor.execute("update app.sessions set revoked_at = now()")
        return found

    monkeypatch.setattr(resource, "_read", end_then_read)

    with pytest.raises(Exception, match="Sign in again"):
        client.get(f"{LOGS}/export.json", token=anna.token)


def test_both_impossible_bounds_of_a_period_are_named(client, anna):
    bounds = {"from": "0001-01-01T00:00:00+14:00", "to": "9999-12-31T23:59:59-14:00"}

    refused = client.get("/api/v1/audit-logs", params=bounds, token=anna.token)

    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, ["from", "to"])
