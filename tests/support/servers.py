"""Temporary servers for one run of the tests, and a database for each process."""

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from psycopg2 import sql

from models.core.migrate import MIGRATIONS, migrate
from scripts.devstack import database, secrets
from scripts.devstack.postgres import SUPERUSER, PrivatePostgres
from scripts.devstack.progress import output
from scripts.devstack.redis import PrivateRedis

BASE = "TEST_SERVERS"
"""Variable with the directory of the servers, for the processes of pytest-xdist."""
SUPABASE = Path(__file__).parents[1] / "rls" / "supabase.sql"
LOGINS = {
    "DATABASE_URL": "app_web",
    "DATABASE_ACCOUNT_URL": "app_account",
    "DATABASE_SCAN_URL": "app_scan",
    "DATABASE_WORKER_URL": "app_worker",
    "DATABASE_SEAL_URL": "app_seal",
    "DATABASE_DIRECT_URL": "postgres",
}


class Servers:
    """PostgreSQL and Redis in a temporary directory; the first process of pytest starts and stops them."""

    def __init__(self) -> None:
        self.owned = BASE not in os.environ
        output.streams = []  # The summary of pytest must stay the last line.
        self.base = Path(os.environ.get(BASE) or tempfile.mkdtemp(prefix="companon-tests-", dir="/tmp"))
        if self.owned:
            # If root runs the tests, user postgres must be able to enter its directory.
            self.base.chmod(0o711 if os.geteuid() == 0 else 0o700)
            # Also stop the servers if pytest fails to configure itself.
            atexit.register(shutil.rmtree, self.base)
        self.postgres = PrivatePostgres(self.base / "pg", durable=False)
        self.redis = PrivateRedis(self.base / "redis", durable=False)
        self.worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.database = f"companon_{self.worker}"
        self.redis_url = self.redis.url_of(1 + int(self.worker.removeprefix("gw")) if self.worker != "main" else 0)
        os.environ.update(self.environment())

    def environment(self) -> dict[str, str]:
        """Return the environment variables of the application in this process."""
        return {
            BASE: str(self.base),
            "TEST_PG_DIR": str(self.postgres.socket_dir),
            "TEST_REDIS_SOCKET": str(self.redis.socket),
            "ENVIRONMENT": "test",
            "STORAGE_URL": f"file://{self.base / 'assets' / self.worker}",
            "LOG_LEVEL": "WARNING",  # output of other processes is not captured by pytest
            "REDIS_URL": self.redis_url,
            "PERSON_RATE": "1000000 per minute",  # tests share addresses and must not limit each other
            "ADDRESS_RATE": "1000000 per minute",
            "WEBHOOK_LOCAL_TARGETS": "yes",  # receivers of webhooks are servers of this machine
            **{name: self.postgres.dsn(login, self.database) for name, login in LOGINS.items()},
            **self._secrets(),
        }

    def _secrets(self) -> dict[str, str]:
        known = secrets.load_or_make(self.base / "secrets.json")
        return {"SECRET_KEYS": known.secret_keys, "AUTH_JWKS": known.auth_jwks}

    def start(self) -> None:
        """Start both servers."""
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        """Stop both servers; their data is deleted with the directory."""
        self.redis.stop()
        self.postgres.stop()

    def fresh_database(self, name: str) -> None:
        """Create a migrated database; replace an existing one."""
        self._copy(self._migrated, name)

    def bare_database(self, name: str) -> None:
        """Create a database with the bootstrap only; replace an existing one."""
        self._copy(self._bootstrapped, name)

    def supabase_database(self, name: str) -> None:
        """Create a database as a Supabase project has it, migrated by the role that the project offers."""
        files = [SUPABASE, *self._files()]
        self._copy(lambda: self._template("supabase", files, "template1", self._fill_as_supabase), name)

    def superusers_database(self, name: str) -> None:
        """Create a database migrated by a superuser, as on a self-hosted PostgreSQL."""
        source = self._bootstrapped
        self._copy(lambda: self._template("superusers", self._files(), source(), self._migrate_as_superuser), name)

    def cluster(self) -> Path:
        """Return the directory of a stopped, durable cluster with a migrated database, to be copied."""
        made = self.base / "cluster"
        with self._locked("cluster.lock"):
            if not made.exists():
                unfinished = PrivatePostgres(self.base / "cluster.unfinished", durable=False)
                unfinished.start()
                database.ensure(unfinished)
                migrate(unfinished.dsn("postgres"))
                unfinished.durable = True  # a durable cluster is shut down cleanly
                unfinished.stop()
                unfinished.home.rename(made)
        return made

    def drop_database(self, name: str) -> None:
        """Drop a database, also with open connections."""
        self._administer("drop database if exists {} with (force)", name)

    def _copy(self, template: Callable[[], str], name: str) -> None:
        with self._locked():
            source = template()
            self.drop_database(name)
            database.create(self.postgres, name, source)
        # CREATE DATABASE copies neither from a template.
        self._administer("alter database {} owner to postgres", name)
        if not self._grants_temporary(source):
            self._administer("revoke temporary on database {} from public", name)

    def _grants_temporary(self, name: str) -> bool:
        with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
            cursor.execute("select has_database_privilege('public', %s, 'TEMPORARY')", [name])
            return cursor.fetchone() == (True,)

    def _administer(self, command: str, *names: str) -> None:
        with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
            cursor.execute(sql.SQL(command).format(*map(sql.Identifier, names)))

    def _bootstrapped(self) -> str:
        return self._template("bare", [database.BOOTSTRAP], "template1", self._bootstrap)

    def _bootstrap(self, name: str) -> None:
        database.bootstrapped(self.postgres, name)

    def _migrated(self) -> str:
        return self._template("migrated", self._files(), self._bootstrapped(), self._migrate)

    def _files(self) -> list[Path]:
        return [database.BOOTSTRAP, *sorted(MIGRATIONS.glob("*.sql"))]

    def _migrate(self, name: str) -> None:
        self._administer("alter database {} owner to postgres", name)
        migrate(self.postgres.dsn("postgres", name))

    def _migrate_as_superuser(self, name: str) -> None:
        migrate(self.postgres.dsn(SUPERUSER, name))

    def _fill_as_supabase(self, name: str) -> None:
        database.bootstrapped(self.postgres, name, SUPABASE)
        migrate(self.postgres.dsn("postgres", name))

    def _template(self, kind: str, files: list[Path], source: str, fill: Callable[[str], None]) -> str:
        """Return the name of a template with these files applied, created when first needed."""
        digest = hashlib.sha256(json.dumps([file.read_text() for file in files]).encode()).hexdigest()[:16]
        name = f"{kind}_{digest}"
        with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", [name])
            if cursor.fetchone() is not None:
                return name
        # It has another name until it is complete.
        self.drop_database("unfinished")
        database.create(self.postgres, "unfinished", source)
        fill("unfinished")
        self._administer("alter database unfinished rename to {}", name)
        return name

    @contextmanager
    def _locked(self, name: str = "template.lock") -> Iterator[None]:
        """Exclude other processes: a template must have no connections while it is copied."""
        with (self.base / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
