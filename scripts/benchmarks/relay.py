"""The relay of a system that has the benchmark's actor too."""

import scripts.benchmarks.ours  # noqa: F401  (declares the actor)
from jobs.engine import relay
from scripts.benchmarks.readiness import await_start

if __name__ == "__main__":
    await_start()
    relay.main()
