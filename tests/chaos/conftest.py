"""Servers that all chaos tests share, because they take longer to start than most of the tests run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.commands.soak.run import running_testbed
from scripts.commands.soak.testbed import FaultTestbed

SEED = 20261122


@pytest.fixture(scope="session")
def _testbed(migrated_cluster: Path) -> Iterator[FaultTestbed]:
    """Yield servers behind proxies and the external service."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FaultTestbed, "cluster", migrated_cluster)
        with running_testbed(SEED) as testbed:
            yield testbed


@pytest.fixture
def testbed(_testbed: FaultTestbed) -> Iterator[FaultTestbed]:
    """Yield the servers without jobs, relays and workers."""
    _testbed.clear()
    yield _testbed
    _testbed.end_all()
