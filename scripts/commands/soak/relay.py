"""A relay that also declares the chaos suite's actors and waits seconds instead of minutes."""

import os

import scripts.commands.soak.actors  # noqa: F401  (declares the actors)
from jobs.engine import registry
from jobs.engine.relay import relay
from jobs.engine.relay.__main__ import main
from scripts.commands.soak.variables import TIME_LIMIT

if __name__ == "__main__":
    relay.RESTART_GRACE = 4.0
    relay.MISSING_AFTER = 2.0
    if TIME_LIMIT in os.environ:
        registry.MAX_WAIT_TO_START = registry.HARD_GRACE = 1.0
    main()
