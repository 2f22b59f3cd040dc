"""Tests of imports and exports of contacts, over HTTP and with their jobs."""

import csv
import io
import json
from functools import partial
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from pyarrow import parquet

from models.audiences import dsl, segments
from models.audiences.transfer import batches, fields, imports
from models.audiences.transfer.cleaning import ValueFault
from models.audiences.transfer.planning import KeyFault
from models.audiences.transfer.records import RowFault
from models.core import context
from models.core.database import transaction
from models.core.enumerations import values_of
from models.jobs.ledger import enqueue
from tests.fixtures.audit import entries
from tests.support import kills

IMPORTS, EXPORTS = "/api/v1/crm/imports", "/api/v1/crm/exports"


@pytest.fixture
def ana(member):
    return member("Brand Admin")


@pytest.fixture
def start(client, ana, upload):
    """`start(text, …options)`: upload a table, create its import, and return the answer."""

    def start(text, kind="text/csv", **options):
        data = text if isinstance(text, bytes) else text.encode()
        asset = upload(ana, data, kind, purpose="import", filename="clientes.csv")
        return client.post(IMPORTS, token=ana.token, json={"asset_id": asset["id"], **options})

    return start


@pytest.fixture
def run(client, ana, start, drain):
    """`run(text, …options)`: import a table to its end and return the import."""

    def run(text, kind="text/csv", **options):
        made = start(text, kind, **options)
        assert made.status_code == 201, made.text
        drain()
        return client.get(f"{IMPORTS}/{made.json['id']}", token=ana.token).json

    return run


@pytest.fixture
def download(client, ana):
    """`download(asset_id)`: the content of a private file."""

    def download(asset_id):
        url = urlsplit(client.get(f"/api/v1/assets/{asset_id}", token=ana.token).json["url"])
        return client.get(f"{url.path}?{url.query}").content

    return download


@pytest.fixture
def export(client, ana, drain, download):
    """`export(…options)`: export contacts to its end and return the export and the content of the file."""

    def export(**options):
        made = client.post(EXPORTS, token=ana.token, json=options)
        assert made.status_code == 201, made.text
        drain()
        one = client.get(f"{EXPORTS}/{made.json['id']}", token=ana.token).json
        return one, download(one["asset_id"])

    return export


@pytest.fixture
def contacts(query):
    """`contacts(*columns)`: all contacts, by address."""
    return lambda *columns: query(f"select {', '.join(columns)} from public.contacts order by email, external_id")


@pytest.fixture
def declare(query, ana):
    """`declare(key, type)`: declare a property of the brand."""
    sql = "insert into public.contact_properties (brand_id, key, type, label, options) values (%s, %s, %s, %s, %s)"
    return lambda key, kind, options=None: query(sql, ana.brand_id, key, kind, key.title(), options)


def _counts(one):
    return {name: count for name, count in one["outcomes"].items() if count}


def _errors(content):
    return [
        (row["row"], row["field"], row["reason"]) for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig")))
    ]


def test_spreadsheet_of_a_spanish_brand_becomes_contacts(run, contacts, declare):
    declare("talla", "list", ["S", "M"])
    text = (
        "Correo electrónico;Nombre;Teléfono;País;Fecha de nacimiento;Etiquetas;Talla;Notas\r\n"
        "Ana@Correo.es;Ana Paz;600 11 22 33;es;3/4/1990;vip,sur;M;\r\n"
        'eva@correo.es;"Eva\r\nRuiz";;;;;;x\r\n'
    )

    one = run(text.encode("cp1252"), region="ES")

    assert (one["state"], one["rows"], _counts(one), one["progress"]) == ("done", 2, {"created": 2}, 1.0)
    assert one["layout"]["encoding"] == "windows-1252"
    assert one["layout"]["delimiter"] == ";"
    assert one["mapping"]["Notas"] is None
    columns = ("email", "name", "phone", "country", "birth_date::text", "tags", "properties")
    assert contacts(*columns) == [
        ("ana@correo.es", "Ana Paz", "+34600112233", "ES", "1990-04-03", ["vip", "sur"], {"talla": ["M"]}),
        ("eva@correo.es", "Eva Ruiz", None, None, None, [], {}),
    ]


