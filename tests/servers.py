"""Throwaway servers for one run of the tests, and a database for each of its processes."""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from psycopg2 import sql

from models.migrate import MIGRATIONS, migrate
from scripts.setup import database, secrets
from scripts.setup.postgres import PrivatePostgres
from scripts.setup.redis import PrivateRedis

BASE = "TEST_SERVERS"
"""Names the servers' directory in the processes that pytest-xdist starts."""
LOGINS = {
    "DATABASE_URL": "app_web",
    "DATABASE_ADMIN_URL": "app_admin_web",
    "DATABASE_SCAN_URL": "app_scan",
    "DATABASE_WORKER_URL": "app_worker",
    "DATABASE_DIRECT_URL": "postgres",
}


class Servers:
    """PostgreSQL and Redis in a directory of their own: made, started and ended by pytest's first process."""

    def __init__(self) -> None:
        self.owned = BASE not in os.environ
        self.base = Path(os.environ.get(BASE) or tempfile.mkdtemp(prefix="companon-tests-", dir="/tmp"))
        if self.owned:
            # User postgres has to get to its own directory when root runs the tests.
            self.base.chmod(0o711 if os.geteuid() == 0 else 0o700)
        self.postgres = PrivatePostgres(self.base / "pg", durable=False)
        self.redis = PrivateRedis(self.base / "redis", durable=False)
        self.worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
        self.database = f"companon_{self.worker}"
        self.redis_url = self.redis.url_of(1 + int(self.worker.removeprefix("gw")) if self.worker != "main" else 0)
        os.environ.update(self.environment())

    def environment(self) -> dict[str, str]:
        """What the application's settings are read from in this process."""
        return {
            BASE: str(self.base),
            "TEST_PG_DIR": str(self.postgres.socket_dir),
            "TEST_REDIS_SOCKET": str(self.redis.socket),
            "ENVIRONMENT": "test",
            "REDIS_URL": self.redis_url,
            **{name: self.postgres.dsn(login, self.database) for name, login in LOGINS.items()},
            **self._secrets(),
        }

    def _secrets(self) -> dict[str, str]:
        known = secrets.load_or_make(self.base / "secrets.json")
        return {"SECRET_KEYS": known.secret_keys, "AUTH_JWKS": known.auth_jwks}

    def start(self) -> None:
        """Start both."""
        self.postgres.start()
        self.redis.start()

    def stop(self) -> None:
        """End both and forget their data."""
        self.redis.stop()
        self.postgres.stop()
        for folder in (self.base, self.postgres.socket_dir.parent):
            shutil.rmtree(folder, ignore_errors=True)

    def fresh_database(self, name: str) -> None:
        """Make a migrated database of that name, in place of any other."""
        with self._locked():
            template = self._template()
            with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
                cursor.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
            database.create(self.postgres, name, template)
        with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
            cursor.execute(sql.SQL("alter database {} owner to postgres").format(sql.Identifier(name)))

    def _template(self) -> str:
        """The name of a database that bootstrap and migrations have been through; made at the first need."""
        files = [database.BOOTSTRAP, *sorted(MIGRATIONS.glob("*.sql"))]
        digest = hashlib.sha256(json.dumps([file.read_text() for file in files]).encode()).hexdigest()[:16]
        name = f"template_{digest}"
        with closing(database.superuser(self.postgres)) as db, db.cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", [name])
            if cursor.fetchone() is None:
                # Under another name until it is whole.
                database.create(self.postgres, "unfinished")
                database.bootstrapped(self.postgres, "unfinished")
                migrate(self.postgres.dsn("postgres", "unfinished"))
                cursor.execute(sql.SQL("alter database unfinished rename to {}").format(sql.Identifier(name)))
        return name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: a template that is being copied may have no connections."""
        with (self.base / "template.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
