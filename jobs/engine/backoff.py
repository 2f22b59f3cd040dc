"""Delays between the attempts of a failed job."""

import random
from collections.abc import Sequence

BASE = 0.5  # seconds
CEILING = 3600.0  # seconds


def full_jitter(attempt: int, *, base: float = BASE, ceiling: float = CEILING) -> float:
    """Return a random delay in seconds after the `attempt`-th attempt, up to base · 2^(attempt − 1) and `ceiling`.

    "Full jitter" of Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): retries of jobs that
    failed together spread evenly. The delay is at least a tenth of its bound, so that no job is retried at once.
    """
    bound = min(ceiling, base * 2 ** min(attempt - 1, 32))
    return random.uniform(bound / 10, bound)


def scheduled(attempt: int, waits: Sequence[float]) -> float:
    """Return the delay in seconds after the `attempt`-th attempt: its entry in `waits`, later the last entry.

    The delay is up to a tenth longer, so that jobs which failed together are not all retried at one moment.
    """
    return waits[min(attempt, len(waits)) - 1] * random.uniform(1.0, 1.1)