def test_ten_rows_are_counted_under_their_outcomes_with_reasons(run, contacts, download):
    run("email,name\nk1@x.es,K\nk2@x.es,L\n")
    rows = [f"n{n}@x.es,N" for n in range(5)]
    rows += ["k1@x.es,K", "k2@x.es,Changed", "N0@x.es,Again", "no address,Z", ",Y"]

    one = run("email,name\n" + "\n".join(rows) + "\n", overwrite="all")

    assert one["rows"] == sum(one["outcomes"].values()) == 10
    assert _counts(one) == {"created": 5, "updated": 1, "unchanged": 1, "duplicate": 1, "refused": 2}
    assert one["reasons"] == {"bad_email": 1, "no_key": 1}
    content = download(one["errors_asset_id"])
    assert _errors(content) == [("9", "email", "bad_email"), ("10", "", "no_key")]
    assert "no address,Z" in content.decode()
    assert ("n0@x.es", "Again") in contacts("email", "name")


def test_withdrawn_consent_is_never_overwritten_and_is_reported(run, contacts, download):
    run("email,name,suscrito\na@x.es,Ana,no\nb@x.es,Eva,\n")

    one = run("email,name,suscrito\na@x.es,Anna,yes\nb@x.es,Eva,yes\nc@x.es,Paz,yes\n", overwrite="all")

    assert _counts(one) == {"updated": 1, "unchanged": 1, "created": 1}
    assert one["reasons"] == {"consent_withdrawn": 1, "consent_not_given": 2}
    assert contacts("email", "name", "opted_out_at is not null") == [
        ("a@x.es", "Anna", True),
        ("b@x.es", "Eva", False),
        ("c@x.es", "Paz", False),
    ]
    assert _errors(download(one["errors_asset_id"]))[0] == ("1", "consent.marketing", "consent_withdrawn")


def test_withdrawal_of_a_person_with_an_account_is_reported(run, client, fan, query, ana, contacts):
    eva = fan()
    consent = {"tier": "marketing", "brand_id": str(ana.brand_id)}
    given = client.post("/api/v1/consents", token=eva.token, json=consent)
    query(
        "insert into public.contacts (brand_id, user_id, email) values (%s, %s, 'eva@x.es')", ana.brand_id, eva.user_id
    )
    agreed = run("email,suscrito\neva@x.es,1\n")
    query("update public.consents set revoked_at = now() where user_id = %s", eva.user_id)

    withdrawn = run("email,suscrito\neva@x.es,1\n")

    assert given.status_code < 300, given.text
    assert (agreed["reasons"], withdrawn["reasons"]) == ({}, {"consent_withdrawn": 1})


def test_row_that_matches_two_contacts_changes_neither(run, contacts):
    run("email,external_id,name\na@x.es,,A\n", match_keys=["email"])
    run("external_id,name\n7,B\n", match_keys=["external_id"])
    keys = {"match_keys": ["email", "external_id"], "overwrite": "all"}

    both = run("email,external_id,name\na@x.es,7,C\n", **keys)
    taken = run("email,external_id,name\na@x.es,7,C\n", match_keys=["email"], overwrite="all")

    assert both["reasons"] == {"matches_two_contacts": 1}
    assert taken["reasons"] == {"external_id_of_other_contact": 1}
    assert contacts("name") == [("A",), ("B",)]


def test_dry_run_counts_as_the_import_does_and_stores_nothing(run, contacts, monkeypatch, query):
    monkeypatch.setattr(batches, "BATCH", 3)
    run("email,external_id\nk@x.es,9\n")
    lines = ["a@x.es,1,A", "k@x.es,8,New", "b@x.es,,B", "a@x.es,1,", "d@x.es,9,D", "bad,,", "A@x.es,,", "c@x.es,1,C"]
    text = "email,external_id,name\n" + "\n".join(lines)
    options = {"match_keys": ["email", "external_id"], "overwrite": "all"}

    dry = run(text, dry_run=True, **options)
    before = contacts("email")
    real = run(text, **options)

    assert before == [("k@x.es",)]
    assert (dry["outcomes"], dry["reasons"]) == (real["outcomes"], real["reasons"])
    assert _counts(real) == {"created": 3, "updated": 1, "duplicate": 3, "refused": 1}
    assert query("select count(*) from contact_import_keys union all select count(*) from contact_import_rows") == [
        (0,),
        (0,),
    ]


