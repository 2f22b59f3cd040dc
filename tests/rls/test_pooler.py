"""Isolation behind a pooler in transaction mode: a transaction finds no state of earlier users of its connection."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import peewee
import psycopg2
import pytest
from psycopg2.extensions import connection

from models.campaigns import campaigns
from models.core import _connection, context, database
from models.core.context import Identity
from models.core.errors import Problem
from settings import settings
from tests.support.pooler import PrivatePgBouncer
from tests.support.servers import LOGINS

THREADS, REQUESTS, POOL = 8, 2400, 4
SETTINGS_OF = {
    "DATABASE_URL": "database_url",
    "DATABASE_ACCOUNT_URL": "database_account_url",
    "DATABASE_SCAN_URL": "database_scan_url",
    "DATABASE_WORKER_URL": "database_worker_url",
}


@pytest.fixture
def pooler(postgres: Any, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrivatePgBouncer]:
    """Yield a pooler with fewer connections than threads, used by all logins."""
    started = PrivatePgBouncer(postgres, tmp_path, POOL)
    try:
        started.start()
        urls = {SETTINGS_OF[name]: started.dsn(LOGINS[name], database) for name in SETTINGS_OF}
        monkeypatch.setattr(_connection, "settings", replace(settings, **urls))
        yield started
    finally:
        started.stop()


@dataclass(frozen=True)
class Caller:
    """An identity, a query of owned rows, and their permitted owners (any, if None)."""

    identity: Identity
    query: str
    owners: set[UUID] | None


@dataclass
class Results:
    """Results of the requests."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    backends: dict[int, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, pid: int, who: str) -> None:
        """Count a request and record its identity under the backend that served it."""
        with self.lock:
            self.counts[kind] += 1
            self.backends.setdefault(pid, set()).add(who)


STATE = """
    select pg_backend_pid(), current_user::text, current_setting('request.jwt.claims')::jsonb,
        extract(epoch from current_setting('statement_timeout')::interval) * 1000
"""


LIMIT = "1min"
"""`statement_timeout` of the logins outside of transactions."""

OVERLONG = "set local statement_timeout = 20; select pg_sleep(600)"


