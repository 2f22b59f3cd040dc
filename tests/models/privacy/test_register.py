"""Tests of the register of personal data against the catalogue and the documentation."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from psycopg2.extensions import connection

from models.core.personal_data import Category, Erasure, NotPersonal, Personal, Table
from models.privacy import register
from scripts.devstack.environment import ROOT
from tests.fixtures.queries import Query
from tests.models.operations.test_growth import RULES

PAGE = ROOT / "docs" / "privacy.md"
MARKS = ("<!-- register -->\n", "<!-- /register -->")
CATALOGUE = """
    select n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, null)
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p', 'm') and not c.relispartition
    join pg_namespace n on n.oid = c.relnamespace and n.nspname in ('app', 'public')
    where a.attnum > 0 and not a.attisdropped
        and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
"""
FOREIGN_KEYS = """
    select conrelid::regclass::text, a.attname, confdeltype
    from pg_constraint join pg_attribute a on a.attrelid = conrelid and a.attnum = any (conkey)
    where contype = 'f'
"""
PEOPLE = {
    "app.people": Table(
        name="app.people",
        purpose="Test.",
        retention="1 day",
        found_by="id",
        personal=(Personal(("id", "email"), Category.CONTACT, Erasure.DELETE),),
        not_personal=(NotPersonal(("kind",), "one of a fixed list of values"),),
    )
}
COLUMNS = {"id": "uuid", "email": "text", "kind": "text"}


@pytest.fixture
def catalogue(query: Query) -> dict[str, dict[str, str]]:
    """All columns of the migrated database by table, with their types."""
    return columns_of(query(CATALOGUE))


def columns_of(rows: list[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        found.setdefault(table, {})[column] = kind
    return found


@pytest.fixture
def altered(superuser: connection) -> Iterator[connection]:
    """Yield a connection whose changes of the schema are rolled back."""
    superuser.autocommit = False
    yield superuser
    superuser.rollback()
    superuser.autocommit = True


def test_register_of_all_tables_matches_the_catalogue(catalogue: dict[str, dict[str, str]]) -> None:
    assert len(catalogue) > 40
    assert register.faults(catalogue) == [], (
        "declare them in PERSONAL of models/<domain>/personal_data.py, and write docs/privacy.md with"
        " ./scripts/test tests/models/privacy --renew-privacy"
    )


def test_new_columns_of_a_table_without_declaration_are_faults(altered: connection) -> None:
    with altered.cursor() as cursor:
        cursor.execute("alter table public.brands add contact_email text, add opened_at timestamptz, add ip inet")
        cursor.execute("create table app.visitors (id uuid primary key, phone text)")
        cursor.execute(CATALOGUE)
        catalogue = columns_of(cursor.fetchall())

    assert register.faults(catalogue) == [
        "app.visitors: is not declared",
        "public.brands.contact_email: is not declared",
        "public.brands.ip: is not declared",
    ]


def test_column_that_may_be_personal_needs_a_declaration() -> None:
    suspicious = {
        "note": "text",
        "tags": "text[]",
        "extra": "jsonb",
        "raw": "bytea",
        "peer": "inet",
        "net": "cidr",
        "place": "geography",
        "accuracy": "real",
        "born": "date",
        "phone": "bigint",
        "age": "smallint",
        "lat": "double precision",
        "is_member": "boolean",
        "user_id": "uuid",
        "owner_id": "uuid",
        "created_by": "uuid",
    }

    found = register.faults({"app.people": COLUMNS | suspicious}, PEOPLE)

    assert found == sorted(f"app.people.{column}: is not declared" for column in suspicious)


def test_column_that_describes_no_person_needs_no_declaration() -> None:
    exempt = {
        "brand_id": "uuid",
        "campaign_id": "uuid",
        "created_at": "timestamp with time zone",
        "email_verified_at": "timestamp with time zone",
        "version": "integer",
        "used": "bigint",
        "late": "boolean",
        "took": "interval",
    }

    assert register.faults({"app.people": COLUMNS | exempt}, PEOPLE) == []


def test_declaration_that_contradicts_the_catalogue_is_a_fault() -> None:
    (people,) = PEOPLE.values()
    declared = replace(
        people,
        name="app.other",
        purpose="",
        found_by="user_id",
        not_personal=(NotPersonal(("kind", "gone", "email"), "none"),),
    )

    found = register.faults({"app.people": COLUMNS, "app.other": COLUMNS}, {"app.other": declared, "app.gone": people})

    assert found == [
        "app.gone: is declared and does not exist",
        "app.other.email: is declared twice",
        "app.other.gone: is declared and does not exist",
        "app.other: has no column by which the rows of a person are found",
        "app.other: has no purpose or retention",
        "app.people: is not declared",
    ]


def test_table_declared_by_two_domains_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.consents import personal_data

    users = Table(name="public.users")
    monkeypatch.setattr(personal_data, "PERSONAL", (users,))
    register.tables.cache_clear()

    with pytest.raises(ValueError, match=r"public\.users is declared twice"):
        register.tables()


def test_job_that_deletes_rows_is_the_one_of_the_growth_page() -> None:
    declared = {table.name: table.deleted_by or "–" for table in register.tables().values() if table.personal}

    assert declared == {name: RULES[name].strip("`") for name in declared}


def test_rows_of_a_person_are_found_by_columns_that_exist(catalogue: dict[str, dict[str, str]]) -> None:
    for table in register.tables().values():
        _, _, other = table.found_by.partition(" = ")
        if other:
            name, _, column = other.rpartition(".")
            assert register.tables()[name].personal, table.name
            assert column in catalogue[name], table.name


def test_erasure_by_foreign_key_matches_the_constraints(query: Query) -> None:
    rules = {(table, column): rule for table, column, rule in query(FOREIGN_KEYS)}
    actions = {Erasure.CASCADE: "c", Erasure.UNLINK: "n"}

    checked = 0
    for table in register.tables().values():
        name = table.name.removeprefix("public.")
        for group in table.personal:
            if group.erasure is Erasure.UNLINK:
                columns = group.columns
            elif group.erasure is Erasure.CASCADE:
                columns = (table.found_by.partition(" = ")[0],)
            else:
                continue
            for column in columns:
                checked += 1
                assert rules.get((name, column)) == actions[group.erasure], (table.name, column)
    assert checked > 10


def test_privacy_page_contains_the_register(request: pytest.FixtureRequest) -> None:
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    shown, _, after = rest.partition(MARKS[1])
    if request.config.getoption("--renew-privacy"):
        PAGE.write_text(f"{before}{MARKS[0]}{register.markdown()}{MARKS[1]}{after}")
        return

    assert shown == register.markdown(), "run ./scripts/test tests/models/privacy --renew-privacy"
