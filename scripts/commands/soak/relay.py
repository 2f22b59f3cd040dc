"""The relay of a system that has the chaos suite's actors too, and less patience: seconds, where there are minutes."""

import os

import scripts.commands.soak.actors  # noqa: F401  (declares the actors)
from jobs.engine import registry
from jobs.engine.relay import relay
from jobs.engine.relay.__main__ import main
from scripts.commands.soak.variables import LIMIT

if __name__ == "__main__":
    relay.RESTART_GRACE = 4.0
    relay.GONE_AFTER = 2.0
    if LIMIT in os.environ:
        registry.HELD_AT_MOST = registry.HARD_GRACE = 1.0
    main()