def test_contacts_swap_unique_values_in_one_batch(run, contacts):
    run("external_id,email\n1,a@x.es\n2,b@x.es\n", match_keys=["external_id"])

    one = run("external_id,email\n2,c@x.es\n1,b@x.es\n3,a@x.es\n", match_keys=["external_id"], overwrite="all")

    assert _counts(one) == {"updated": 2, "created": 1}
    assert contacts("external_id", "email") == [("3", "a@x.es"), ("1", "b@x.es"), ("2", "c@x.es")]


COLUMNS = ("email", "phone", "birth_date", "lat", "lon", "name", "country", "locale", "tags", "companon_id")
COLUMNS += ("external_id", "spend", "vip", "at", "size")
PROPERTIES = {"spend": "number", "vip": "boolean", "at": "datetime", "size": "list"}
BAD = {
    "bad_email": {"email": '"x@"'},
    "bad_phone": {"phone": "12"},
    "bad_number": {"spend": "much"},
    "bad_boolean": {"vip": "perhaps"},
    "bad_date": {"birth_date": "31/31/1990"},
    "bad_datetime": {"at": "noon"},
    "bad_text": {"name": "\u202e"},
    "bad_country": {"country": "QQ"},
    "bad_locale": {"locale": "english please"},
    "bad_choice": {"size": "XXL"},
    "bad_id": {"companon_id": "7"},
    "out_of_range": {"lat": "91", "lon": "1"},
    "half_a_position": {"lat": "40"},
    "too_long": {"name": "n" * 300},
    "too_many_values": {"tags": '"' + ",".join(f"t{n}" for n in range(101)) + '"'},
    "no_key": {"email": "", "name": "Nobody"},
    "unknown_id": {"companon_id": "01941f2d-2b30-7f14-9a6c-5e8d7c1b0a92"},
    "matches_two_contacts": {"email": "0@y.es", "phone": "+34600000001"},
    "external_id_of_other_contact": {"external_id": "X-1"},
    "nul_character": {"name": "a\0b"},
    "bad_quotation_marks": {"name": '"a"b\udcff'},
    "row_too_long": {"name": "x" * 100_001},
    "not_text": {"name": "\udcff"},
    "wrong_number_of_cells": None,
}
"""Cells of a row that is refused, by reason. The others are those of a new contact."""
ELSEWHERE = {"bad_json", "email_of_other_contact"}
"""Reasons of other files and other match keys, which other tests have."""
RARE = ("row_too_long",)
"""A row of 100 kB: once in a file."""


def _line(n, cells):
    if cells is None:
        return f"{n}@y.es\udcff"
    return ",".join(({"email": f"{n}@y.es"} | cells).get(column, "") for column in COLUMNS)


