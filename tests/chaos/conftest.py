"""Servers that all chaos tests share, because they take longer to start than most of the tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.commands.soak.run import staged
from scripts.commands.soak.stage import Stage

SEED = 20261122


@pytest.fixture(scope="session")
def servers_with_faults(migrated_cluster: Path) -> Iterator[Stage]:
    """Yield servers behind proxies and the external service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stage, "cluster", migrated_cluster)
        with staged(SEED) as stage:
            yield stage


@pytest.fixture
def stage(servers_with_faults: Stage) -> Iterator[Stage]:
    """Yield the servers without jobs, relays and workers."""
    servers_with_faults.clear()
    yield servers_with_faults
    servers_with_faults.end_all()
