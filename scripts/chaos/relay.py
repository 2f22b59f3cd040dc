"""The relay of a system that has the chaos suite's actors too, and less patience: seconds, where there are minutes."""

import os

import scripts.chaos.actors  # noqa: F401  (declares the actors)
from jobs.engine import registry, relay
from scripts.chaos.variables import LIMIT

if __name__ == "__main__":
    relay.RESTART_GRACE = 4.0
    relay.GONE_AFTER = 2.0
    if LIMIT in os.environ:
        registry.HELD_AT_MOST = registry.HARD_GRACE = 1.0
    relay.main()
