"""Behind a pooler in transaction mode nobody finds anything of who used a connection before, whatever happened."""

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
from models.core import context
from models.core import database as db
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
    """A pooler with fewer connections than threads; every login's transactions go through it."""
    started = PrivatePgBouncer(postgres, tmp_path, POOL)
    try:
        started.start()
        urls = {SETTINGS_OF[name]: started.dsn(LOGINS[name], database) for name in SETTINGS_OF}
        monkeypatch.setattr(db, "settings", replace(settings, **urls))
        yield started
    finally:
        started.stop()


@dataclass(frozen=True)
class Caller:
    """Somebody, a query of rows that have an owner, and whose they all have to be (anybody's, if None)."""

    identity: Identity
    query: str
    owners: set[UUID] | None


@dataclass
class Tally:
    """What came of the requests."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    backends: dict[int, set[str]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, pid: int, who: str) -> None:
        """Count a request, and who was served by which of the server's processes."""
        with self.lock:
            self.counts[kind] += 1
            self.backends.setdefault(pid, set()).add(who)


STATE = """
    select pg_backend_pid(), current_user::text, current_setting('request.jwt.claims')::jsonb,
        extract(epoch from current_setting('statement_timeout')::interval) * 1000
"""


LIMIT = "1min"
"""`statement_timeout` of the login, outside of transactions."""

OVERLONG = "set local statement_timeout = 20; select pg_sleep(600)"


class Street:
    """Everybody's requests, one after the other in each thread and mixed among threads."""

    def __init__(self, callers: list[Caller], pooler: PrivatePgBouncer, database: str, superuser: connection) -> None:
        self.callers, self.tally, self._superuser = callers, Tally(), superuser
        self._kill_lock = threading.Lock()
        self._raw = lambda: psycopg2.connect(pooler.dsn("app_web", database))
        self._kinds: list[tuple[Callable[[Caller], None], int]] = [
            (self.read, 70),
            (self.fail, 8),
            (self.refuse, 6),
            (self.give_up, 6),
            (self.take_too_long, 2),
            (self.lose_server, 2),
            (self.hang_up, 3),
            (self.look_around, 3),
        ]

    def walk(self, number: int) -> None:
        """One thread's share."""
        chance = random.Random(number)
        kinds, weights = zip(*self._kinds, strict=True)
        for _ in range(REQUESTS // THREADS):
            (kind,) = chance.choices(kinds, weights)
            kind(chance.choice(self.callers))
        db.close_thread_connections()

    def check(self, caller: Caller, kind: str, timeout: float) -> int:
        """Have a look at the transaction that this thread is in, and read; the server's process."""
        state = db.row(STATE)
        assert state is not None
        pid, role, claims, limit = state.values()
        rows = {row["owner"] for row in db.rows(caller.query)}
        self.tally.note(kind, pid, f"{role} {caller.identity.user_id or caller.identity.brand_id}")
        right = (role, claims, float(limit)) == (caller.identity.role, dict(caller.identity.claims), timeout * 1000)
        if not right or not rows or (caller.owners is not None and rows != caller.owners):
            self.tally.wrong.append(f"{kind}: {caller.identity.role} got {role} {claims} {limit} {rows}")
        return int(pid)

    def request(self, caller: Caller, kind: str, then: Callable[[int], object], timeout: float) -> None:
        """A transaction that is looked at, and then does something, told the server's process."""
        with db.transaction(caller.identity, timeout=timeout):
            then(self.check(caller, kind, timeout))

    def read(self, caller: Caller) -> None:
        """An ordinary request."""
        self.request(caller, "read", bool, 7.5)

    def fail(self, caller: Caller) -> None:
        """A statement fails."""
        with pytest.raises(peewee.DatabaseError):
            self.request(caller, "failed", lambda _: db.execute("select 1 / 0"), 10)

    def refuse(self, caller: Caller) -> None:
        """A function refuses."""
        with pytest.raises(Problem):
            self.request(caller, "refused", lambda _: db.execute("select app.refuse(409, 'conflict')"), 10)

    def give_up(self, caller: Caller) -> None:
        """The program changes its mind."""
        with pytest.raises(KeyError):
            self.request(caller, "gave up", lambda _: {}["nothing"], 10)

    def take_too_long(self, caller: Caller) -> None:
        """A statement takes longer than it may."""
        with pytest.raises(peewee.OperationalError, match="statement timeout"):
            self.request(caller, "timed out", lambda _: db.execute(OVERLONG), 10)

    def lose_server(self, caller: Caller) -> None:
        """The server's process is killed under the transaction."""
        with pytest.raises(peewee.DatabaseError):
            self.request(caller, "lost", self._kill, 10)

    def _kill(self, pid: int) -> None:
        with self._kill_lock, self._superuser.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(%s, 5000)", (pid,))
        db.execute("select 1")

    def hang_up(self, caller: Caller) -> None:
        """This side goes away in the middle of a transaction."""
        with pytest.raises(KeyboardInterrupt):  # what `transaction` closes the connection for
            self.request(caller, "hung up", _interrupt, 10)

    def look_around(self, _: Caller) -> None:
        """Somebody comes without a context: nothing of the others' is there, and nothing may be read."""
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
                    self.tally.wrong.append(f"left behind: {found}")
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cursor.execute("select from public.campaigns")
                self.tally.note("looked", pid, "nobody")


def _interrupt(_: int) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def callers(fan: Any, member: Any, admin: Any, make_brand: Any, brand: Any) -> list[Caller]:
    """Two brands' members, jobs, some fans, a system admin and nobody, with rows of their own."""
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


def test_thousands_of_mixed_requests_leave_nothing_behind_and_meet_no_stranger_s_row(
    callers: list[Caller], pooler: PrivatePgBouncer, database: str, superuser: connection
) -> None:
    street = Street(callers, pooler, database, superuser)
    with ThreadPoolExecutor(THREADS) as threads:
        for done in [threads.submit(street.walk, number) for number in range(THREADS)]:
            done.result()
    tally = street.tally
    assert tally.wrong == []
    assert sum(tally.counts.values()) == REQUESTS
    assert len(tally.counts) == 8
    assert min(tally.counts.values()) >= 20
    shared = [served for served in tally.backends.values() if len(served) >= 3]
    assert len(shared) >= POOL, "connections were hardly shared: nothing could have leaked"
