"""How long a failed job waits."""

import random

BASE = 0.5  # seconds
CEILING = 3600.0


def full_jitter(attempt: int, *, base: float = BASE, ceiling: float = CEILING) -> float:
    """Seconds to wait after the `attempt`-th attempt: anything up to base · 2^(attempt − 1), and up to `ceiling`.

    «Full jitter» of Brooker, «Exponential Backoff And Jitter» (AWS Architecture Blog, 2015): retries of many jobs that
    failed together spread evenly. A tenth of the bound at least, so that none comes back at once.
    """
    bound = min(ceiling, base * 2 ** min(attempt - 1, 32))
    return random.uniform(bound / 10, bound)