def _hostile(rows):
    """Return a table and the expected counts: one row in four is bad, of each kind in turn."""
    lines = [_line(0, {}), _line(1, {"phone": "+34600000001", "external_id": "X-1"})]
    reasons, kinds, created, duplicate = {}, list(BAD), 2, 0
    for n in range(2, rows):
        kind = kinds[n // 4 % len(kinds)] if n % 4 == 3 else None
        if kind in RARE and kind in reasons:
            kind = "no_key"
        if kind is not None:
            reasons[kind] = reasons.get(kind, 0) + 1
            lines.append(_line(n, BAD[kind]))
        elif n % 10 == 0:
            duplicate += 1
            lines.append(_line(0, {"name": "Twice"}))
        else:
            created += 1
            values = {
                "birth_date": "1990-01-01",
                "lat": "40.4",
                "lon": "-3.7",
                "name": f'"Ana\n{n}"',
                "spend": f"{n}.5",
            }
            lines.append(_line(n, values))
    text = "\n".join([",".join(COLUMNS), *lines])
    return text.encode("utf-8", "surrogateescape"), {"created": created, "duplicate": duplicate}, reasons


def test_every_reason_to_refuse_a_row_has_a_row():
    reasons = {reason for kind in (ValueFault, RowFault, KeyFault) for reason in values_of(kind)}

    assert BAD.keys() | ELSEWHERE == reasons | {"half_a_position"}


def _kill_in_third_batch(size):
    """Prepare a process that is killed before the third of five batches commits."""
    real, calls = batches._advance, []

    def advance(*args):
        real(*args)
        calls.append(args)
        if len(calls) == 3:
            kills.kill()

    batches._advance = advance
    batches.BATCH = size // 5


@pytest.mark.parametrize("size", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_import_that_is_killed_counts_each_row_once(
    client, ana, start, declare, drain_with_kill, query, download, size
):
    for key, kind in PROPERTIES.items():
        declare(key, kind, ["S", "M"] if kind == "list" else None)
    text, counts, reasons = _hostile(size)
    options = {"match_keys": ["email", "phone"], "region": "ES", "overwrite": "all", "encoding": "utf-8"}
    made = start(text, **options).json

    ran = drain_with_kill(partial(_kill_in_third_batch, size))

    one = client.get(f"{IMPORTS}/{made['id']}", token=ana.token).json
    assert ran.count("import.run") == 2
    assert one["state"] == "done"
    assert one["rows"] == sum(one["outcomes"].values()) == size
    assert _counts(one) == counts | {"refused": sum(reasons.values())}
    assert one["reasons"] == reasons
    assert len(_errors(download(one["errors_asset_id"]))) == one["outcomes"]["refused"]
    assert query("select count(*), count(distinct email) from public.contacts") == [(counts["created"],) * 2]


def test_batch_that_was_applied_is_not_applied_again(start, ana, tmp_path, contacts):
    made = start("email\na@x.es\n").json
    (tmp_path / "file").write_text("email\na@x.es\n")
    identity = context.for_brand_job(ana.brand_id)
    with transaction(identity):
        one = imports.begin(UUID(made["id"]))
        opened = imports.open_file(one, tmp_path / "file", fields.of_brand())
    (batch,) = batches.Preparer(opened, one.conventions).batches(opened, position=0, number=0)

    applied = []
    for _ in range(2):
        with transaction(identity):
            applied.append(batches.apply(one, batch))

    assert applied == [True, False]
    assert contacts("email") == [("a@x.es",)]


def test_members_and_servers_learn_of_the_end_of_an_import(run, client, ana, query, subscribe, receiver, drain):
    subscribe(event_types=["import.finished"])

    one = run("email\na@x.es\nbad\n")

    (notice,) = client.get("/api/v1/notifications", token=ana.token).json["items"]
    assert "1 rows imported, 1 rows refused" in notice["text"]
    assert [json.loads(sent.body)["data"] for sent in receiver.requests] == [{"import_id": one["id"]}]
    assert [entry.action for entry in entries("import.create")] == ["import.create"]


def test_cancelled_import_keeps_its_rows_and_ends(client, ana, start, drain, query):
    made = start("email\na@x.es\n").json
    path = f"{IMPORTS}/{made['id']}/cancel"

    cancelled = client.post(path, token=ana.token)
    drain()
    again = client.post(path, token=ana.token)

    one = client.get(f"{IMPORTS}/{made['id']}", token=ana.token).json
    assert (cancelled.json["state"], one["state"], one["rows"]) == ("cancelled", "cancelled", 0)
    assert one["finished_at"] is not None
    assert (again.status_code, again.json["code"]) == (409, "transfer_is_over")


@pytest.mark.parametrize(
    ("text", "options", "failure"),
    [
        ("\n", {}, "empty_file"),
        ("a,b\n1,2\n", {}, "no_match_key"),
        ("email\na@x.es\n", {"mapping": {"E-mail": "email"}}, "unknown_column"),
    ],
)
def test_file_that_can_not_be_imported_fails_with_the_reason(run, text, options, failure):
    one = run(text, **options)

    assert (one["state"], one["failure"], one["rows"]) == ("failed", failure, 0)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"mapping": {"a": "email", "b": "shoe"}}, "mapping.b"),
        ({"mapping": {"a": "properties.gone"}}, "mapping.a"),
        ({"mapping": {"a": "email", "b": "email"}}, "mapping.b"),
        ({"mapping": {"a": "name"}}, "match_keys"),
        ({"region": "XX"}, "region"),
        ({"asset_id": "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f"}, "asset_id"),
    ],
)
def test_wrong_options_are_refused_by_name(start, options, field):
    refused = start("email\n", **options)

    assert refused.status_code == 422
    assert field in [error["field"] for error in refused.json["errors"]]


