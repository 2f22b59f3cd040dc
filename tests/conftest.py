"""Servers, databases and settings for every test.

Servers are started by pytest's first process, with or without pytest-xdist; each process that runs tests has its
own database and its own Redis database. What the application's settings read is set here before any test imports it.
"""

import gc
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import hypothesis
import psycopg2
import pytest
from psycopg2.extensions import connection

from scripts.devstack import database as databases
from scripts.devstack import sockets
from scripts.devstack.environment import ROOT
from tests.support.cleanup import Cleaner
from tests.support.servers import Servers

WAITING = ("system", "brokers", "bench", "chaos", "test_up", "test_server", "browser")
"""Groups that wait for processes of their own more than they compute, the longest first."""

servers = Servers()

hypothesis.settings.register_profile(
    "steady",
    # The same examples in every run, and no clock: it fails for what was changed, not by chance or on a busy machine.
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("explore", hypothesis.settings.get_profile("steady"), derandomize=False)
"""For a person who looks for more: `--hypothesis-profile=explore`."""
hypothesis.settings.load_profile("steady")

pytest_plugins = [f"tests.fixtures.{module.stem}" for module in sorted((ROOT / "tests" / "fixtures").glob("[a-z]*.py"))]
"""Every module of fixtures is known by being there."""
pytest.register_assert_rewrite(*pytest_plugins)  # Some import others before pytest does.


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers in the first process."""
    if servers.owned and not config.option.collectonly:
        servers.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End them, also after Ctrl-C."""
    if servers.owned:
        servers.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that share something that takes long to make run in one process, which makes it once.

    pytest-xdist begins with the groups, in our order; single tests fill up what is left of the time.
    """
    for item in items:
        if shared := _shared(item):
            item.add_marker(pytest.mark.xdist_group(shared))
        group = item.get_closest_marker("xdist_group")
        if group and hasattr(config, "workerinput"):
            # pytest-xdist 3.8 says so in a place where pytest 9 doesn't look any more.
            item._id = item.id.parse(f"{item.nodeid}@{group.args[0]}")
    if hasattr(config, "workerinput"):
        items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Groups that mostly wait and groups that compute by turns, the longest of each first, then what is in none."""
    groups: dict[str, list[pytest.Item]] = {}
    single = []
    for item in items:
        group = item.get_closest_marker("xdist_group")
        (groups.setdefault(group.args[0], []) if group else single).append(item)
    waiting = [groups.pop(name) for name in WAITING if name in groups]
    computing = sorted(groups.values(), key=len, reverse=True)
    by_turns = chain.from_iterable(zip_longest(waiting, computing, fillvalue=[]))
    return [*chain.from_iterable(by_turns), *single]


def _shared(item: pytest.Item) -> str | None:
    """Return what a test shares with others: the system, the browser, a database's shape, or its module's fixtures."""
    if item.get_closest_marker("xdist_group") or not isinstance(item, pytest.Function):
        return None
    for name in ("system", "browser"):
        if name in item.fixturenames:
            return name
    if "_made" in item.fixturenames:
        return f"shape-{item.callspec.params.get('shape', 'bare') if hasattr(item, 'callspec') else 'bare'}"
    scopes = {found[-1].scope for found in item._fixtureinfo.name2fixturedefs.values()}
    return item.path.stem if "module" in scopes else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """What is imported and collected stays: nobody looks through it for garbage, then or while tests run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def throwaway() -> Servers:
    """The servers of this run, which make databases."""
    return servers


@pytest.fixture(scope="session")
def postgres() -> Any:
    """The throwaway PostgreSQL: `dsn(user, dbname)`."""
    return servers.postgres


@pytest.fixture(scope="session")
def migrated_cluster() -> Path:
    """The home of a cluster to begin with a copy of."""
    return servers.cluster()


@pytest.fixture
def bare_database() -> Iterator[str]:
    """The name of a database of this test's own that has been bootstrapped and not migrated."""
    name = f"bare_{servers.worker}"
    servers.bare_database(name)
    yield name
    servers.drop_database(name)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """This process's own Redis database."""
    return servers.redis_url


@pytest.fixture(scope="session")
def database() -> str:
    """The name of this process's own migrated database; the application's settings lead there."""
    servers.fresh_database(servers.database)
    return servers.database


@pytest.fixture(scope="session")
def superuser(database: str) -> Iterator[connection]:
    """A connection to it that may do everything, without transactions."""
    with closing(databases.superuser(servers.postgres, database)) as connected:
        yield connected


@pytest.fixture(scope="session")
def cleaner(database: str) -> Iterator[Cleaner]:
    """Yield what empties the tables that tests have filled."""
    with closing(databases.superuser(servers.postgres, database)) as connected:
        yield Cleaner(connected)


@pytest.fixture(scope="session")
def clean(cleaner: Cleaner) -> Callable[[], None]:
    """Return a function that empties the tables which tests have filled."""
    return cleaner.clean


@pytest.fixture
def always_triggers(cleaner: Cleaner) -> Iterator[None]:
    """Let triggers that fire for replicas too do so, which clean-ups between tests prevent."""
    with cleaner.always_triggers():
        yield


@pytest.fixture
def db_clean(clean: Callable[[], None]) -> str:
    """The name of the database, which is as the migrations leave it."""
    clean()
    return servers.database


@dataclass(frozen=True)
class System:
    """A complete system: what its `run.json` says, and its directory."""

    var: Path
    run: dict[str, Any]

    @property
    def api(self) -> str:
        """Where it answers."""
        return str(self.run["api"])


@pytest.fixture
def system(_system: System) -> System:
    """The whole system, whose admin may sign in: tests don't wait for the next code of an authenticator."""
    with closing(psycopg2.connect(_system.run["database_direct_url"])) as owner, owner, owner.cursor() as cursor:
        cursor.execute("update app.totp_factors set last_step = 0")
    return _system


@pytest.fixture(scope="session")
def _system() -> Iterator[System]:
    """Everything, as `./scripts/up` starts it; one for all tests that ask for it."""
    # Not under pytest's own temporary directory, which nobody else may enter: PostgreSQL runs as user postgres.
    var = Path(tempfile.mkdtemp(prefix="companon-system-", dir="/tmp"))
    port = str(sockets.free_port())
    subprocess.run([ROOT / "scripts" / "up", "--detach", "--var", var, "--port", port], check=True)
    try:
        yield System(var, json.loads((var / "run.json").read_text()))
    finally:
        subprocess.run([ROOT / "scripts" / "down", "--var", var], check=True)
        shutil.rmtree(var)
