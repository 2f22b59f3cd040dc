"""Relay of a system with the benchmark's actors."""

import scripts.commands.bench.ours  # noqa: F401  (declares the actor)
from jobs.engine.relay import __main__ as relay
from scripts.commands.bench.readiness import await_start

if __name__ == "__main__":
    await_start()
    relay.main()