def test_export_and_import_of_all_values_changes_nothing(run, export, declare, contacts, query, ana):
    for kind in ("text", "number", "boolean", "date", "datetime", "list"):
        declare(f"p_{kind}", kind)
    properties = {
        "p_text": "=1+1\nñ;,|\"'",
        "p_number": -1.5,
        "p_boolean": False,
        "p_date": "2024-02-29",
        "p_datetime": "2024-02-29T10:00:00Z",
        "p_list": ["a,b", "c|d", "=e\\"],
    }
    columns = "email, external_id, phone, name, locale, country, city, birth_date, lat, lon, tags, source"
    query(
        f"insert into public.contacts (brand_id, {columns}, properties) values (%s, 'a@x.es', '=7', '+34600112233',"
        " '@Ana', 'es-MX', 'ES', 'León', '1990-04-03', 40.4168, -3.7, array['x, y', '+z'], 'fair', %s)",
        *(ana.brand_id, json.dumps(properties)),
    )
    query("insert into public.contacts (brand_id) values (%s)", ana.brand_id)
    before = contacts("*")

    for kind, content_type in (("csv", "text/csv"), ("jsonl", "application/x-ndjson")):
        one, content = export(format=kind)
        again = run(content, content_type, match_keys=["companon_id"], overwrite="all")

        assert (one["state"], one["exported"], one["total"]) == ("done", 2, 2)
        assert (_counts(again), again["reasons"]) == ({"unchanged": 2}, {})
        assert contacts("*") == before


def test_export_has_the_members_with_a_tag_and_no_merged_contacts(run, export, query):
    run("email,tags\na@x.es,vip\nb@x.es,\nc@x.es,vip\n")
    query(
        "update public.contacts set merged_into = (select id from public.contacts where email = 'a@x.es')"
        " where email = 'c@x.es'"
    )

    one, content = export(format="parquet", tag="vip")

    table = parquet.read_table(io.BytesIO(content)).to_pylist()
    assert [(row["email"], row["tags"]) for row in table] == [("a@x.es", ["vip"])]
    assert one["exported"] == 1


def test_export_of_a_segment_has_its_members_only(run, export, ana):
    run("email,city\na@x.es,León\nb@x.es,Madrid\nc@x.es,León\n")
    with ana.acting():
        segment = segments.create(
            name="León", definition=dsl.load({"profile": {"field": "city", "op": "eq", "value": "León"}})
        )

    one, content = export(format="jsonl", segment_id=str(segment.id))

    assert (one["exported"], one["total"]) == (2, None)
    assert sorted(json.loads(line)["email"] for line in content.splitlines()) == ["a@x.es", "c@x.es"]


def test_export_needs_permission_and_a_recent_sign_in(client, member, ana, query):
    manager = member("Campaign Manager")

    denied = client.post(EXPORTS, token=manager.token, json={"format": "csv"})
    query("update app.sessions set authenticated_at = now() - interval '1 day'")
    late = client.post(EXPORTS, token=ana.token, json={"format": "csv"})

    assert (denied.status_code, denied.json["code"]) == (403, "forbidden")
    assert (late.status_code, late.json["code"]) == (403, "recent_authentication_required")


def test_exported_file_is_hidden_from_members_who_may_not_export(client, member, export):
    manager = member("Campaign Manager")

    one, content = export(format="csv")

    assert content.startswith(b"\xef\xbb\xbfcompanon_id,")
    assert client.get(f"/api/v1/assets/{one['asset_id']}", token=manager.token).status_code == 404
    assert [entry.action for entry in entries("export.create")] == ["export.create"]


def test_ended_transfers_are_deleted_and_lost_ones_fail(client, ana, run, start, drain, query):
    old = run("email\na@x.es\n")
    lost = start("email\nb@x.es\n").json
    query("update contact_imports set finished_at = now() - interval '91 days' where id = %s", old["id"])
    query("update contact_imports set created_at = now() - interval '1 hour' where id = %s", lost["id"])
    query("delete from app.jobs where id = %s", lost["job_id"])

    with transaction(context.for_system_job()):
        enqueue("transfers.expire")
    drain()

    assert client.get(f"{IMPORTS}/{old['id']}", token=ana.token).status_code == 404
    assert client.get(f"{IMPORTS}/{lost['id']}", token=ana.token).json["state"] == "failed"
