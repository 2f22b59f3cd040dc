"""Create the database in a private cluster and apply `bootstrap.sql` as superuser."""

import hashlib
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection

from scripts.devstack.environment import ROOT
from scripts.devstack.postgres import SUPERUSER, PrivatePostgres

NAME = "companon"
BOOTSTRAP = ROOT / "models" / "supabase" / "bootstrap.sql"


def superuser(postgres: PrivatePostgres, database: str = "postgres") -> connection:
    """Connect as the cluster's superuser, in autocommit mode."""
    connected = psycopg2.connect(postgres.dsn(SUPERUSER, database))
    connected.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    return connected


def ensure(postgres: PrivatePostgres, name: str = NAME, bootstrap: Path = BOOTSTRAP) -> None:
    """Create the database unless it exists. Run the bootstrap file unless this version of it has run."""
    wanted = hashlib.sha256(bootstrap.read_bytes()).hexdigest()
    done = postgres.home / f"{name}.bootstrap"
    if done.exists() and done.read_text() == wanted:
        return
    create(postgres, name)
    bootstrapped(postgres, name, bootstrap)
    done.write_text(wanted)


def create(postgres: PrivatePostgres, name: str, template: str = "template1") -> None:
    """Create a database as a copy of `template` unless its name exists."""
    with closing(superuser(postgres)) as db, db.cursor() as cursor:
        cursor.execute("select from pg_database where datname = %s", [name])
        if cursor.fetchone() is None:
            command = sql.SQL("create database {} template {}")
            cursor.execute(command.format(sql.Identifier(name), sql.Identifier(template)))


def bootstrapped(postgres: PrivatePostgres, name: str, bootstrap: Path = BOOTSTRAP) -> None:
    """Run the bootstrap file in one transaction."""
    with closing(psycopg2.connect(postgres.dsn(SUPERUSER, name))) as db, db, db.cursor() as cursor:
        cursor.execute(bootstrap.read_text())
