"""One stage for all tests of this directory: servers take longer to start than most tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.commands.soak.run import staged
from scripts.commands.soak.stage import Stage

SEED = 20261122


@pytest.fixture(scope="session")
def servers_with_faults(migrated_cluster: Path) -> Iterator[Stage]:
    """Servers behind proxies, and the outside world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "cluster", migrated_cluster)
        with staged(SEED) as stage:
            yield stage


@pytest.fixture
def stage(servers_with_faults: Stage) -> Iterator[Stage]:
    """The stage, with nobody on it and no jobs."""

    servers_with_faults.clear()
    yield servers_with_faults
    servers_with_faults.end_all()
