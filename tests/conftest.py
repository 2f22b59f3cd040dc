"""Servers, databases and settings of all tests.

The first process of pytest starts the servers, with or without pytest-xdist. Each process that runs tests has a
database and a Redis database of its own. The environment of the application's settings is set here, before any
test imports them.
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

WAITING = ("system", "brokers", "bench", "chaos", "scripts/test_up", "web/server/test_worker", "browser")
"""Groups of tests that mostly wait for their own processes, longest first."""
SLOW = "--slow"
"""Option that adds the tests marked `slow`: long chaos and full matrices."""
SLOW_EXAMPLES = 500
"""Examples of each property test under `--slow` that sets no number itself; 100 otherwise."""

_COSTLY = ("bodies", "document", "callers", "roles", "queries", "consequences")
COSTLY = tuple(f"contract/test_{name}" for name in _COSTLY)
"""Groups of few tests that each send thousands of requests, the longest first."""

servers = Servers()

hypothesis.settings.register_profile(
    "steady",
    # Repeatable: the same examples in every run and no deadline, so that a test fails for a change only.
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.register_profile("explore", hypothesis.settings.get_profile("steady"), derandomize=False)
"""Profile for new examples in each run: `--hypothesis-profile=explore`."""
hypothesis.settings.register_profile(
    "slow", hypothesis.settings.get_profile("explore"), max_examples=SLOW_EXAMPLES, print_blob=True
)
hypothesis.settings.load_profile("steady")

pytest_plugins = [f"tests.fixtures.{module.stem}" for module in sorted((ROOT / "tests" / "fixtures").glob("[a-z]*.py"))]
"""All modules of fixtures."""
pytest.register_assert_rewrite(*pytest_plugins)  # Some import others before pytest does.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare `--slow`."""
    parser.addoption(SLOW, action="store_true", help="add long chaos and full matrices")


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers in the first process."""
    if config.getoption(SLOW):
        hypothesis.settings.load_profile("slow")
    if servers.owned and not config.option.collectonly:
        servers.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop the servers, also after Ctrl-C."""
    if servers.owned:
        servers.stop()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect slow tests, and run tests that share an expensive fixture in one process.

    pytest-xdist starts with the groups in this order. Single tests fill the rest of the time.
    """
    if not config.getoption(SLOW):
        slow = [item for item in items if item.get_closest_marker("slow")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)
    for item in items:
        if shared := _shared(item):
            item.add_marker(pytest.mark.xdist_group(shared))
        group = item.get_closest_marker("xdist_group")
        if group and hasattr(config, "workerinput"):
            # pytest-xdist 3.8 writes the group into an attribute that pytest 9 does not read.
            item._id = item.id.parse(f"{item.nodeid}@{group.args[0]}")
    if hasattr(config, "workerinput"):
        items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Alternate waiting groups and computing groups, longest first, then append the tests outside of groups."""
    groups: dict[str, list[pytest.Item]] = {}
    single = []
    for item in items:
        group = item.get_closest_marker("xdist_group")
        (groups.setdefault(group.args[0], []) if group else single).append(item)
    waiting = [groups.pop(name) for name in WAITING if name in groups]
    costly = [groups.pop(name) for name in COSTLY if name in groups]
    computing = costly + sorted(groups.values(), key=len, reverse=True)
    alternating = chain.from_iterable(zip_longest(waiting, computing, fillvalue=[]))
    return [*chain.from_iterable(alternating), *single]


def _shared(item: pytest.Item) -> str | None:
    """Return the group of a test: the system, the browser, the shape of its database, or its module's fixtures."""
    if item.get_closest_marker("xdist_group") or not isinstance(item, pytest.Function):
        return None
    for name in ("system", "browser"):
        if name in item.fixturenames:
            return name
    if "_made" in item.fixturenames:
        return f"shape-{item.callspec.params.get('shape', 'bare') if hasattr(item, 'callspec') else 'bare'}"
    scopes = {found[-1].scope for found in item._fixtureinfo.name2fixturedefs.values()}
    if "module" not in scopes:
        return None
    return item.path.relative_to(ROOT / "tests").with_suffix("").as_posix()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Exempt all imported and collected objects from garbage collection, which would visit them in each test."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session")
def throwaway() -> Servers:
    """Return the servers of this run, which create databases."""
    return servers


@pytest.fixture(scope="session")
def postgres() -> Any:
    """Return the PostgreSQL of this run: `dsn(user, dbname)`."""
    return servers.postgres


@pytest.fixture(scope="session")
def migrated_cluster() -> Path:
    """Return the directory of a migrated cluster at rest, for copies."""
    return servers.cluster()


@pytest.fixture
def bare_database() -> Iterator[str]:
    """Yield the name of a new database that is bootstrapped and not migrated."""
    name = f"bare_{servers.worker}"
    servers.bare_database(name)
    yield name
    servers.drop_database(name)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """Return the URL of this process's Redis database."""
    return servers.redis_url


@pytest.fixture(scope="session")
def database() -> str:
    """Create this process's migrated database, which the application's settings name, and return its name."""
    servers.fresh_database(servers.database)
    return servers.database


@pytest.fixture(scope="session")
def superuser(database: str) -> Iterator[connection]:
    """Yield an autocommit connection of a superuser to this process's database."""
    with closing(databases.superuser(servers.postgres, database)) as connected:
        yield connected


@pytest.fixture(autouse=True)
def no_request() -> None:
    """Remove the request of an earlier test: jobs that run in the test's own thread leave theirs in the context."""
    from models.core import context  # not above: it reads the settings

    context.set_request_info(context.RequestInfo())


@pytest.fixture(scope="session")
def cleaner(database: str) -> Iterator[Cleaner]:
    """Yield the cleaner of this process's database."""
    with closing(databases.superuser(servers.postgres, database)) as connected:
        yield Cleaner(connected)


@pytest.fixture(scope="session")
def clean(cleaner: Cleaner) -> Callable[[], None]:
    """Return a function that empties the tables which tests have filled."""
    return cleaner.clean


@pytest.fixture
def always_triggers(cleaner: Cleaner) -> Iterator[None]:
    """Restore the triggers that fire for replicas too. Clean-ups need them off."""
    with cleaner.always_triggers():
        yield


@pytest.fixture
def db_clean(clean: Callable[[], None]) -> str:
    """Empty the database except for rows of migrations, and return its name."""
    clean()
    return servers.database


@dataclass(frozen=True)
class System:
    """A running system: its directory and the content of its `run.json`."""

    var: Path
    run: dict[str, Any]

    @property
    def api(self) -> str:
        """Base URL of the API."""
        return str(self.run["api"])


@pytest.fixture
def system(_system: System) -> System:
    """Return the running system, with the admin's used TOTP steps forgotten so that no test waits for a new code."""
    with closing(psycopg2.connect(_system.run["database_direct_url"])) as owner, owner, owner.cursor() as cursor:
        cursor.execute("update app.totp_factors set last_step = 0")
    return _system


@pytest.fixture(scope="session")
def _system() -> Iterator[System]:
    # Not under pytest's own temporary directory: PostgreSQL runs as user postgres, which may not enter it.
    var = Path(tempfile.mkdtemp(prefix="companon-system-", dir="/tmp"))
    port = str(sockets.free_port())
    subprocess.run([ROOT / "scripts" / "up", "--detach", "--var", var, "--port", port], check=True)
    try:
        yield System(var, json.loads((var / "run.json").read_text()))
    finally:
        subprocess.run([ROOT / "scripts" / "down", "--var", var], check=True)
        shutil.rmtree(var)