class Workload:
    """Mixed requests of all callers, sequential in each thread."""

    def __init__(self, callers: list[Caller], pooler: PrivatePgBouncer, database: str, superuser: connection) -> None:
        self.callers, self.results, self._superuser = callers, Results(), superuser
        self._kill_lock = threading.Lock()
        self._raw = lambda: psycopg2.connect(pooler.dsn("app_web", database))
        self._kinds: list[tuple[Callable[[Caller], None], int]] = [
            (self.read, 70),
            (self.fail, 8),
            (self.refuse, 6),
            (self.raise_error, 6),
            (self.take_too_long, 2),
            (self.lose_server, 2),
            (self.interrupt, 3),
            (self.check_without_identity, 3),
        ]

    def run_share(self, number: int) -> None:
        """Run the requests of one thread."""
        chance = random.Random(number)
        kinds, weights = zip(*self._kinds, strict=True)
        for _ in range(REQUESTS // THREADS):
            (kind,) = chance.choices(kinds, weights)
            kind(chance.choice(self.callers))
        database.close_thread_connections()

    def check(self, caller: Caller, kind: str, timeout: float) -> int:
        """Check the state and the rows of this thread's transaction. Return the backend's PID."""
        state = database.row(STATE)
        assert state is not None
        pid, role, claims, limit = state.values()
        rows = {row["owner"] for row in database.rows(caller.query)}
        self.results.note(kind, pid, f"{role} {caller.identity.user_id or caller.identity.brand_id}")
        right = (role, claims, float(limit)) == (caller.identity.role, dict(caller.identity.claims), timeout * 1000)
        if not right or not rows or (caller.owners is not None and rows != caller.owners):
            self.results.wrong.append(f"{kind}: {caller.identity.role} got {role} {claims} {limit} {rows}")
        return int(pid)

    def request(self, caller: Caller, kind: str, then: Callable[[int], object], timeout: float) -> None:
        """Check a transaction, then call `then` with the backend's PID in it."""
        with database.transaction(caller.identity, timeout=timeout):
            then(self.check(caller, kind, timeout))

    def read(self, caller: Caller) -> None:
        """Commit."""
        self.request(caller, "read", bool, 7.5)

    def fail(self, caller: Caller) -> None:
        """Fail in a statement."""
        with pytest.raises(peewee.DatabaseError):
            self.request(caller, "failed", lambda _: database.execute("select 1 / 0"), 10)

    def refuse(self, caller: Caller) -> None:
        """Let a function raise a refusal."""
        with pytest.raises(Problem):
            self.request(caller, "refused", lambda _: database.execute("select app.refuse(409, 'conflict')"), 10)

    def raise_error(self, caller: Caller) -> None:
        """Raise an exception of the program."""
        with pytest.raises(KeyError):
            self.request(caller, "raised error", lambda _: {}["nothing"], 10)

    def take_too_long(self, caller: Caller) -> None:
        """Exceed the statement timeout."""
        with pytest.raises(peewee.OperationalError, match="statement timeout"):
            self.request(caller, "timed out", lambda _: database.execute(OVERLONG), 10)

    def lose_server(self, caller: Caller) -> None:
        """Kill the backend during the transaction."""
        with pytest.raises(peewee.DatabaseError):
            self.request(caller, "lost", self._kill, 10)

    def _kill(self, pid: int) -> None:
        with self._kill_lock, self._superuser.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        database.execute("select 1")

    def interrupt(self, caller: Caller) -> None:
        """Interrupt the client during the transaction."""
        with pytest.raises(KeyboardInterrupt):  # `transaction` closes the connection for it.
            self.request(caller, "interrupted", _interrupt, 10)

    def check_without_identity(self, _: Caller) -> None:
        """Connect without an identity: no state of others is left, and no table is readable."""
        with closing(self._raw()) as connected:
            connected.autocommit = True
            with connected.cursor() as cursor:
                cursor.execute(
                    "select pg_backend_pid(), current_user::text, session_user::text,"
                    " current_setting('request.jwt.claims', true), current_setting('statement_timeout'),"
                    " (select count(*) from pg_prepared_statements), (select count(*) from pg_cursors) - 1"
                )
                pid, *found = cursor.fetchone() or ()
                if found not in (["app_web", "app_web", None, LIMIT, 0, -1], ["app_web", "app_web", "", LIMIT, 0, -1]):
                    self.results.wrong.append(f"left behind: {found}")
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute("select from public.campaigns")
                self.results.note("checked", pid, "nobody")


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def callers(fan: Any, member: Any, admin: Any, make_brand: Any, brand: Any) -> list[Caller]:
    """Return members and jobs of two brands, fans, a system admin and an anonymous caller, with rows of their own."""
    mine = "select brand_id as owner from public.campaigns"
    made = []
    for house in (brand, make_brand("Other")):
        account = member("Brand Admin", house)
        with account.acting():
            for number in range(3):
                campaigns.create(name=f"Campaign {number}", kind="QR", config=campaigns.Config())
        owners = {UUID(str(house["id"]))}
        made += [Caller(account.identity, mine, owners), Caller(context.for_brand_job(*owners), mine, owners)]
    for account in [fan("essential") for _ in range(3)]:
        made.append(Caller(account.identity, "select user_id as owner from public.consents", {account.user_id}))
    everybody = {owner for caller in made[:4] for owner in caller.owners or ()}
    made.append(Caller(admin.identity, "select id as owner from public.brands", everybody))
    made.append(Caller(context.unauthenticated(), "select id as owner from public.consent_notices", None))
    return made


def test_mixed_requests_through_pooler_stay_isolated(
    callers: list[Caller], pooler: PrivatePgBouncer, database: str, superuser: connection
) -> None:
    workload = Workload(callers, pooler, database, superuser)
    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(workload.run_share, number) for number in range(THREADS)]:
            done.result()
    results = workload.results
    assert results.wrong == []
    assert sum(results.counts.values()) == REQUESTS
    assert len(results.counts) == 8
    assert min(results.counts.values()) >= 20
    shared = [served for served in results.backends.values() if len(served) >= 3]
    assert len(shared) >= POOL, "connections were not shared enough for a leak to show"
