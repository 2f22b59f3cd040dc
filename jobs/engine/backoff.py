"""How long a failed job waits."""

import random
from collections.abc import Sequence

BASE = 0.5  # seconds
CEILING = 3600.0


def full_jitter(attempt: int, *, base: float = BASE, ceiling: float = CEILING) -> float:
    """Seconds to wait after the `attempt`-th attempt: anything up to base · 2^(attempt − 1), and up to `ceiling`.

    «Full jitter» of Brooker, «Exponential Backoff And Jitter» (AWS Architecture Blog, 2015): retries of many jobs that
    failed together spread evenly. A tenth of the bound at least, so that none comes back at once.
    """
    bound = min(ceiling, base * 2 ** min(attempt - 1, 32))
    return random.uniform(bound / 10, bound)


def scheduled(attempt: int, waits: Sequence[float]) -> float:
    """Return the seconds to wait after the `attempt`-th attempt: its entry in `waits`, later the last entry.

    Up to a tenth more, so that jobs which failed together are not all retried at one moment.
    """
    return waits[min(attempt, len(waits)) - 1] * random.uniform(1.0, 1.1)
