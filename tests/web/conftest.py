"""Small applications for tests of the web framework: real Falcon and threads, a `Notebook` as the database."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from limits.aio.storage import memory

from models.audit.refusals import Refused
from models.core.context import FAN, Identity, acting_as, of_api_key, of_claims
from models.core.errors import Forbidden, Unauthenticated
from settings import Settings, settings
from web.app import create_app
from web.http.dependencies import Dependencies
from web.http.grants import Grants
from web.http.rate_limits import RateLimiter, parse_rate
from web.http.refusals import MINUTE, Refusals
from web.http.thread_pool import ThreadPool
from web.http.waiting import JobWaiter

if TYPE_CHECKING:
    from tests.fixtures.web import Client

ALICE = UUID("0198a3f0-0000-7000-8000-00000000000a")
BOB = UUID("0198a3f0-0000-7000-8000-00000000000b")
BRAND = UUID("0198a3f0-0000-7000-8000-0000000000b0")
PEOPLE = {"alice": (ALICE, "Campaign Manager", BRAND), "bob": (BOB, FAN, None)}
"""Tokens that the substitutes accept."""
GRANTED = {("Campaign Manager", "campaigns:write")}


@dataclasses.dataclass
class Notebook:
    """The calls of a request in their order, and the answers stored by Idempotency-Key."""

    events: list[Any] = dataclasses.field(default_factory=list)
    kept: dict[tuple[str, str], dict[str, Any]] = dataclasses.field(default_factory=dict)
    refusals: list[Refused] = dataclasses.field(default_factory=list)
    is_recent: bool = True
    permission_reads: int = 0

    @contextmanager
    def transaction(self, identity: Identity, *, timeout: float) -> Iterator[None]:
        """Replace `models.core.database.transaction`."""
        before = dict(self.kept)
        with acting_as(identity):
            self.events.append(("begin", identity.role))
            try:
                yield
            except BaseException:
                self.kept = before
                self.events.append("rollback")
                raise
            self.events.append("commit")

    async def ended_jobs(self, ids: list[UUID]) -> set[UUID]:
        """Replace the poll of the ledger: no job ends."""
        return set()

    def record(self, action: str, **details: Any) -> None:
        """Replace `models.audit.trail.record`."""
        self.events.append(("audit", action, details))

    def refuse(self, refused: Refused) -> None:
        """Replace `models.audit.refusals.record`."""
        self.events.append(("refused", refused.action, refused.reason))
        self.refusals.append(refused)

    def require_recent(self) -> None:
        """Replace `models.identity.step_up.require_recent`."""
        self.events.append("recent?")
        if not self.is_recent:
            raise Forbidden

    def granted(self) -> frozenset[tuple[str, str]]:
        """Replace `models.identity.permissions.granted`."""
        self.permission_reads += 1
        return frozenset(GRANTED)

    def begin(self, scope: str, key: str, digest: bytes) -> dict[str, Any] | None:
        """Replace `app.claim_idempotency_key`."""
        if (scope, key) in self.kept:
            return self.kept[scope, key]
        claimed = {"digest": digest.hex(), "status": None, "headers": None, "body": None}
        self.kept[scope, key] = {**claimed, "is_secret": False, "is_over": False}
        return None

    def store(
        self, scope: str, key: str, status: int, headers: dict[str, str], body: str, *, is_secret: bool = False
    ) -> None:
        """Replace `app.store_idempotent_response`."""
        self.kept[scope, key] |= {"status": status, "headers": headers, "body": body}


async def identity_of(token: str) -> Identity:
    """Replace `models.identity.access_tokens.verify`."""
    if token.startswith("cpk_"):
        return key_of(token)
    if token not in PEOPLE:
        raise Unauthenticated("The access token is not valid.")
    user_id, role, brand_id = PEOPLE[token]
    metadata = {"user_role": role, "brand_id": brand_id and str(brand_id)}
    return of_claims({"sub": str(user_id), "session_id": str(user_id), "app_metadata": metadata})


def key_of(text: str) -> Identity:
    """Replace `models.identity.api_keys.identify`: the scopes of a key follow its prefix."""
    return of_api_key(ALICE, BRAND, text.removeprefix("cpk_").split(","))


def serving(app: Any) -> AbstractContextManager["Client"]:
    """Serve `app` in a new event loop."""
    from tests.fixtures.web import Client, running  # Imported late: pytest must be the first to import its plugins.

    return running(app, Client)


def small_app(
    notebook: Notebook,
    routes: dict[str, object],
    threads: int = 2,
    queue: int = 4,
    limiter: RateLimiter | None = None,
    minute: float = MINUTE,
    **changes: Any,
) -> Any:
    """Return an application with these resources over the notebook. `changes` are settings."""
    config: Settings = dataclasses.replace(settings, **{"log_level": "WARNING", **changes})
    pool = ThreadPool("test", threads, queue)
    dependencies = Dependencies(
        pool=pool,
        slow_pool=ThreadPool("test-slow", 1, queue),
        new_password_pool=ThreadPool("test-choice", 1, queue),
        limiter=limiter or RateLimiter(None),
        verify=identity_of,
        key_rate=parse_rate("apiKey", "5/minute"),
        person_rate=parse_rate("person", config.person_rate),
        address_rate=parse_rate("address", config.address_rate),
        grants=Grants(pool, notebook.granted),
        transaction=notebook.transaction,
        record=notebook.record,
        refusals=Refusals(pool, notebook.refuse, minute=minute),
        require_recent=notebook.require_recent,
        idempotency=notebook,
        jobs=JobWaiter(config.redis_url, notebook.ended_jobs),
        max_body_bytes=config.max_body_bytes,
    )
    return create_app(config, dependencies, routes.items())


@pytest.fixture(autouse=True)
def amid_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Freeze the clock in the middle of a minute, so that no rate-limit window ends during a test."""
    now = time.time()
    middle = now - now % 3600 + 1830
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=lambda: middle))


@pytest.fixture
def notebook() -> Notebook:
    """Return the record of the small application's requests."""
    return Notebook()


@pytest.fixture
def serve(notebook: Notebook) -> Iterator[Callable[..., "Client"]]:
    """Return `serve({"/things": Things()}, threads=2)`: start an application and return its client."""
    with ExitStack() as stack:
        yield lambda routes, **options: stack.enter_context(serving(small_app(notebook, routes, **options)))
