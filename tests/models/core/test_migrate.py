"""Migrations: rules of the Supabase CLI, concurrent runners, drift, and the end of statements."""

import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core import sql_statements
from models.core.migrate import MIGRATIONS, MigrationError, load, migrate

Folder = Callable[..., Path]


@pytest.fixture
def empty(postgres, bare_database) -> str:
    """URL of the owner of a database with the bootstrap only."""
    return postgres.dsn("postgres", bare_database)


@pytest.fixture
def files(tmp_path: Path) -> Folder:
    """Write migrations: `files({"1_a": "create …"})`; later calls add to earlier ones."""

    def write(texts: dict[str, str]) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.sql").write_text(text)
        return tmp_path

    return write


def ask(dsn: str, question: str) -> object:
    with closing(psycopg2.connect(dsn)) as db, db.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone()
    return row[0] if row else None


def test_migrate_applies_pending_files_in_order_once(empty, files):
    folder = files({"01_a": "create table a (x int);", "02_b": "insert into a values (2);"})

    first = migrate(empty, folder)
    files({"03_c": "insert into a values (3);"})
    second = migrate(empty, folder)

    assert first == ["01", "02"]
    assert second == ["03"]
    assert migrate(empty, folder) == []
    assert ask(empty, "select array_agg(x order by x) from a") == [2, 3]


def test_migrate_writes_the_history_of_the_supabase_cli(empty, files):
    migrate(empty, files({"01_first_step": "create table a (x int);\n\n-- why\ninsert into a values (1);"}))

    with closing(psycopg2.connect(empty)) as db, db.cursor() as cursor:
        cursor.execute("select version, name, statements from supabase_migrations.schema_migrations")
        recorded = cursor.fetchall()

    assert recorded == [("01", "first_step", ["create table a (x int)", "-- why\ninsert into a values (1)"])]


def test_failing_file_is_rolled_back_and_named(empty, files):
    folder = files({"01_a": "create table a (x int);", "02_b": "create table b (x int);\nselect nonsense;"})

    with pytest.raises(MigrationError, match=r"02_b\.sql, statement 2 \(select nonsense"):
        migrate(empty, folder)

    assert ask(empty, "select to_regclass('a') is not null and to_regclass('b') is null")
    assert ask(empty, "select array_agg(version) from supabase_migrations.schema_migrations") == ["01"]


def test_settings_of_a_file_do_not_affect_the_next(empty, files):
    texts = {"01_a": "create schema s; set search_path = s;", "02_b": "create table here (x int);"}

    migrate(empty, files(texts))

    assert ask(empty, "select relnamespace::regnamespace::text from pg_class where relname = 'here'") == "public"


@pytest.mark.parametrize("change", ["set role anon", "set local role anon"])
def test_role_of_a_file_does_not_affect_the_next(empty, files, change):
    migrate(empty, files({"01_a": f"{change};", "02_b": "create table here (x int);"}))

    assert ask(empty, "select relowner::regrole::text from pg_class where relname = 'here'") == "postgres"


def test_file_with_byte_order_mark_is_applied(empty, files):
    migrate(empty, files({"01_a": "\ufeffcreate table a (x int);"}))

    assert ask(empty, "select to_regclass('a') is not null")


def test_rule_of_several_statements_is_applied_whole(empty, files):
    tables = "create table a (x int); create table b (x int);"
    rule = "create rule r as on insert to a do also (insert into b values (new.x); insert into b values (2 * new.x));"

    migrate(empty, files({"01_a": f"{tables} {rule} insert into a values (1);"}))

    assert ask(empty, "select array_agg(x order by x) from b") == [1, 2]


def test_file_older_than_the_newest_applied_is_refused(empty, files):
    folder = files({"05_a": "select 1;"})
    migrate(empty, folder)
    files({"03_late": "select 1;"})

    with pytest.raises(MigrationError, match=r"03_late\.sql is older than 05"):
        migrate(empty, folder)


