"""Apply migrations by the rules of the Supabase CLI: its layout, its history table, one transaction per file.

Two additions: a lock, so that two concurrent runners are safe, and a check that applied files have not changed.
"""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection

from models.core.sql_statements import canonical, split, verb

MIGRATIONS = Path(__file__).parents[1] / "supabase" / "migrations"
NAME = re.compile(r"([0-9]+)_(.*)\.sql")
LOCK = 0x436F6D7061
"""Key of the session advisory lock that a run holds."""
TRANSACTION_CONTROL = {"abort", "begin", "commit", "end", "prepare transaction", "rollback", "start transaction"}

RESET = "reset session authorization; reset role; reset all"
"""`reset all` keeps a role that a file has set. That role could not write the history."""

HISTORY = """
    set local lock_timeout = '4s';
    create schema if not exists supabase_migrations;
    create table if not exists supabase_migrations.schema_migrations (version text primary key);
    alter table supabase_migrations.schema_migrations add column if not exists statements text[];
    alter table supabase_migrations.schema_migrations add column if not exists name text;
"""


class MigrationError(Exception):
    """The migrations can't be applied; names the file and the fault."""


@dataclass(frozen=True)
class Migration:
    """One migration file."""

    path: Path
    version: str
    name: str
    statements: tuple[str, ...]


def migrate(dsn: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply every pending migration and return the applied versions.

    Raises:
        MigrationError: the files contradict the history, or a file fails; its transaction is rolled back.
        psycopg2.OperationalError: the database can't be reached.
    """
    files = load(folder)
    with closing(psycopg2.connect(dsn)) as db:
        with db, db.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(%s)", [LOCK])
        recorded = _history(db)
        waiting = pending(files, recorded)
        for migration in waiting:
            _apply(db, migration)
    return [migration.version for migration in waiting]


def load(folder: Path) -> list[Migration]:
    """Return the migrations in a folder, ordered by version.

    Raises:
        MigrationError: a file name is not `<digits>_<name>.sql`, a version occurs twice, or a file contains transaction
            control.
    """
    files = [_read(path) for path in sorted(folder.glob("*.sql"))]
    for earlier, later in pairwise(files):
        if earlier.version == later.version:
            raise MigrationError(f"{earlier.path.name} and {later.path.name} have the same version")
    return files


def _read(path: Path) -> Migration:
    named = NAME.fullmatch(path.name)
    if named is None:
        raise MigrationError(f"{path.name} is not named <digits>_<name>.sql")
    try:
        statements = tuple(split(path.read_text(encoding="utf-8-sig")))
    except ValueError as error:
        raise MigrationError(f"{path.name}: {error}") from None
    for statement in statements:
        if (word := verb(statement)) in TRANSACTION_CONTROL:
            raise MigrationError(f"{path.name} contains {word.upper()}: the runner puts each file into one transaction")
    return Migration(path, named[1], named[2], statements)


def pending(files: Sequence[Migration], recorded: dict[str, list[str] | None]) -> list[Migration]:
    """Return the files to apply to a database with this history (version → statements).

    Raises:
        MigrationError: the database has an unknown version, has a newer version than a pending file, or a file changed
            after it was applied.
    """
    here = {migration.version for migration in files}
    if unknown := sorted(set(recorded) - here):
        raise MigrationError(f"The database has migrations without a file: {', '.join(unknown)}")
    newest = max(recorded, default="")
    for migration in files:
        if migration.version in recorded:
            _check_drift(migration, recorded[migration.version])
        elif migration.version < newest:
            raise MigrationError(
                f"{migration.path.name} is older than {newest}, which the database has: give it a newer version"
            )
    return [migration for migration in files if migration.version not in recorded]


def _check_drift(migration: Migration, applied: list[str] | None) -> None:
    # `supabase migration repair` records a version without statements: there is nothing to compare.
    if applied is not None and canonical(applied) != canonical(migration.statements):
        raise MigrationError(
            f"{migration.path.name} was changed after it was applied: undo the change and write a new migration. On a"
            " developer's machine, `./scripts/up --fresh` deletes the data and applies all migrations again"
        )


def _history(db: connection) -> dict[str, list[str] | None]:
    with db, db.cursor() as cursor:
        cursor.execute("select to_regclass('supabase_migrations.schema_migrations') is null")
        if cursor.fetchone() == (True,):
            cursor.execute(HISTORY)
        cursor.execute("select version, statements from supabase_migrations.schema_migrations")
        return dict(cursor.fetchall())


def _apply(db: connection, migration: Migration) -> None:
    with db, db.cursor() as cursor:
        cursor.execute(RESET)
        for number, statement in enumerate(migration.statements, 1):
            try:
                cursor.execute(statement)
            except psycopg2.Error as error:
                first = statement.strip().splitlines()[0]
                raise MigrationError(f"{migration.path.name}, statement {number} ({first} …): {error}") from error
        cursor.execute(RESET)
        cursor.execute(
            "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
            [migration.version, migration.name, list(migration.statements)],
        )