def test_applied_version_without_a_file_is_refused(empty, files):
    folder = files({"01_a": "select 1;", "02_b": "select 2;"})
    migrate(empty, folder)
    (folder / "02_b.sql").unlink()

    with pytest.raises(MigrationError, match="without a file: 02"):
        migrate(empty, folder)


def test_file_changed_after_it_was_applied_is_refused(empty, files):
    folder = files({"01_a": "create table a (x int);", "02_b": "select 1;"})
    migrate(empty, folder)
    files({"01_a": "create table a (x bigint);"})

    with pytest.raises(MigrationError, match=r"01_a\.sql was changed after .* `\./scripts/up --fresh` deletes"):
        migrate(empty, folder)


def test_change_of_comments_and_layout_is_accepted(empty, files):
    folder = files({"01_a": "create table a (x int); -- one\nselect 1;"})
    migrate(empty, folder)
    files({"01_a": "/* another */ create   table a\n  (x int);\nselect /* ! */ 1"})

    assert migrate(empty, folder) == []


@pytest.mark.parametrize("control", ["begin", "COMMIT", "start transaction", "-- so\nrollback", "end", "abort"])
def test_file_with_transaction_control_is_refused(files, control):
    with pytest.raises(MigrationError, match=r"01_a\.sql contains"):
        load(files({"01_a": f"select 1; {control};"}))


def test_file_with_a_name_the_cli_skips_is_refused(files):
    with pytest.raises(MigrationError, match=r"notes\.sql is not named"):
        load(files({"01_a": "select 1", "notes": "select 2"}))


def test_two_files_with_one_version_are_refused(files):
    with pytest.raises(MigrationError, match="same version"):
        load(files({"01_a": "select 1", "01_b": "select 2"}))


def test_two_concurrent_runners_apply_each_file_once(empty, files):
    texts = {f"{number:02}_a": f"create table t{number} (x int); select pg_sleep(0.02);" for number in range(5)}
    folder = files(texts)
    applied: list[list[str]] = []
    runners = [threading.Thread(target=lambda: applied.append(migrate(empty, folder))) for _ in range(3)]

    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join()

    assert sorted(map(len, applied)) == [0, 0, 5]


def test_migrations_of_the_product_apply_to_a_bare_database(empty):
    applied = migrate(empty)

    assert applied == [migration.version for migration in load(MIGRATIONS)]
    assert applied


TRICKY = {
    "a semicolon in a string": "select ';'",
    "a doubled quote": "select 'it''s; here'",
    "an escaped quote": r"select E'it\'s; here'",
    "a backslash that escapes nothing": r"select '\'",
    "a quoted name": 'select 1 as "a;b"',
    "a dollar quote": "do $$ begin perform 1; end $$",
    "a tagged dollar quote with another inside": "do $x$ begin execute $$ select 1; $$; end $x$",
    "a line comment": "select 1 -- one; two",
    "nested comments": "select /* a /* b; */ c; */ 1",
    "a function's standard body": "create function f() returns int begin atomic select case when true then 1 end; end",
    "a rule of several statements": "create rule r as on insert to a do also (insert into b values (1); select 2)",
    "a column called end": (
        "create function f() returns int begin atomic select x.end from x; select 1 as end; select x . case from x; end"
    ),
    "a parameter": "prepare p as select $1; ".strip("; "),
    "a name with dollars": "select 1 as a$b$c",
}


def test_semicolon_inside_a_statement_does_not_end_it():
    found = {kind: list(sql_statements.split(f"{statement}\n;select 2;")) for kind, statement in TRICKY.items()}

    assert found == {kind: [statement, "select 2"] for kind, statement in TRICKY.items()}


def test_unterminated_text_is_refused():
    for text in ("select 'a", 'select "a', "do $$ begin", "select 1 /* a /* b */"):
        with pytest.raises(ValueError, match="is not terminated"):
            list(sql_statements.split(text))


@given(st.text("a1;'\"$-/*\\ \n_eE"))
def test_joined_tokens_equal_the_text(text):
    try:
        pieces = list(sql_statements.tokens(text))
    except ValueError:
        return

    assert "".join(piece.text for piece in pieces) == text
